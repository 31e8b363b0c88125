"""Opening and closing handles: several at once, in forked processes, in directories that hold other things."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from journal_worlds import drive, journal_over_journal, small_world

from archetype_core import open_store
from archetype_core.errors import CommitError, CorruptStore
from archetype_journal import Disk, JournalStore, repair, verify


def test_only_leftovers_of_dead_handles_are_removed(tmp_path: Path) -> None:
    """Opening a journal removes files that a dead process left unreferenced, and no others. (S4)"""
    living = JournalStore(tmp_path)
    (mine,) = (one.stem for one in tmp_path.glob("*.owner"))
    dead = tmp_path / "00000000deadbeef.owner"
    # The process id is that of this process: the lock decides, not the id.
    dead.write_text(f"tick\nprocess {os.getpid()} on here\n")
    for token in (mine, dead.stem):
        (tmp_path / f"{token}-1.chunk").write_bytes(b"bytes")
    assert verify(tmp_path).leftovers == tuple(sorted(f"{token}-1.chunk" for token in (mine, dead.stem)))
    JournalStore(tmp_path).close()
    assert {one.name for one in tmp_path.glob("*.chunk")} == {f"{mine}-1.chunk"}
    assert not dead.exists()
    with pytest.raises(CommitError, match=str(os.getpid())):
        repair(tmp_path)
    living.close()
    assert not list(tmp_path.glob("*.owner"))


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_forked_process_leaves_the_journal_to_its_parent(tmp_path: Path) -> None:
    """A child that closes its copy of a handle, or ends, changes nothing for its parent. (S3)"""
    store = JournalStore(tmp_path)
    child = os.fork()
    if child == 0:
        try:
            store.worlds()
        except Exception as failure:  # noqa: BLE001  # reason: the exit code reports it to the parent
            code = 0 if type(failure).__name__ == "StoreClosed" else 1
        else:
            code = 2
        store.close()
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(verify(tmp_path).owners) == 1
    with pytest.raises(CommitError, match="while it is open"):
        repair(tmp_path)
    drive(small_world(store))
    store.close()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_forked_process_seals_nothing(tmp_path: Path) -> None:
    """A child that closes its copy of a journal in front of a store leaves both to its parent. (S3)"""
    store = journal_over_journal(tmp_path)
    drive(small_world(store))
    child = os.fork()
    if child == 0:
        store.close()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not store.beneath.worlds()
    assert store.seal() == 3
    store.close()


def test_files_of_others_stay(tmp_path: Path) -> None:
    """A directory that holds other things keeps them. (S1)"""
    for name in ("mine.chunk", "x.owner", "notes"):
        (tmp_path / name).write_text("mine")
    (tmp_path / "dir.owner").mkdir()
    (tmp_path / "dir.chunk").mkdir()
    JournalStore(tmp_path).close()
    assert {one.name for one in tmp_path.iterdir()} > {"mine.chunk", "x.owner", "notes", "dir.owner", "dir.chunk"}


def test_many_may_open_at_once(tmp_path: Path) -> None:
    """Several threads may open, verify and close one directory at the same moment, also while it is created. (S1)"""

    def open_and_close(place: Path) -> None:
        start.wait()
        for _ in range(10):
            with closing(JournalStore(place)):
                verify(place)

    for place in (tmp_path / f"place {number}" for number in range(10)):
        start = threading.Barrier(4)
        with ThreadPoolExecutor(4) as pool:
            for one in [pool.submit(open_and_close, place) for _ in range(4)]:
                one.result()


def test_journal_that_another_creates_meanwhile_is_not_damaged(tmp_path: Path) -> None:
    """A journal that another handle creates between two looks at its files opens. (S1)"""
    place = tmp_path / "journal"

    class Interrupted(Disk):
        """Creates the journal after the first look."""

        looks = 0

        def exists(self, path: Path) -> bool:
            seen = super().exists(path)
            self.looks += 1
            if self.looks == 1:
                JournalStore(place).close()
            return seen

    disk = Interrupted()
    JournalStore(place, disk=disk).close()
    assert disk.looks


def test_places_that_cannot_be_a_journal_are_typed_errors(tmp_path: Path) -> None:
    """A file, a name that is too long, a wrong configuration, nothing to repair. (S1)"""
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / ("x" * 300)):
        with pytest.raises(CommitError):
            JournalStore(place)
    not_a_config: Any = {"durability": "tick"}
    with pytest.raises(TypeError, match="CacheConfig"):
        open_store(f"journal:{tmp_path}", not_a_config)
    for place in (tmp_path / "missing", tmp_path / "file"):
        with pytest.raises(CorruptStore):
            repair(place)
    assert {one.name for one in tmp_path.iterdir()} == {"file"}
