"""Who has a journal open: a locked file per handle, which the system unlocks when the process dies, however it dies.

A process id says nothing about whether its process lives: it may be dead, or another's by now. A lock does.
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
    """A handle that has, or had, the journal open."""

    token: str
    """Random, so that no two handles are ever taken for one another."""
    name: str
    durability: str
    is_alive: bool


class Presence:
    """The file of one handle, locked as long as the handle is open."""

    def __init__(self, directory: Path, durability: str) -> None:
        self.token = secrets.token_hex(8)
        self.name = f"process {os.getpid()} on {socket.gethostname()}"
        self._process = os.getpid()
        self._path = directory / f"{self.token}{SUFFIX}"
        self._descriptor: int | None = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            # It is nobody else's, but whoever looks who is alive holds it for a moment.
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            os.write(self._descriptor, f"{durability}\n{self.name}\n".encode())
            os.fsync(self._descriptor)
        except BaseException:
            self.close()
            raise

    @property
    def is_here(self) -> bool:
        """Whether this is the process that opened the journal, and no copy of it that ``fork`` made."""
        return os.getpid() == self._process

    def close(self) -> None:
        """Leave; idempotent."""
        if not self.is_here:
            return
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            try:
                self._path.unlink(missing_ok=True)
            except OSError:
                # A file that stays is taken for a dead owner's, which it is.
                pass
            finally:
                os.close(descriptor)


def probe(directory: Path) -> None:
    """Fail, with the system's reason, if no file can be made in a directory."""
    # It looks like one that a dead handle left: should it stay, or should somebody who opens the journal be quicker, it is
    # removed as one.
    path = directory / f"{secrets.token_hex(8)}{SUFFIX}"
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
    path.unlink(missing_ok=True)


def owners(directory: Path) -> Iterator[Owner]:
    """Everyone who has a journal open, and those who died having it open."""
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


def owner_of(chunk: str) -> str | None:
    """The token of the handle that wrote a chunk's file, by the file's name; ``None`` if the file is not a journal's."""
    found = _CHUNK.fullmatch(chunk)
    return found.group(1) if found else None


def bury(directory: Path, owner: Owner) -> None:
    """Remove what a dead owner left of itself."""
    (directory / f"{owner.token}{SUFFIX}").unlink(missing_ok=True)
