"""``JournalStore``: what it writes, what it shares between commits, and what it refuses."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from journal_worlds import Drift, Place, Speed, drive, two_table_world

from archetype_core import Component, Segment, TickCommit, World, open_store
from archetype_core.errors import CorruptStore, StoreClosed, TickConflict
from archetype_journal import JournalStore

PROGRAM = Path(__file__).with_name("journal_worlds.py")


def test_world_comes_back(tmp_path: Path) -> None:
    """A closed journal opens in another handle with every tick as it was, and the world continues. (R5, S4)"""

    async def scenario() -> None:
        store = JournalStore(tmp_path / "j")
        world = await two_table_world(store, 5)
        expected = [world.digest(tick) for tick in range(5)]
        store.close()
        again = open_store(f"journal:{tmp_path / 'j'}")
        back = await World.open(again, "w", processors=[Drift()])
        assert [back.digest(tick) for tick in range(5)] == expected
        assert (back.tick, len(back), back.seed) == (5, 101, 1)
        await back.step()
        assert back.get(1, Place).x == 5.0
        assert back.spawn(Place()) == 102
        again.close()

    drive(scenario())


def test_unchanged_columns_are_written_once(tmp_path: Path) -> None:
    """A tick that moves one column of a table writes that column only, and nothing of idle tables. (T11)"""

    async def scenario() -> None:
        store = JournalStore(tmp_path)
        await two_table_world(store, 10)
        store.close()
        with closing(sqlite3.connect(tmp_path / "journal.sqlite")) as database:
            sizes = [size for (size,) in database.execute("SELECT coalesce(length(data), 0) FROM tick ORDER BY id")]
        # Two tables at the first tick, then one column of one.
        assert len(sizes) == 10
        assert sizes[0] > 3 * 800
        assert sizes[1:] == [800] * 9

    drive(scenario())


def test_large_columns_are_files(tmp_path: Path) -> None:
    """Columns too large for a row are in a chunk file, and read back the same. (S2)"""

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
    """A byte that changed in a chunk file raises where it is read. (S4)"""

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


def test_conflict_names_the_other_writer(tmp_path: Path) -> None:
    """A commit to a world that another handle moved on raises, and names that handle's process. (S3)"""

    async def scenario() -> None:
        first, second = JournalStore(tmp_path), JournalStore(tmp_path)
        world = await two_table_world(first, 2)
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
    """A closed journal raises, and may be closed again. (S1)"""
    store = JournalStore(tmp_path)
    store.close()
    store.close()
    with pytest.raises(StoreClosed):
        store.worlds()


def transactions_in_log(path: Path) -> int:
    """How many transactions a journal's log holds: the frames that end one, which say how large the database is then."""
    log = path.joinpath("journal.sqlite-wal").read_bytes()
    page, salts = int.from_bytes(log[8:12], "big"), log[16:24]
    frames = (log[at : at + 24] for at in range(32, len(log), 24 + page))
    return sum(frame[8:16] == salts and any(frame[4:8]) for frame in frames)


async def until_queued(store: JournalStore, count: int) -> None:
    """Wait until so many commits wait for their transaction."""
    async with asyncio.timeout(60):
        while store.queued_commits < count:  # noqa: ASYNC110  # reason: commits queue in threads, which set no event
            await asyncio.sleep(0.001)


def test_worlds_that_commit_together_share_a_transaction(tmp_path: Path) -> None:
    """Commits that queue while one runs are one transaction; one that is refused does not fail the others. (S2, S3)"""

    async def scenario() -> None:
        store = JournalStore(tmp_path)
        worlds = [World(store, f"w{index}", seed=1, processors=[Drift()]) for index in range(6)]
        for world in worlds:
            world.spawn(Place(), Speed())
            await world.step()
        stale = await World.open(store, "w0", processors=[Drift()])
        await worlds[0].step()
        before = transactions_in_log(tmp_path)
        with closing(sqlite3.connect(tmp_path / "journal.sqlite", isolation_level=None)) as blocker:
            # Whichever commit comes first waits for this transaction, the others queue behind it.
            blocker.execute("BEGIN IMMEDIATE")
            steps = [asyncio.create_task(world.step()) for world in (*worlds[1:], stale)]
            await until_queued(store, 5)
            blocker.execute("ROLLBACK")
        results = await asyncio.gather(*steps, return_exceptions=True)
        assert [type(result).__name__ for result in results] == ["Outcome"] * 5 + ["TickConflict"]
        # A transaction in which only the stale commit is writes nothing.
        assert transactions_in_log(tmp_path) - before in (1, 2)
        assert {one.tick for one in store.worlds()} == {1}
        store.close()

    drive(scenario())


def test_one_commit_that_cannot_be_stored_fails_no_other(tmp_path: Path) -> None:
    """Of commits that share a transaction only those that cannot be stored fail. (S2)"""

    async def scenario(pool: ThreadPoolExecutor) -> None:
        store = JournalStore(tmp_path)
        # One of the two is not the first commit, which has a transaction of its own. SQLite has no integers above 2**63.
        ids = [1, 1, 2**70, 1, 2**70, 1]
        segments = [Segment(f"id{index}", "run", 0, None, f"w{index}", 1) for index in range(len(ids))]
        commits = [TickCommit(segment, 0, {}, last) for segment, last in zip(segments, ids, strict=True)]
        with closing(sqlite3.connect(tmp_path / "journal.sqlite", isolation_level=None)) as blocker:
            blocker.execute("BEGIN IMMEDIATE")
            loop = asyncio.get_running_loop()
            running = [loop.run_in_executor(pool, store.commit, [commit]) for commit in commits]
            await until_queued(store, 5)
            blocker.execute("ROLLBACK")
        results = await asyncio.gather(*running, return_exceptions=True)
        assert [isinstance(result, Exception) for result in results] == [last > 1 for last in ids]
        assert {one.name for one in store.worlds()} == {"w0", "w1", "w3", "w5"}
        store.close()

    with ThreadPoolExecutor(6) as pool:
        drive(scenario(pool))


def test_not_every_tick_lists_many_tables(tmp_path: Path) -> None:
    """A world of many tables finds each at every tick, though few ticks list them all. (T11)"""
    tables = 40

    async def scenario() -> None:
        store = JournalStore(tmp_path)
        world = World(store, "w", seed=1)
        kinds = [type(f"Kind{index}", (Component,), {"__annotations__": {"x": int}, "x": 0}) for index in range(tables)]
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
        again.close()
        with closing(sqlite3.connect(tmp_path / "journal.sqlite")) as database:
            sizes = [size for (size,) in database.execute("SELECT length(record) FROM tick ORDER BY id")]
        # A listed table is 20 bytes.
        lists = [size > 20 * tables for size in sizes]
        assert lists[0]
        assert 3 < sum(lists) < 15

    drive(scenario())


def test_relative_path_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that changes its directory keeps its journal. (S1)"""

    async def scenario() -> None:
        monkeypatch.chdir(tmp_path)
        store = open_store("journal:./j")
        world = World(store, "w", seed=1)
        world.spawn(Place())
        await world.step()
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        world.spawn_table({"x": [0.5] * 100_000}, Place)
        await world.step()
        assert len(world.snapshot(Place).to_pydict()["place__x"]) == 100_001
        assert not list((tmp_path / "elsewhere").iterdir())
        store.close()

    drive(scenario())


def test_address_without_a_directory_is_refused() -> None:
    """An address needs a path. (S1)"""
    with pytest.raises(ValueError, match="names no directory"):
        open_store("journal:")


def test_name_that_no_text_can_be_is_refused(tmp_path: Path) -> None:
    """Half a surrogate pair is no name. (M7)"""
    store = JournalStore(tmp_path)
    with pytest.raises(ValueError, match="can be stored"):
        World(store, "\ud800")
    store.close()


@pytest.mark.thorough
def test_killed_world_has_every_acknowledged_tick(tmp_path: Path) -> None:
    """Killed at any instant, a world opens with every acknowledged tick, and at most one more. (S4, R5)"""
    chance = random.Random(7)
    acknowledged: dict[int, str] = {}
    for _ in range(3):
        process = subprocess.Popen([sys.executable, PROGRAM, tmp_path], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(chance.randint(1, 12)):
            tick, digest = process.stdout.readline().split()
            acknowledged[int(tick)] = digest
        process.send_signal(signal.SIGKILL)
        for line in process.stdout:
            if line.endswith("\n"):
                tick, digest = line.split()
                acknowledged[int(tick)] = digest
        process.wait()
        process.stdout.close()

        async def check() -> None:
            store = JournalStore(tmp_path)
            world = await World.open(store, "endless")
            assert world.tick - 1 in (max(acknowledged), max(acknowledged) + 1)
            assert {tick: world.digest(tick) for tick in acknowledged} == acknowledged
            store.close()

        drive(check())
    assert max(acknowledged) >= 6
