"""The journal as a store of its own; the contract suite holds it to the port."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from journaling import Drift, Label, Place, Speed

from archetype_core import World, open_store
from archetype_core.errors import CommitError, CorruptStore, StoreClosed, TickConflict
from archetype_core.journal import JournalStore

PROGRAM = Path(__file__).with_name("journaling.py")


def drive(scenario: Coroutine[Any, Any, Any]) -> Any:
    """Run a scenario to its end."""
    return asyncio.run(scenario)


async def moved(store: JournalStore, ticks: int) -> World:
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
        assert sizes[0] > 2 * 800
        assert all(800 < size < 1200 for size in sizes[1:])

    drive(scenario())


def test_large_columns_are_files(tmp_path: Path) -> None:
    """A table too large for a blob is in a file, and reads back the same. (S2)"""

    async def scenario() -> None:
        store = JournalStore(tmp_path)
        world = World(store, "w", seed=1)
        world.spawn_table({"x": [float(n) for n in range(200_000)]}, Place)
        await world.step()
        (file,) = tmp_path.glob("*.chunk")
        assert file.stat().st_size > 2 * 8 * 200_000
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


def test_killed_world_has_every_acknowledged_tick(tmp_path: Path) -> None:
    """Killed at any instant, a world opens with every tick that it was told is durable, and at most one more. (S4, R5)"""
    chance = random.Random(7)
    told: dict[int, str] = {}
    for _ in range(6):
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
