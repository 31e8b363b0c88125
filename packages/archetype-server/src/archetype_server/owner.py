"""One server for each state directory: a second one is refused with the name of the first."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

from archetype_server.problem import ServerError

FILE = "server.lock"


class SecondServer(ServerError):
    """Another server has the state directory."""

    code = "ARC-H013"


class Owner:
    """The lock of a state directory. The system releases it when the process dies, however it dies."""

    def __init__(self, state: Path) -> None:
        path = state / FILE
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            first = os.read(self._descriptor, 4096).decode(errors="replace")
            os.close(self._descriptor)
            raise SecondServer(
                f"{state} belongs to {_described(first)}: stop that server, or give this one its own state"
            ) from None

    def tell(self, url: str) -> None:
        """Write down where this server is, for the message to a second one."""
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, json.dumps({"pid": os.getpid(), "url": url}).encode(), 0)

    def close(self) -> None:
        """Release the directory; idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _described(text: str) -> str:
    try:
        told = json.loads(text)
        return f"the server of process {int(told['pid'])} at {told['url']}"
    except (ValueError, KeyError, TypeError):
        return "a server that is just starting"
