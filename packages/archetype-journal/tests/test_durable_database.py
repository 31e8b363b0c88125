"""The database: when commits are on disk, and what happens when its files are replaced."""

from __future__ import annotations

import asyncio
import gc
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from journal_worlds import drive, small_world, two_table_world

from archetype_core import CacheConfig, World, open_store
from archetype_core.errors import CommitError
from archetype_journal import Disk, JournalStore

OPEN_AND_CLOSE = "import sys; from archetype_journal import JournalStore; JournalStore(sys.argv[1]).close()"


def test_unknown_durability_is_refused(tmp_path: Path) -> None:
    """There are three modes, and a misspelt one is none of them. (S2)"""
    with pytest.raises(ValueError, match="tick, interval, exit"):
        JournalStore(tmp_path, durability="ticks")
    assert not list(tmp_path.iterdir())
    for wrong in ({"rows": 0}, {"rows": 1.5}, {"megabytes": float("nan")}, {"idle_s": 0}, {"interval_s": True}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            CacheConfig(**wrong)


@pytest.mark.parametrize("durability", ["interval", "exit"])
def test_other_modes_lose_nothing_when_closed(tmp_path: Path, durability: str) -> None:
    """Ticks that were not synced are there after closing, and for other handles before. (S2, Q3)"""

    async def scenario() -> None:
        store = open_store("journal:" + str(tmp_path), CacheConfig(durability=durability, interval_s=0.01))
        world = await two_table_world(store, 5)
        other = JournalStore(tmp_path)
        assert other.head(world.world_id).tick == 4
        other.close()
        expected = world.digest(4)
        store.close()
        again = JournalStore(tmp_path)
        assert (await World.open(again, "w")).digest(4) == expected
        again.close()

    drive(scenario())


class WatchedDisk(Disk):
    """Sets an event when a log was synced."""

    def __init__(self) -> None:
        self.synced = threading.Event()

    def sync(self, path: Path) -> None:
        super().sync(path)
        if path.name.endswith("-wal"):
            self.synced.set()


def test_interval_syncs_within_its_bound(tmp_path: Path) -> None:
    """A tick that was not synced on commit is synced soon, even if nothing else happens. (S2)"""

    async def scenario() -> None:
        disk = WatchedDisk()
        store = JournalStore(tmp_path, durability="interval", interval_s=0.05, disk=disk)
        await two_table_world(store, 1)
        disk.synced.clear()
        await two_table_world(store, 1)
        assert disk.synced.wait(30)
        store.close()

    drive(scenario())


class FailingDisk(Disk):
    """Fails every sync while ``fails`` is set."""

    fails = False

    def sync(self, path: Path) -> None:
        if self.fails:
            raise OSError(5, "the disk failed")
        super().sync(path)


def test_failed_sync_on_closing_loses_no_tick(tmp_path: Path) -> None:
    """A journal whose sync fails on closing writes its log again: closing succeeds and every tick is there. (S2)"""

    async def scenario() -> None:
        disk = FailingDisk()
        store = JournalStore(tmp_path, durability="exit", disk=disk)
        world = await small_world(store)
        disk.fails = True
        await world.run(2)
        store.close()
        again = JournalStore(tmp_path)
        assert again.head(world.world_id).tick == 4
        again.close()

    drive(scenario())


def test_files_that_were_replaced_are_not_written_to(tmp_path: Path) -> None:
    """Copying an open journal in its own process drops SQLite's locks; no tick is acknowledged that is not stored. (S4)"""

    async def scenario() -> None:
        store = JournalStore(tmp_path / "j")
        world = await small_world(store)
        shutil.copytree(tmp_path / "j", tmp_path / "copy")
        command = [sys.executable, "-c", OPEN_AND_CLOSE, str(tmp_path / "j")]
        await asyncio.to_thread(lambda: subprocess.run(command, check=True))
        try:
            await world.run(3)
        except CommitError as failure:
            assert "open it again" in str(failure)  # noqa: PT017  # reason: it may also have gone well
        acknowledged = world.tick
        again = JournalStore(tmp_path / "j")
        assert again.worlds()[0].tick == acknowledged - 1
        again.close()
        store.close()

    drive(scenario())


def test_directory_that_was_removed_takes_no_more_ticks(tmp_path: Path) -> None:
    """A journal whose files are removed refuses the next tick. (S2)"""

    async def scenario() -> None:
        store = JournalStore(tmp_path / "j")
        world = await small_world(store)
        shutil.rmtree(tmp_path / "j")
        with pytest.raises(CommitError, match="removed"):
            await world.step()
        store.close()

    drive(scenario())


def open_connections() -> int:
    """How many connections to SQLite databases exist in this process."""
    gc.collect()
    return sum(isinstance(one, sqlite3.Connection) for one in gc.get_objects())


def test_readers_do_not_pile_up_connections(tmp_path: Path) -> None:
    """However many read at once, few connections stay open. (S1)"""

    async def scenario() -> None:
        before = open_connections()
        store = JournalStore(tmp_path)
        world = await small_world(store)
        await asyncio.gather(*(World.open(store, world.world_id) for _ in range(100)))
        # One to write, and at least one to read.
        assert 2 <= open_connections() - before <= 17
        store.close()

    drive(scenario())
