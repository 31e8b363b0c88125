"""One server for each state directory and each local storage: a second one is refused with the name of the first."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from archetype_server.config import ServerConfig
from archetype_server.problem import ServerError

FILE = "server.lock"


class SecondServer(ServerError):
    """Another server has the state directory or the storage."""

    code = "ARC-H013"


class Owner:
    """The lock of a directory. The system releases it when the process dies, however it dies.

    ``what`` it stands for, and the ``remedy``, are for the message to a second server.
    """

    def __init__(self, directory: Path, what: str, remedy: str) -> None:
        path = directory / FILE
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            first = os.read(self._descriptor, 4096).decode(errors="replace")
            os.close(self._descriptor)
            raise SecondServer(f"{what} belongs to {_described(first)}: stop that server, or {remedy}") from None

    def tell(self, url: str) -> None:
        """Write down where this server is, for the message to a second one."""
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, json.dumps({"pid": os.getpid(), "url": url}).encode(), 0)

    def close(self) -> None:
        """Release the directory; idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


@contextlib.contextmanager
def owned(config: ServerConfig) -> Iterator[Callable[[str], None]]:
    """Have a server's state directory and its storage for the block; gives what tells others the server's address.

    ``SecondServer`` if another one has one of them.
    """
    state, beside = config.state_directory, config.lock_directory
    with contextlib.ExitStack() as stack:
        owners = [Owner(state, str(state), "give this one its own state")]
        stack.callback(owners[0].close)
        if beside is not None and beside != state.resolve():
            # Where nothing can be written, no server beside this one can have its lock there either.
            with contextlib.suppress(OSError):
                beside.mkdir(mode=0o700, parents=True, exist_ok=True)
                owners.append(Owner(beside, f"the storage {config.storage.uri}", "serve another storage"))
                stack.callback(owners[1].close)

        def tell(url: str) -> None:
            for one in owners:
                one.tell(url)

        yield tell


def _described(text: str) -> str:
    try:
        told = json.loads(text)
        return f"the server of process {int(told['pid'])} at {told['url']}"
    except (ValueError, KeyError, TypeError):
        return "a server that is just starting"
