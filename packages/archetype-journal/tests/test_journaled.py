"""``JournaledStore``: which stores can be beneath it, when it seals, and when commits wait."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from journal_worlds import Drift, Place, Speed, digests, drive, small_world, three_table_world

from archetype_core import CacheConfig, Capability, MemoryStore, TickCommit, World
from archetype_core.errors import CommitError, UnsupportedCapability
from archetype_journal import JournaledStore, JournalStore


def test_only_stores_that_keep_every_tick_can_be_beneath(tmp_path: Path) -> None:
    """A store without time travel is refused; one without persistence is given nothing. (S1)"""

    class Newest(MemoryStore):
        @property
        def capabilities(self) -> frozenset[Capability]:
            return frozenset({Capability.PERSISTENCE})

    with pytest.raises(UnsupportedCapability):
        JournaledStore(Newest("newest"), tmp_path)

    async def scenario() -> None:
        store = JournaledStore(MemoryStore(), tmp_path, CacheConfig(rows=1, idle_s=0.01))
        expected = digests(await three_table_world(store))
        with pytest.raises(UnsupportedCapability, match="persistence"):
            store.seal()
        assert store.unsealed_ticks == 5
        store.close()
        again = JournaledStore(MemoryStore(), tmp_path)
        assert digests(await World.open(again, "w")) == expected
        again.close()

    drive(scenario())


def test_journal_in_front_of_itself_is_refused(tmp_path: Path) -> None:
    """It would find every tick beneath, and remove it. (S4)"""
    store = JournalStore(tmp_path)
    drive(small_world(store))
    with pytest.raises(ValueError, match="in front of itself"):
        JournaledStore(store, tmp_path / ".." / tmp_path.name)
    assert store.worlds()[0].tick == 2
    store.close()


def test_journal_without_the_store_that_has_its_ticks_says_so(tmp_path: Path) -> None:
    """Opened without the store that its ticks are sealed into, a journal names what is missing. (Q3)"""
    store = JournaledStore(JournalStore(tmp_path / "beneath"), tmp_path / "j")
    drive(small_world(store))
    store.close()
    alone = JournalStore(tmp_path / "j")
    with pytest.raises(CommitError, match="open it with JournaledStore"):
        alone.head(alone.worlds()[0].world_id)
    alone.close()


def test_idle_time_may_be_endless(tmp_path: Path) -> None:
    """An idle time that no clock can count is allowed; sealing by rows still happens. (S2)"""

    async def scenario() -> None:
        beneath = JournalStore(tmp_path / "beneath")
        store = JournaledStore(beneath, tmp_path / "j", CacheConfig(idle_s=1e12, rows=5))
        world = World(store, "w", seed=1, processors=[Drift()])
        world.spawn_many([(Place(), Speed()) for _ in range(10)])
        await world.run(30)
        store.close()

    drive(scenario())


def test_commits_wait_for_a_large_backlog(tmp_path: Path) -> None:
    """A commit waits while the backlog is several times what starts sealing. (S2)"""
    reached, go_on = threading.Event(), threading.Event()

    class Slow(JournalStore):
        def commit(self, ticks: Sequence[TickCommit]) -> None:
            reached.set()
            assert go_on.wait(60)
            super().commit(ticks)

    async def scenario() -> None:
        store = JournaledStore(Slow(tmp_path / "beneath"), tmp_path / "journal", CacheConfig(rows=10))
        world = World(store, "w", seed=1, processors=[Drift()])
        world.spawn_many([(Place(), Speed()) for _ in range(10)])
        for _ in range(4):
            await world.step()
        assert await asyncio.to_thread(reached.wait, 60)
        fifth = asyncio.create_task(world.step())
        done, _ = await asyncio.wait([fifth], timeout=0.2)
        assert not done
        go_on.set()
        await fifth
        await world.run(20)
        store.close()
        assert JournalStore(tmp_path / "beneath").head(world.world_id).tick == 24

    drive(scenario())


def test_full_disk_beneath_does_not_block_a_world(tmp_path: Path) -> None:
    """Commits do not wait for sealing that fails. (S4)"""

    class Full(JournalStore):
        is_full = True

        def commit(self, ticks: Sequence[TickCommit]) -> None:
            if self.is_full:
                raise CommitError("full")
            super().commit(ticks)

    async def scenario() -> None:
        beneath = Full(tmp_path / "beneath")
        store = JournaledStore(beneath, tmp_path / "journal", CacheConfig(rows=1, idle_s=0.01))
        world = await three_table_world(store, ticks=50)
        assert world.tick == 50
        beneath.is_full = False
        store.close()
        assert JournalStore(tmp_path / "beneath").head(world.world_id).tick == 49

    drive(scenario())
