"""The log of the shim: every call that changed the disk, in order, with marks for acknowledgements."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

_RECORD = struct.Struct("<cQqQQII")


@dataclass(frozen=True, slots=True)
class Event:
    """One call that succeeded, a sync that failed (``F``), or a mark (``M``).

    ``W`` write, ``T`` new size, ``S`` sync of a file, ``Y`` of a directory; ``C`` create, ``D`` make a directory, ``N``
    a symbolic link, ``L`` link, ``R`` rename, ``U`` remove.
    """

    kind: str
    inode: int
    offset: int
    ns: int
    path: str
    other: str
    data: bytes

    def __str__(self) -> str:
        size = f" {len(self.data)} bytes at {self.offset}" if self.kind == "W" else ""
        size = f" to {self.offset}" if self.kind == "T" else size
        return f"{self.kind} {self.path}{' -> ' if self.other else ''}{self.other}{size}"


def events(log: Path) -> list[Event]:
    """The events of a log. A truncated last record is ignored: a kill interrupted it."""
    data = log.read_bytes()
    found: list[Event] = []
    place = 0
    while place + _RECORD.size <= len(data):
        kind, inode, offset, size, ns, path, other = _RECORD.unpack_from(data, place)
        start = place + _RECORD.size
        end = start + path + other + (size if kind == b"W" else 0)
        if end > len(data):
            break
        names = data[start : start + path].decode(errors="surrogateescape")
        others = data[start + path : start + path + other].decode(errors="surrogateescape")
        found.append(Event(kind.decode(), inode, offset, ns, names, others, data[start + path + other : end]))
        place = end
    return found
