"""Which handles have a journal open: one locked file per handle, which the system unlocks when the process dies.

A process id does not say whether its process is alive: the id may belong to another process by now. A lock does.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SUFFIX = ".owner"
_OWNER = re.compile(r"[0-9a-f]{16}\.owner")
_CHUNK = re.compile(r"([0-9a-f]{16})-[0-9]+\.chunk")


@dataclass(frozen=True, slots=True)
class Owner:
    """A handle that has a journal open, or died while it had."""

    token: str
    """Random, so that no two handles share one."""
    name: str
    durability: str
    is_alive: bool


class OwnerFile:
    """The file of one handle, locked while the handle is open."""

    def __init__(self, directory: Path, durability: str) -> None:
        self.token = secrets.token_hex(8)
        self.name = f"process {os.getpid()} on {socket.gethostname()}"
        self._process = os.getpid()
        self._path = directory / f"{self.token}{SUFFIX}"
        self._descriptor: int | None = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            # Blocking: a process that lists the owners holds the lock for a moment.
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            os.write(self._descriptor, f"{durability}\n{self.name}\n".encode())
            os.fsync(self._descriptor)
        except BaseException:
            self.close()
            raise

    @property
    def is_in_this_process(self) -> bool:
        """Whether this process opened the handle; False in a child that ``fork`` made."""
        return os.getpid() == self._process

    def close(self) -> None:
        """Remove the file; idempotent. No effect in a forked child."""
        if not self.is_in_this_process:
            return
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            try:
                self._path.unlink(missing_ok=True)
            except OSError:
                # A file that stays counts as a dead owner's, which is right.
                pass
            finally:
                os.close(descriptor)


def check_writable(directory: Path) -> None:
    """Raise the system's error if no file can be created in a directory."""
    # Named like a dead owner's file: if it stays, the next opening removes it.
    path = directory / f"{secrets.token_hex(8)}{SUFFIX}"
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
    path.unlink(missing_ok=True)


def owners(directory: Path) -> Iterator[Owner]:
    """Every handle that has a journal open, and every one that died while it had."""
    for path in sorted(directory.glob(f"*{SUFFIX}")):
        if not _OWNER.fullmatch(path.name):
            continue
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            durability, _, name = os.read(descriptor, 4096).decode(errors="replace").partition("\n")
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                is_alive = False
            except BlockingIOError:
                is_alive = True
        finally:
            os.close(descriptor)
        yield Owner(path.stem, name.strip(), durability, is_alive)


def chunk_owner(file: str) -> str | None:
    """The token of the handle that wrote a chunk file, from the file's name; ``None`` if the file is not a journal's."""
    found = _CHUNK.fullmatch(file)
    return found.group(1) if found else None


def remove_owner_file(directory: Path, owner: Owner) -> None:
    """Remove the file of a dead owner."""
    (directory / f"{owner.token}{SUFFIX}").unlink(missing_ok=True)
