"""A model of a disk that loses power: synced data stays, and any part of the other data may be lost.

The model follows POSIX strictly, with two guarantees that every file system in use gives:

- A file's data and size are durable after a sync of the file. Later writes are kept or lost sector by sector (512 bytes),
  in any order. If a later sector survives, the file has that length, and the gap reads as zeros.
- A name (created, linked, renamed, removed) is durable after a sync of its *directory*, even if the file itself was
  synced. Other names are kept or lost one by one, in any order. ext4 often saves the name with the file, but SQLite does
  not rely on it, and no store should.
- Guarantee one: a rename or a replacement is atomic, also between two directories.
- Guarantee two: a write does not damage durable data beside it.

After a failed sync Linux marks the pages clean: their data may be lost even if a later sync succeeds, until it is written
again. Writes to mapped memory are not seen; such files, like SQLite's ``-shm``, are left out by name.
"""

from __future__ import annotations

import fnmatch
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from archetype_contracts.crash.trace import Event

SECTOR = 512


@dataclass(slots=True, eq=False)
class File:
    """A file: its bytes, its durable bytes, and the versions of sectors that are not durable yet."""

    live: bytearray = field(default_factory=bytearray)
    durable: bytearray = field(default_factory=bytearray)
    versions: dict[int, list[bytes]] = field(default_factory=dict)
    sizes: list[int] = field(default_factory=list)
    dirty: set[int] = field(default_factory=set)

    def write(self, offset: int, data: bytes) -> None:
        """Write bytes at an offset; a gap before them is filled with zeros."""
        first = min(offset, len(self.live))
        if offset > len(self.live):
            self.live.extend(bytes(offset - len(self.live)))
        before = len(self.live)
        self.live[offset : offset + len(data)] = data
        if len(self.live) != before or first != offset:
            self.sizes.append(len(self.live))
        self._touch(first, offset + len(data))

    def resize(self, size: int) -> None:
        """Truncate the file, or extend it with zeros."""
        before = len(self.live)
        if size < before:
            del self.live[size:]
        else:
            self.live.extend(bytes(size - before))
        self.sizes.append(size)
        # Include the truncated part: if the file grows again, it must read as zeros.
        self._touch(min(size, before), max(size, before, len(self.durable)))

    def _touch(self, first: int, end: int) -> None:
        for sector in range(first // SECTOR, -(-end // SECTOR)):
            image = bytes(self.live[sector * SECTOR : (sector + 1) * SECTOR])
            self.versions.setdefault(sector, []).append(image)
            self.dirty.add(sector)

    def sync(self) -> None:
        """Make all dirty sectors and the size durable."""
        for sector in self.dirty:
            image = self.live[sector * SECTOR : (sector + 1) * SECTOR]
            _lay(self.durable, sector, bytes(image))
            del self.versions[sector]
        self.dirty.clear()
        if self.sizes:
            _resize(self.durable, len(self.live))
            self.sizes.clear()

    def fail(self) -> None:
        """Let a sync fail: dirty sectors become clean without being durable."""
        self.dirty.clear()

    def surviving(self, chance: random.Random, share: float) -> bytes:
        """The content after a power cut: each version that is not durable survives with this probability."""
        content = bytearray(self.durable)
        for size in self.sizes:
            if chance.random() < share:
                _resize(content, size)
        for sector, images in self.versions.items():
            for image in images:
                if chance.random() < share:
                    _lay(content, sector, image)
        return bytes(content)


def _lay(content: bytearray, sector: int, image: bytes) -> None:
    start = sector * SECTOR
    if image and len(content) < start:
        content.extend(bytes(start - len(content)))
    # The part of the sector beyond the image was truncated, so it reads as zeros.
    end = min(len(content), start + SECTOR)
    if end > start + len(image):
        image += bytes(end - start - len(image))
    if image:
        content[start : start + len(image)] = image


def _resize(content: bytearray, size: int) -> None:
    if size < len(content):
        del content[size:]
    else:
        content.extend(bytes(size - len(content)))


@dataclass(slots=True, eq=False)
class Link:
    """A symbolic link."""

    target: str


@dataclass(slots=True, eq=False)
class Directory:
    """A directory: its names, and its durable names."""

    live: dict[str, Node] = field(default_factory=dict)
    durable: dict[str, Node] = field(default_factory=dict)


Node = File | Link | Directory


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """Names that change atomically: in a directory, a name refers to a node from now on, or is removed."""

    names: tuple[tuple[Directory, str, Node | None], ...]

    def apply(self, to_live: bool) -> None:
        """Apply the change to the live or to the durable names."""
        for directory, name, node in self.names:
            entries = directory.live if to_live else directory.durable
            if node is None:
                entries.pop(name, None)
            else:
                entries[name] = node


class Disk:
    """One directory on a disk, with its live and its durable state."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._inodes: dict[int, Node] = {}
        self._top = self._loaded(self.root)
        self._pending: list[Change] = []

    def _loaded(self, path: Path) -> Directory:
        made = Directory()
        self._inodes[path.stat().st_ino] = made
        for entry in os.scandir(path):
            node: Node
            if entry.is_symlink():
                node = Link(str(Path(entry.path).readlink()))
            elif entry.is_dir():
                node = self._loaded(Path(entry.path))
            else:
                content = Path(entry.path).read_bytes()
                node = File(bytearray(content), bytearray(content))
                self._inodes[entry.inode()] = node
            made.live[entry.name] = made.durable[entry.name] = node
        return made

    def apply(self, event: Event) -> None:
        """Apply one logged call."""
        node = self._inodes.get(event.inode)
        kind = event.kind
        if kind in "WTSF":
            if not isinstance(node, File):
                return  # a directory whose sync failed, or a file that was never in this root
            if kind == "W":
                node.write(event.offset, event.data)
            elif kind == "T":
                node.resize(event.offset)
            elif kind == "S":
                node.sync()
            else:
                node.fail()
        elif kind == "Y":
            if isinstance(node, Directory):
                self._sync(node)
        elif kind in "CDN":
            made = File() if kind == "C" else Directory() if kind == "D" else Link(event.other)
            self._inodes[event.inode] = made
            self._change((*self._parent(event.path), made))
        elif kind == "L":
            self._change((*self._parent(event.other), node or self._seek(event.path)))
        elif kind == "R":
            self._rename(event)
        elif kind == "U":
            self._change((*self._parent(event.path), None))

    def _rename(self, event: Event) -> None:
        names: list[tuple[Directory, str, Node | None]] = []
        moved = self._seek(event.path)
        if self._is_inside(event.path):
            names.append((*self._parent(event.path), None))
        if self._is_inside(event.other):
            names.append((*self._parent(event.other), moved))
        self._change(*names)

    def _change(self, *names: tuple[Directory, str, Node | None]) -> None:
        change = Change(names)
        change.apply(to_live=True)
        self._pending.append(change)

    def _sync(self, directory: Directory) -> None:
        waiting = []
        for change in self._pending:
            if any(one is directory for one, _, _ in change.names):
                change.apply(to_live=False)
            else:
                waiting.append(change)
        self._pending = waiting

    def _is_inside(self, path: str) -> bool:
        return Path(path).is_relative_to(self.root)

    def _parent(self, path: str) -> tuple[Directory, str]:
        node: Node | None = self._top
        *parents, name = Path(path).relative_to(self.root).parts
        for part in parents:
            node = node.live.get(part) if isinstance(node, Directory) else None
        if not isinstance(node, Directory):
            raise LookupError(  # noqa: TRY004  # reason: an entry is missing from the log
                f"the log changes {path}, but never creates its directory"
            )
        return node, name

    def _seek(self, path: str) -> Node:
        if self._is_inside(path):
            directory, name = self._parent(path)
            if name in directory.live:
                return directory.live[name]
        # It was moved in from outside the root, so its durable content is unknown.
        return File()

    def cut(self, target: Path, chance: random.Random, volatile: Sequence[str]) -> str:
        """Write the content after a power cut at this moment to a directory, and return what it kept."""
        data, names = (chance.choice((0.0, 1.0, 0.5, chance.random())) for _ in range(2))
        kept = {id(one): dict(one.durable) for one in self._directories(self._top)}
        for change in self._pending:
            if chance.random() < names:
                for directory, name, node in change.names:
                    entries = kept.setdefault(id(directory), dict(directory.durable))
                    if node is None:
                        entries.pop(name, None)
                    else:
                        entries[name] = node

        def write(directory: Directory, path: Path) -> None:
            path.mkdir(exist_ok=True)
            for name, node in kept.get(id(directory), directory.durable).items():
                if any(fnmatch.fnmatch(name, pattern) for pattern in volatile):
                    continue
                if isinstance(node, Directory):
                    write(node, path / name)
                elif isinstance(node, Link):
                    (path / name).symlink_to(node.target)
                else:
                    (path / name).write_bytes(node.surviving(chance, data))

        write(self._top, target)
        return f"keeping {data:.0%} of the sectors and {names:.0%} of the names that were not synced"

    def _directories(self, top: Directory) -> list[Directory]:
        found = [top]
        for one in found:
            children = [*one.live.values(), *one.durable.values()]
            found += [child for child in children if isinstance(child, Directory) and child not in found]
        return found
