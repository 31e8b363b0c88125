"""The journal as a store of its own; the contract suite holds it to the port."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from journaling import Drift, Label, Line, Place, Speed

from archetype_core import CacheConfig, Component, Store, World, open_store
from archetype_core.errors import CommitError, CorruptStore, StoreClosed, TickConflict
from archetype_journal import JournalStore, database, repair, verify
from archetype_journal.record import TickRecord

PROGRAM = Path(__file__).with_name("journaling.py")


def drive(scenario: Coroutine[Any, Any, Any]) -> Any:
    """Run a scenario to its end."""
    return asyncio.run(scenario)


async def moved(store: Store, ticks: int) -> World:
    """A world of two tables after some ticks."""
    world = World(store, "w", seed=1, processors=[Drift()])
    world.spawn_many([(Place(x=float(n)), Speed()) for n in range(100)])
    world.spawn(Label(text="still"))
    await world.run(ticks)
    return world


def test_world_comes_back(tmp_path: Path) -> None:
    """A closed journal opens in another handle with every tick as it was, and goes on. (R5, S4)"""

    async def scenario() -> None:
        store = JournalStore(tmp_path / "j")
        world = await moved(store, 5)
        told = [world.digest(tick) for tick in range(5)]
        store.close()
        again = open_store(f"journal:{tmp_path / 'j'}")
        back = await World.open(again, "w", processors=[Drift()])
        assert [back.digest(tick) for tick in range(5)] == told
        assert (back.tick, len(back), back.seed) == (5, 101, 1)
        await back.step()
        assert back.get(1)[Place].x == 5.0
        assert back.spawn(Place()) == 102
        again.close()

    drive(scenario())


def test_unchanged_columns_are_written_once(tmp_path: Path) -> None:
    """A tick that moves one column of a table writes that one, and idle tables nothing. (T11)"""

    async def scenario() -> None:
        store = JournalStore(tmp_path)
        await moved(store, 10)
        store.close()
        database = sqlite3.connect(tmp_path / "journal.sqlite")
        sizes = [size for (size,) in database.execute("SELECT coalesce(length(data), 0) FROM tick ORDER BY id")]
        database.close()
        # Two tables at the first tick, then one column of one.
        assert len(sizes) == 10
        assert sizes[0] > 3 * 800
        assert sizes[1:] == [800] * 9

    drive(scenario())


def test_large_columns_are_files(tmp_path: Path) -> None:
    """A table too large for a blob is in a file, and reads back the same. (S2)"""

    async def scenario() -> None:
        store = JournalStore(tmp_path)
        world = World(store, "w", seed=1)
        world.spawn_table({"x": [float(n) for n in range(200_000)]}, Place)
        await world.step()
        (file,) = tmp_path.glob("*.chunk")
        assert file.stat().st_size == 2 * 8 * 200_000
        assert (await World.open(store, "w")).digest() == world.digest()
        store.close()

    drive(scenario())


def test_flipped_byte_is_damage(tmp_path: Path) -> None:
    """A byte that changed in a column's file is reported where it is read, not served. (S4)"""

    async def scenario() -> None:
        store = JournalStore(tmp_path)
        world = World(store, "w", seed=1)
        world.spawn_table({"x": [1.5] * 200_000}, Place)
        await world.step()
        (file,) = tmp_path.glob("*.chunk")
        data = bytearray(file.read_bytes())
        data[-100] ^= 1
        file.write_bytes(data)
        with pytest.raises(CorruptStore) as caught:
            world.digest()
        assert str(tmp_path) in caught.value.place
        store.close()

    drive(scenario())


def test_newer_format_is_refused(tmp_path: Path) -> None:
    """A journal of a later version is not touched. (S6)"""
    JournalStore(tmp_path).close()
    database = sqlite3.connect(tmp_path / "journal.sqlite")
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(CommitError, match="format 99"):
        JournalStore(tmp_path)


def test_loser_is_told_who_won(tmp_path: Path) -> None:
    """A world that another handle moved on is refused, with the name of who did. (S3)"""

    async def scenario() -> None:
        first, second = JournalStore(tmp_path), JournalStore(tmp_path)
        world = await moved(first, 2)
        other = await World.open(second, "w", processors=[Drift()])
        await other.step()
        with pytest.raises(TickConflict) as caught:
            await world.step()
        assert (caught.value.expected, caught.value.got) == (3, 2)
        assert str(os.getpid()) in (caught.value.owner or "")
        first.close()
        second.close()

    drive(scenario())


def test_use_after_close_is_an_error(tmp_path: Path) -> None:
    """A closed journal says so. (S1)"""
    store = JournalStore(tmp_path)
    store.close()
    store.close()
    with pytest.raises(StoreClosed):
        store.worlds()


def test_first_format_is_brought_forward(tmp_path: Path) -> None:
    """A journal that the first format wrote opens with every tick, run and fork, and goes on. (S6)"""
    shutil.copy(Path(__file__).with_name("journal-1.sqlite"), tmp_path / "journal.sqlite")

    async def scenario() -> None:
        for _ in range(2):
            store = JournalStore(tmp_path)
            world = await World.open(store, "w", processors=[Drift()])
            fork = await World.open(store, "fork")
            assert [world.digest(tick)[:8] for tick in range(6)] == [*SHARED_TICKS, "7510f218", "a3d51141"]
            assert [fork.digest(tick)[:8] for tick in range(6)] == [*SHARED_TICKS, "681c4b03", "25e9eb92"]
            assert store.head(world.world_id, at=3).applied == ("c1", "c2")
            store.close()
        store = JournalStore(tmp_path)
        world = await World.open(store, "w", processors=[Drift()])
        await world.step()
        assert world.get(1)[Place].x == 6.0
        store.close()
        assert verify(tmp_path).is_sound

    drive(scenario())


SHARED_TICKS = ["ae28e6d4", "603490ec", "aba92190", "e66a1177"]


def test_empty_database_is_no_new_journal(tmp_path: Path) -> None:
    """A journal whose database is gone, or empty, is damaged, not new. (S4)"""
    JournalStore(tmp_path).close()
    (tmp_path / "journal.sqlite").write_bytes(b"")
    with pytest.raises(CorruptStore):
        JournalStore(tmp_path)
    (tmp_path / "journal.sqlite").unlink()
    with pytest.raises(CorruptStore, match="bring it back"):
        JournalStore(tmp_path)


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
    """Ticks that were not waited for are there after closing, and for other handles before. (S2, Q3)"""

    async def scenario() -> None:
        store = open_store("journal:" + str(tmp_path), CacheConfig(durability=durability, interval_s=0.01))
        world = await moved(store, 5)
        other = JournalStore(tmp_path)
        assert other.head(world.world_id).tick == 4
        other.close()
        told = world.digest(4)
        store.close()
        again = JournalStore(tmp_path)
        assert (await World.open(again, "w")).digest(4) == told
        again.close()

    drive(scenario())


def test_interval_syncs_within_its_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tick that nobody waited for is synced though nothing else happens. (S2)"""
    synced = threading.Event()
    sync = database.sync_path

    def told(path: Path) -> None:
        sync(path)
        if path.name.endswith("-wal"):
            synced.set()

    async def scenario() -> None:
        store = JournalStore(tmp_path, durability="interval", interval_s=0.05)
        await moved(store, 1)
        monkeypatch.setattr(database, "sync_path", told)
        synced.clear()
        await moved(store, 1)
        assert synced.wait(30)
        store.close()

    drive(scenario())


def test_worlds_that_commit_together_share_a_transaction(tmp_path: Path) -> None:
    """Commits that wait for one another are one transaction; one that is refused does not take the others down. (S2, S3)"""

    async def scenario() -> None:
        store = JournalStore(tmp_path)
        worlds = [World(store, f"w{index}", seed=1, processors=[Drift()]) for index in range(6)]
        for world in worlds:
            world.spawn(Place(), Speed())
            await world.step()
        stale = await World.open(store, "w0", processors=[Drift()])
        await worlds[0].step()
        begun: list[str] = []
        store._handle.database.writer.set_trace_callback(
            lambda text: begun.append(text) if text.startswith("BEGIN") else None
        )
        store._waiting = line = Line(6)
        with store._handle.database.writing:
            steps = [asyncio.create_task(world.step()) for world in (*worlds[1:], stale)]
            assert await asyncio.to_thread(line.is_full.wait, 60)
        results = await asyncio.gather(*steps, return_exceptions=True)
        assert [type(result).__name__ for result in results] == ["Outcome"] * 5 + ["TickConflict"]
        assert len(begun) == 1
        assert {one.tick for one in store.worlds()} == {1}
        store.close()

    drive(scenario())


def test_many_tables_are_listed_now_and_then(tmp_path: Path) -> None:
    """A world of many tables finds each at every tick, though not every tick lists them all. (T11)"""

    async def scenario() -> None:
        store = JournalStore(tmp_path)
        world = World(store, "w", seed=1)
        kinds = [type(f"Kind{index}", (Component,), {"__annotations__": {"x": int}, "x": 0}) for index in range(40)]
        entities = [world.spawn(kind(x=-1)) for kind in kinds]
        await world.step()
        for tick in range(1, 30):
            world.update(entities[tick], kinds[tick](x=tick))
            await world.step()
        store.close()
        again = JournalStore(tmp_path)
        world = await World.open(again, "w")
        for tick in range(30):
            for index in (0, tick, 35):
                rows = world.snapshot(kinds[index], at=tick).to_pydict()[f"kind{index}__x"]
                assert rows == [index if 0 < index <= tick else -1], (tick, index)
        lists = [record.entries is not None for record in _records(again)]
        assert lists[0]
        assert 3 < sum(lists) < 15
        again.close()

    drive(scenario())


def _records(store: JournalStore) -> list[TickRecord]:
    with store._handle.reader.read() as view:
        (branch,) = view.branches()
        return [view.record(branch, tick) for tick in range(branch.first, branch.last + 1)]


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path: Path) -> None:
    """Opening a journal removes files that a dead process left unreferenced, and no others. (S4)"""
    living = JournalStore(tmp_path)
    (mine,) = (one.stem for one in tmp_path.glob("*.owner"))
    dead = tmp_path / "00000000deadbeef.owner"
    # The process id is this very process's: it says nothing, the lock does.
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


def test_reader_of_an_older_state_knows_nothing_newer(tmp_path: Path) -> None:
    """Whoever began to read before a world was opened does not find it, or find it damaged. (Q3)"""

    async def scenario() -> None:
        store = JournalStore(tmp_path)
        first = await moved(store, 1)
        with store._handle.reader.read() as view:
            second = await moved(store, 1)
            assert {record.world_id for record in store.worlds()} == {first.world_id, second.world_id}
            segment = store.head(second.world_id).segment
            assert (view.worlds, view.active(second.world_id)) == ((first.world_id,), None)
            assert view.find(second.world_id, segment.run_id) is None
            assert view.active(first.world_id) is not None
        store.close()

    drive(scenario())


def test_epoch_counts_the_holders_of_a_world(tmp_path: Path) -> None:
    """A world's row says who wrote it last, and how often that changed; a handle is never taken for another. (S3)"""

    async def scenario() -> None:
        first, second = JournalStore(tmp_path), JournalStore(tmp_path)
        world = await moved(first, 3)
        other = await World.open(second, "w", processors=[Drift()])
        await other.run(2)
        with first._handle.reader.read() as view:
            tenure = view.tenure(world.world_id)
        assert tenure is not None
        assert (tenure.epoch, tenure.token) == (2, second._handle.presence.token)
        first.close()
        second.close()

    drive(scenario())


@pytest.mark.thorough
def test_killed_world_has_every_acknowledged_tick(tmp_path: Path) -> None:
    """Killed at any instant, a world opens with every tick that it was told is durable, and at most one more. (S4, R5)"""
    chance = random.Random(7)
    told: dict[int, str] = {}
    for _ in range(3):
        process = subprocess.Popen([sys.executable, PROGRAM, tmp_path], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(chance.randint(1, 12)):
            tick, digest = process.stdout.readline().split()
            told[int(tick)] = digest
        process.send_signal(signal.SIGKILL)
        for line in process.stdout:
            if line.endswith("\n"):
                tick, digest = line.split()
                told[int(tick)] = digest
        process.wait()
        process.stdout.close()

        async def check() -> None:
            store = JournalStore(tmp_path)
            world = await World.open(store, "endless")
            assert world.tick - 1 in (max(told), max(told) + 1)
            assert {tick: world.digest(tick) for tick in told} == told
            store.close()

        drive(check())
    assert max(told) >= 6
