"""Sealing: what readers see, what the journal keeps, and what failures of the store beneath change."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from sqlite3 import connect

import pytest
from journal_worlds import (
    Drift,
    Label,
    Place,
    digests,
    drive,
    journal_over_journal,
    small_world,
    three_table_world,
)

from archetype_core import CacheConfig, RunConfig, TickCommit, World
from archetype_core.errors import CommitError, TickConflict
from archetype_journal import JournaledStore, JournalStore, verify


class Failing(JournalStore):
    """A store that fails before or after it commits."""

    before: Exception | None = None
    after: Exception | None = None

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        if self.before is not None:
            raise self.before
        super().commit(ticks)
        if self.after is not None and ticks:
            raise self.after


def test_ticks_read_the_same_wherever_they_are(tmp_path: Path) -> None:
    """Sealing changes nothing for a reader: history, forks of the past, runs, columns that did not change. (Q3, R4)"""

    async def scenario() -> None:
        store, plain = journal_over_journal(tmp_path), JournalStore(tmp_path / "reference")
        world, reference = await three_table_world(store), await three_table_world(plain)
        for turn in range(4):
            for one in (world, reference):
                one.update(11, Label(text=f"round {turn}"))
                await one.run(3, config=RunConfig(run_id=f"run {turn // 2}"))
            assert digests(world) == digests(reference)
            assert store.seal() > 0
            assert digests(world) == digests(reference)
        forks = [await one.fork("fork", at_tick=7, rng=3) for one in (world, reference)]
        for one in forks:
            await one.run(3)
        assert digests(forks[0]) == digests(forks[1])
        store.seal()
        assert digests(forks[0]) == digests(forks[1])
        store.close()
        plain.close()
        again = journal_over_journal(tmp_path)
        assert digests(await World.open(again, "fork")) == digests(await World.open(again.beneath, "fork"))
        again.close()

    drive(scenario())


def test_journal_removes_what_is_sealed(tmp_path: Path) -> None:
    """After sealing, the journal holds only the rows and files that unsealed ticks refer to. (T11)"""

    async def scenario() -> None:
        store = journal_over_journal(tmp_path)
        world = await three_table_world(store)
        assert len(list((tmp_path / "journal").glob("*.chunk"))) == 1
        assert store.unsealed_ticks == 5
        store.seal()
        await world.run(2)
        assert store.unsealed_ticks == 2
        store.seal()
        assert store.unsealed_ticks == 0
        with closing(connect(tmp_path / "journal" / "journal.sqlite")) as connection:
            # The last sealed tick stays, without its bytes.
            assert connection.execute("SELECT data FROM tick").fetchall() == [(None,)]
            assert connection.execute("SELECT id FROM file").fetchall() == [(1,)]
        store.close()
        assert verify(tmp_path / "journal").is_sound
        again = journal_over_journal(tmp_path)
        again.seal()
        # A chunk file stays as long as the handle that appends to it.
        assert not list((tmp_path / "journal").glob("*.chunk"))
        back = await World.open(again, "w", processors=[Drift()])
        await back.run(2)
        assert back.get(1, Place).x == world.get(1, Place).x + 2
        again.close()

    drive(scenario())


@pytest.mark.parametrize("when", ["before", "after"])
def test_failed_sealing_loses_nothing_and_is_repeated(tmp_path: Path, when: str) -> None:
    """A store beneath that fails, even after it committed, stops no tick; later it has every tick once. (S4)"""

    async def scenario() -> None:
        beneath = Failing(tmp_path / "beneath")
        store = JournaledStore(beneath, tmp_path / "journal", CacheConfig(idle_s=3600))
        setattr(beneath, when, OSError("the disk is somewhere else"))
        world = await three_table_world(store)
        with pytest.raises(CommitError, match="could not commit: OSError: the disk is somewhere else"):
            store.seal()
        assert "somewhere else" in str(store.seal_error)
        await world.run(3)
        expected = digests(world)
        setattr(beneath, when, None)
        assert store.seal() > 0
        assert store.seal_error is None
        assert digests(world) == expected
        assert digests(await World.open(beneath, "w")) == expected
        store.close()

    drive(scenario())


def test_world_that_the_store_beneath_refuses_stops_no_other(tmp_path: Path) -> None:
    """Other worlds are sealed, and the failure is raised. (S4)"""

    class Picky(JournalStore):
        def commit(self, ticks: Sequence[TickCommit]) -> None:
            if ticks and ticks[0].segment.name == "bad":
                raise OSError("not that one")
            super().commit(ticks)

    async def scenario() -> None:
        store = JournaledStore(Picky(tmp_path / "beneath"), tmp_path / "j", CacheConfig(idle_s=3600))
        for name in ("bad", "good"):
            await small_world(store, name)
        with pytest.raises(CommitError, match="not that one"):
            store.seal()
        assert [one.name for one in store.beneath.worlds()] == ["good"]
        assert store.unsealed_ticks == 3
        store.close()

    drive(scenario())


def test_two_journals_before_one_store_lose_nothing(tmp_path: Path) -> None:
    """A world that two journals continue is a conflict: neither history gets a tick of the other. (S5)"""

    async def scenario() -> None:
        store = journal_over_journal(tmp_path)
        world = await three_table_world(store)
        store.seal()
        other = JournaledStore(JournalStore(tmp_path / "beneath"), tmp_path / "elsewhere", CacheConfig(idle_s=3600))
        twin = await World.open(other, "w", processors=[Drift()])
        await world.step()
        twin.update(1, Place(x=77.0))
        await twin.run(2)
        ours, theirs = digests(world), digests(twin)
        store.seal()
        with pytest.raises(TickConflict):
            other.seal()
        assert isinstance(other.seal_error, TickConflict)
        assert (digests(world), digests(twin)) == (ours, theirs)
        with pytest.raises(TickConflict):
            await twin.step()
        await world.run(2)
        store.seal()
        assert digests(await World.open(store, "w"))[: len(ours)] == ours
        store.close()
        other.close()

    drive(scenario())
