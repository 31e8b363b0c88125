"""The model of a disk keeps what was synced, and nothing else for certain."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from archetype_contracts.crash.disk import SECTOR, Disk
from archetype_contracts.crash.trace import Event


class Scene:
    """A directory with one file of three sectors, and calls on it."""

    def __init__(self, path: Path) -> None:
        self.root = path / "root"
        self.root.mkdir()
        (self.root / "old").write_bytes(b"o" * 3 * SECTOR)
        self.inodes = {"old": (self.root / "old").stat().st_ino, ".": self.root.stat().st_ino}
        self.disk = Disk(self.root)
        self.target = path / "after"

    def do(self, kind: str, name: str, offset: int = 0, data: bytes = b"", other: str = "") -> None:
        if kind in "CD":
            self.inodes[name] = 10_000_000_000 + len(self.inodes)
        inode = self.inodes.get(other or name, self.inodes.get(name, 0))
        target = str(self.root / other) if other else ""
        path = str(self.root) if name == "." else str(self.root / name)
        self.disk.apply(Event(kind, inode, offset, 0, path, target, data))

    def outcomes(self) -> set[tuple[tuple[str, bytes], ...]]:
        """What two hundred power cuts leave."""
        found = set()
        for number in range(200):
            place = self.target / str(number)
            place.mkdir(parents=True)
            self.disk.cut(place, random.Random(number), ["*-shm"])
            found.add(tuple(sorted((path.name, path.read_bytes()) for path in place.iterdir())))
        return found


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Return a directory that was synced."""
    return Scene(tmp_path)


OLD = b"o" * 3 * SECTOR


def test_synced_data_stays(scene: Scene) -> None:
    """What a file held when it was synced is there after every power cut."""
    scene.do("W", "old", SECTOR, b"n" * SECTOR)
    scene.do("S", "old")
    assert scene.outcomes() == {(("old", b"o" * SECTOR + b"n" * SECTOR + b"o" * SECTOR),)}


def test_data_that_was_not_synced_is_torn_by_sectors(scene: Scene) -> None:
    """Every sector of a write stays or goes by itself, in any order, and none is mixed."""
    scene.do("W", "old", 0, b"n" * 3 * SECTOR)
    contents = {content for ((_, content),) in scene.outcomes()}
    sectors = {tuple(content[at : at + SECTOR] for at in range(0, 3 * SECTOR, SECTOR)) for content in contents}
    assert {one for row in sectors for one in row} == {b"o" * SECTOR, b"n" * SECTOR}
    assert len(sectors) == 8


def test_a_later_sector_makes_the_file_longer(scene: Scene) -> None:
    """Where the end of an append survives without its beginning, zeros are between."""
    scene.do("W", "old", 3 * SECTOR, b"n" * 2 * SECTOR)
    assert (("old", OLD + bytes(SECTOR) + b"n" * SECTOR),) in scene.outcomes()


def test_names_need_their_directory(scene: Scene) -> None:
    """A synced file may have lost its name, until the directory is synced as well."""
    scene.do("C", "new")
    scene.do("W", "new", 0, b"content")
    scene.do("S", "new")
    assert scene.outcomes() == {(("old", OLD),), (("new", b"content"), ("old", OLD))}
    scene.do("Y", ".")
    scene.target = scene.target / "again"
    assert scene.outcomes() == {(("new", b"content"), ("old", OLD))}


def test_a_rename_is_whole(scene: Scene) -> None:
    """A file that replaces another has one name or the other, and never both or none."""
    scene.do("C", "new")
    scene.do("W", "new", 0, b"content")
    scene.do("S", "new")
    scene.do("Y", ".")
    scene.do("R", "new", other="old")
    assert scene.outcomes() == {(("new", b"content"), ("old", OLD)), (("old", b"content"),)}


def test_a_failed_sync_is_not_made_good_by_the_next(scene: Scene) -> None:
    """What a failed sync lost stays lost after a later one, until it is written again."""
    scene.do("W", "old", 0, b"n" * SECTOR)
    scene.do("F", "old")
    scene.do("S", "old")
    assert (("old", OLD),) in scene.outcomes()
    scene.do("W", "old", 0, b"n")
    scene.do("S", "old")
    scene.target = scene.target / "again"
    assert scene.outcomes() == {(("old", b"n" * SECTOR + OLD[SECTOR:]),)}


def test_a_cut_file_does_not_come_back(scene: Scene) -> None:
    """What was cut off and synced reads as zeros where the file grows again."""
    scene.do("T", "old", 10)
    scene.do("W", "old", 2 * SECTOR, b"n")
    scene.do("S", "old")
    assert scene.outcomes() == {(("old", b"o" * 10 + bytes(2 * SECTOR - 10) + b"n"),)}


def test_volatile_files_are_gone(scene: Scene) -> None:
    """Files that mean nothing after a power cut are not there."""
    scene.do("C", "data-shm")
    scene.do("Y", ".")
    assert scene.outcomes() == {(("old", OLD),)}
