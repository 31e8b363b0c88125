"""A journal in front of a store: what is handed over when, and what a crash in between leaves."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest
from journaling import Drift, Label, Place, Speed

from archetype_core import CacheConfig, Capability, MemoryStore, RunConfig, Store, TickCommit, World
from archetype_core.errors import CommitError, CorruptStore, TickConflict, UnsupportedCapability
from archetype_journal import JournaledStore, JournalStore, verify

LARGE = {"x": [0.5] * 50_000}


def drive(scenario: Coroutine[Any, Any, Any]) -> Any:
    """Run a scenario to its end."""
    return asyncio.run(scenario)


def over(path: Path, **cache: Any) -> JournaledStore:
    """A journal over a journal, which hands nothing over by itself unless told to."""
    config = CacheConfig(**{"idle_s": 3600.0, **cache})
    return JournaledStore(JournalStore(path / "beneath"), path / "journal", config)


async def begun(store: Store, ticks: int = 5) -> World:
    """A world of three tables, one of them large and one idle."""
    world = World(store, "w", seed=1, processors=[Drift()])
    world.spawn_many([(Place(x=float(n)), Speed()) for n in range(10)])
    world.spawn(Label(text="still"))
    world.spawn_table(LARGE, Place)
    await world.run(ticks)
    return world


def digests(world: World) -> list[str]:
    """The digest of every tick of a world."""
    return [world.digest(tick) for tick in range(world.tick)]


class Failing(JournalStore):
    """A store that fails, before or after it did what it was asked to."""

    before: Exception | None = None
    after: Exception | None = None

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        if self.before is not None:
            raise self.before
        super().commit(ticks)
        if self.after is not None and ticks:
            raise self.after


def test_ticks_read_the_same_wherever_they_are(tmp_path: Path) -> None:
    """Handing over changes nothing for a reader: history, forks of the past, runs, columns that did not change. (Q3, R4)"""

    async def scenario() -> None:
        store = over(tmp_path)
        world = await begun(store)
        reference = await begun(JournalStore(tmp_path / "reference"))
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
        reference._store.close()
        again = over(tmp_path)
        assert digests(await World.open(again, "fork")) == digests(await World.open(again.beneath, "fork"))
        again.close()

    drive(scenario())


def test_journal_lets_go_of_what_it_handed_over(tmp_path: Path) -> None:
    """After a hand-over the journal holds no more than its unsealed ticks refer to, in rows and in files. (T11)"""

    async def scenario() -> None:
        store = over(tmp_path)
        world = await begun(store)
        assert len(list((tmp_path / "journal").glob("*.chunk"))) == 1
        store.seal()
        await world.run(2)
        store.seal()
        with store._handle.reader.read() as view:
            (branch,) = view.branches()
            assert len(view.sealed_rows(branch)) == 1
            assert view.file_numbers() == [1]
        store.close()
        assert verify(tmp_path / "journal").is_sound
        again = over(tmp_path)
        again.seal()
        # The file that was being appended to goes with the handle that did.
        assert not list((tmp_path / "journal").glob("*.chunk"))
        back = await World.open(again, "w", processors=[Drift()])
        await back.run(2)
        assert back.get(1)[Place].x == world.get(1)[Place].x + 2
        again.close()

    drive(scenario())


@pytest.mark.parametrize("when", ["before", "after"])
def test_failed_hand_over_loses_nothing_and_is_made_up_for(tmp_path: Path, when: str) -> None:
    """A store beneath that fails, also after it did its work, stops no tick; later everything is in it once. (S4)"""

    async def scenario() -> None:
        beneath = Failing(tmp_path / "beneath")
        store = JournaledStore(beneath, tmp_path / "journal", CacheConfig(idle_s=3600))
        setattr(beneath, when, OSError("the disk is somewhere else"))
        world = await begun(store)
        with pytest.raises(CommitError, match="took nothing: OSError: the disk is somewhere else"):
            store.seal()
        assert "somewhere else" in str(store.trouble)
        await world.run(3)
        told = digests(world)
        setattr(beneath, when, None)
        assert store.seal() > 0
        assert store.trouble is None
        assert digests(world) == told
        assert digests(await World.open(beneath, "w")) == told
        store.close()

    drive(scenario())


def test_two_journals_before_one_store_lose_nothing(tmp_path: Path) -> None:
    """A world that was gone on with from another journal is a conflict: neither history takes a tick of the other's. (S5)"""

    async def scenario() -> None:
        store = over(tmp_path)
        world = await begun(store)
        store.seal()
        other = JournaledStore(JournalStore(tmp_path / "beneath"), tmp_path / "elsewhere", CacheConfig(idle_s=3600))
        twin = await World.open(other, "w", processors=[Drift()])
        await world.step()
        twin.update(1, Place(x=77.0))
        await twin.run(2)
        told, differently = digests(world), digests(twin)
        store.seal()
        with pytest.raises(TickConflict):
            other.seal()
        assert isinstance(other.trouble, TickConflict)
        assert (digests(world), digests(twin)) == (told, differently)
        with pytest.raises(TickConflict):
            await twin.step()
        await world.run(2)
        store.seal()
        assert digests(await World.open(store, "w"))[: len(told)] == told
        store.close()
        other.close()

    drive(scenario())


def test_too_much_that_waits_makes_ticks_wait(tmp_path: Path) -> None:
    """While a hand-over is behind by several times its measure, a commit waits for it. (S2)"""
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


def test_world_that_only_the_store_beneath_knows_goes_on(tmp_path: Path) -> None:
    """A store that has worlds already can get a journal: they are read, gone on with and forked. (R5)"""

    async def scenario() -> None:
        beneath = JournalStore(tmp_path / "beneath")
        world = World(beneath, "w", seed=1, processors=[Drift()])
        world.spawn(Place(), Speed())
        await world.run(3)
        fork = await world.fork("fork")
        await fork.run(2)
        told = {one.name: digests(one) for one in (world, fork)}
        beneath.close()
        for name in ("fork", "w"):
            store = over(tmp_path)
            assert {one.name for one in store.worlds()} >= {"w", "fork"}
            back = await World.open(store, name, processors=[Drift()])
            assert digests(back)[: len(told[name])] == told[name]
            await back.run(2)
            another = await back.fork(f"{name} again", at_tick=1)
            await another.step()
            store.seal()
            assert digests(back)[: len(told[name])] == told[name]
            assert back.get(1)[Place].x == float(back.tick - 1)
            store.close()
            assert verify(tmp_path / "journal").is_sound

    drive(scenario())


def test_only_stores_that_keep_every_tick_can_be_beneath(tmp_path: Path) -> None:
    """A store without its past is refused; one that forgets when it is closed is given nothing. (S1)"""

    class Newest(MemoryStore):
        capabilities = frozenset({Capability.PERSISTENCE})  # type: ignore[assignment]  # reason: it claims less

    with pytest.raises(UnsupportedCapability):
        JournaledStore(Newest("newest"), tmp_path)

    async def scenario() -> None:
        store = JournaledStore(MemoryStore(), tmp_path, CacheConfig(rows=1, idle_s=0.01))
        told = digests(await begun(store))
        with pytest.raises(UnsupportedCapability, match="persistence"):
            store.seal()
        store.close()
        again = JournaledStore(MemoryStore(), tmp_path)
        assert digests(await World.open(again, "w")) == told
        again.close()

    drive(scenario())


def test_full_disk_beneath_does_not_stop_a_world_for_ever(tmp_path: Path) -> None:
    """A world whose hand-overs fail is not made to wait for them. (S4)"""

    async def scenario() -> None:
        beneath = Failing(tmp_path / "beneath")
        beneath.before = CommitError("full")
        store = JournaledStore(beneath, tmp_path / "journal", CacheConfig(rows=1, idle_s=0.01))
        world = await begun(store, ticks=50)
        assert world.tick == 50
        beneath.before = None
        store.close()
        assert JournalStore(tmp_path / "beneath").head(world.world_id).tick == 49

    drive(scenario())


def put_back(there: Path, copy: Path) -> None:
    """Replace a directory with a copy of what it was before."""
    shutil.rmtree(there)
    shutil.copytree(copy, there)


def test_an_older_journal_takes_up_what_it_has_not_heard_of(tmp_path: Path) -> None:
    """A journal put back from a backup, in which nothing waits, goes on from what the store beneath has (R5, S4)."""

    async def scenario() -> None:
        store = over(tmp_path)
        world = await begun(store)
        await world.close()
        store.close()
        shutil.copytree(tmp_path / "journal", tmp_path / "copy")
        store = over(tmp_path)
        world = await World.open(store, "w", processors=[Drift()])
        await world.run(2)
        await world.run(3, config=RunConfig(run_id="another"))
        expected = digests(world)
        await world.close()
        store.close()
        put_back(tmp_path / "journal", tmp_path / "copy")
        for _ in range(2):
            store = over(tmp_path)
            world = await World.open(store, "w", processors=[Drift()])
            assert digests(world)[: len(expected)] == expected
            await world.run(2)
            expected = digests(world)
            await world.close()
            store.close()
            assert store.trouble is None

    drive(scenario())


@pytest.mark.parametrize("older", ["journal", "beneath"])
def test_halves_of_different_moments_are_refused(tmp_path: Path, older: str) -> None:
    """A journal in which ticks wait that its store has gone beyond, or a store that lacks what it was handed, is damage (S4)."""

    async def scenario() -> None:
        store = over(tmp_path)
        world = await begun(store)
        store.seal()
        await world.run(3)
        shutil.copytree(tmp_path / older, tmp_path / "copy")
        await world.run(3)
        await world.close()
        store.close()
        put_back(tmp_path / older, tmp_path / "copy")
        with pytest.raises(CorruptStore, match="older copy"):
            over(tmp_path)

    drive(scenario())


def test_an_older_store_is_refused_whatever_run_the_world_is_in(tmp_path: Path) -> None:
    """Also where the newest run waits in the journal as a whole, the store needs what it was handed of the one before (S4)."""

    async def scenario() -> None:
        store = over(tmp_path)
        world = await begun(store)
        store.seal()
        shutil.copytree(tmp_path / "beneath", tmp_path / "copy")
        await world.run(3)
        store.seal()
        await world.run(config=RunConfig(steps=2, run_id="another"))
        await world.close()
        store.close()
        put_back(tmp_path / "beneath", tmp_path / "copy")
        with pytest.raises(CorruptStore, match="older copy"):
            over(tmp_path)

    drive(scenario())
