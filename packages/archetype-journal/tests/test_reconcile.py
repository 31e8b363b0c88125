"""A journal and a store that were not always together: worlds that only one has, and copies of different ages."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from journal_worlds import Drift, Place, digests, drive, journal_over_journal, small_world, three_table_world

from archetype_core import RunConfig, World
from archetype_core.errors import CorruptStore
from archetype_journal import JournalStore, verify


def put_back(there: Path, copy: Path) -> None:
    """Replace a directory with an earlier copy of it."""
    shutil.rmtree(there)
    shutil.copytree(copy, there)


def test_world_that_only_the_store_beneath_has_continues(tmp_path: Path) -> None:
    """A store that already has worlds can get a journal: they can be read, continued and forked. (R5)"""

    async def scenario() -> None:
        beneath = JournalStore(tmp_path / "beneath")
        world = await small_world(beneath)
        fork = await world.fork("fork")
        await fork.run(2)
        expected = {one.name: digests(one) for one in (world, fork)}
        beneath.close()
        for name in ("fork", "w"):
            store = journal_over_journal(tmp_path)
            assert {one.name for one in store.worlds()} >= {"w", "fork"}
            back = await World.open(store, name, processors=[Drift()])
            assert digests(back)[: len(expected[name])] == expected[name]
            await back.run(2)
            another = await back.fork(f"{name} again", at_tick=1)
            await another.step()
            store.seal()
            assert digests(back)[: len(expected[name])] == expected[name]
            assert back.get(1, Place).x == float(back.tick - 1)
            store.close()
            assert verify(tmp_path / "journal").is_sound

    drive(scenario())


def test_an_older_journal_learns_what_the_store_has(tmp_path: Path) -> None:
    """A journal from a backup that has no unsealed ticks continues from what the store beneath has. (R5, S4)"""

    async def scenario() -> None:
        store = journal_over_journal(tmp_path)
        world = await three_table_world(store)
        await world.close()
        store.close()
        shutil.copytree(tmp_path / "journal", tmp_path / "copy")
        store = journal_over_journal(tmp_path)
        world = await World.open(store, "w", processors=[Drift()])
        await world.run(2)
        await world.run(3, config=RunConfig(run_id="another"))
        expected = digests(world)
        await world.close()
        store.close()
        put_back(tmp_path / "journal", tmp_path / "copy")
        for _ in range(2):
            store = journal_over_journal(tmp_path)
            world = await World.open(store, "w", processors=[Drift()])
            assert digests(world)[: len(expected)] == expected
            await world.run(2)
            expected = digests(world)
            await world.close()
            store.close()
            assert store.seal_error is None

    drive(scenario())


@pytest.mark.parametrize("older", ["journal", "beneath"])
def test_copies_of_different_ages_are_refused(tmp_path: Path, older: str) -> None:
    """An older journal with unsealed ticks, and a store that lacks sealed ticks, are damage. (S4)"""

    async def scenario() -> None:
        store = journal_over_journal(tmp_path)
        world = await three_table_world(store)
        store.seal()
        await world.run(3)
        shutil.copytree(tmp_path / older, tmp_path / "copy")
        await world.run(3)
        await world.close()
        store.close()
        put_back(tmp_path / older, tmp_path / "copy")
        with pytest.raises(CorruptStore, match="older copy"):
            journal_over_journal(tmp_path)

    drive(scenario())


def test_an_older_store_is_refused_in_every_run(tmp_path: Path) -> None:
    """The store needs the sealed ticks of an earlier run even if no tick of the newest run is sealed. (S4)"""

    async def scenario() -> None:
        store = journal_over_journal(tmp_path)
        world = await three_table_world(store)
        store.seal()
        shutil.copytree(tmp_path / "beneath", tmp_path / "copy")
        await world.run(3)
        store.seal()
        await world.run(config=RunConfig(steps=2, run_id="another"))
        await world.close()
        store.close()
        put_back(tmp_path / "beneath", tmp_path / "copy")
        with pytest.raises(CorruptStore, match="older copy"):
            journal_over_journal(tmp_path)

    drive(scenario())
