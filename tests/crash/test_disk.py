"""The model of a disk keeps synced data, and may lose everything else."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from archetype_contracts.crash.disk import SECTOR, Disk
from archetype_contracts.crash.trace import Event


class RecordedDirectory:
    """A directory with one file of three sectors, a model of its disk, and calls that change it."""

    def __init__(self, path: Path) -> None:
        self.root = path / "root"
        self.root.mkdir()
        (self.root / "old").write_bytes(b"o" * 3 * SECTOR)
        self.inodes = {"old": (self.root / "old").stat().st_ino, ".": self.root.stat().st_ino}
        self.disk = Disk(self.root)
        self.target = path / "after"

    def apply(self, kind: str, name: str, offset: int = 0, data: bytes = b"", other: str = "") -> None:
        if kind in "CD":
            self.inodes[name] = 10_000_000_000 + len(self.inodes)
        inode = self.inodes.get(other or name, self.inodes.get(name, 0))
        target = str(self.root / other) if other else ""
        path = str(self.root) if name == "." else str(self.root / name)
        self.disk.apply(Event(kind, inode, offset, 0, path, target, data))

    def outcomes(self) -> set[tuple[tuple[str, bytes], ...]]:
        """The different contents after two hundred power cuts."""
        found = set()
        for number in range(200):
            place = self.target / str(number)
            place.mkdir(parents=True)
            self.disk.cut(place, random.Random(number), ["*-shm"])
            found.add(tuple(sorted((path.name, path.read_bytes()) for path in place.iterdir())))
        return found


@pytest.fixture
def directory(tmp_path: Path) -> RecordedDirectory:
    """Return a synced directory."""
    return RecordedDirectory(tmp_path)


OLD = b"o" * 3 * SECTOR


def test_synced_data_stays(directory: RecordedDirectory) -> None:
    """Synced data survives every power cut."""
    directory.apply("W", "old", SECTOR, b"n" * SECTOR)
    directory.apply("S", "old")
    assert directory.outcomes() == {(("old", b"o" * SECTOR + b"n" * SECTOR + b"o" * SECTOR),)}


def test_data_that_was_not_synced_is_torn_by_sectors(directory: RecordedDirectory) -> None:
    """Each sector of a write survives or is lost on its own, in any order, and never partly."""
    directory.apply("W", "old", 0, b"n" * 3 * SECTOR)
    contents = {content for ((_, content),) in directory.outcomes()}
    sectors = {tuple(content[at : at + SECTOR] for at in range(0, 3 * SECTOR, SECTOR)) for content in contents}
    assert {one for row in sectors for one in row} == {b"o" * SECTOR, b"n" * SECTOR}
    assert len(sectors) == 8


def test_a_later_sector_makes_the_file_longer(directory: RecordedDirectory) -> None:
    """If only the end of an append survives, the gap reads as zeros."""
    directory.apply("W", "old", 3 * SECTOR, b"n" * 2 * SECTOR)
    assert (("old", OLD + bytes(SECTOR) + b"n" * SECTOR),) in directory.outcomes()


def test_names_need_their_directory(directory: RecordedDirectory) -> None:
    """A synced file may lose its name until its directory is synced too."""
    directory.apply("C", "new")
    directory.apply("W", "new", 0, b"content")
    directory.apply("S", "new")
    assert directory.outcomes() == {(("old", OLD),), (("new", b"content"), ("old", OLD))}
    directory.apply("Y", ".")
    directory.target = directory.target / "again"
    assert directory.outcomes() == {(("new", b"content"), ("old", OLD))}


def test_a_rename_is_atomic(directory: RecordedDirectory) -> None:
    """A file that replaces another has its old or its new name, never both or none."""
    directory.apply("C", "new")
    directory.apply("W", "new", 0, b"content")
    directory.apply("S", "new")
    directory.apply("Y", ".")
    directory.apply("R", "new", other="old")
    assert directory.outcomes() == {(("new", b"content"), ("old", OLD)), (("old", b"content"),)}


def test_a_later_sync_does_not_repair_a_failed_one(directory: RecordedDirectory) -> None:
    """Data of a failed sync may be lost even after a later sync, until it is written again."""
    directory.apply("W", "old", 0, b"n" * SECTOR)
    directory.apply("F", "old")
    directory.apply("S", "old")
    assert (("old", OLD),) in directory.outcomes()
    directory.apply("W", "old", 0, b"n")
    directory.apply("S", "old")
    directory.target = directory.target / "again"
    assert directory.outcomes() == {(("old", b"n" * SECTOR + OLD[SECTOR:]),)}


def test_a_truncated_file_does_not_come_back(directory: RecordedDirectory) -> None:
    """Truncated and synced bytes read as zeros when the file grows again."""
    directory.apply("T", "old", 10)
    directory.apply("W", "old", 2 * SECTOR, b"n")
    directory.apply("S", "old")
    assert directory.outcomes() == {(("old", b"o" * 10 + bytes(2 * SECTOR - 10) + b"n"),)}


def test_volatile_files_are_removed(directory: RecordedDirectory) -> None:
    """A power cut removes volatile files."""
    directory.apply("C", "data-shm")
    directory.apply("Y", ".")
    assert directory.outcomes() == {(("old", OLD),)}
