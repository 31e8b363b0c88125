"""Executing processors: once, in order, in parallel, and the same on every path."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable
from typing import Any

import daft
import numpy as np
import pytest
from daft import DataFrame, DataType, lit
from scene import PATIENCE_S, Calls, Flagged, Frozen, Move, Position, Velocity, drive, world, xs

from archetype_core.engine import Executor, PostTick, Processor, World
from archetype_core.engine.executor import LocalExecutor
from archetype_core.store import MemoryStore

_: Callable[[], Executor] = LocalExecutor

PARTIES = [(Position(),), (Position(), Frozen()), (Position(), Flagged())]


def counted() -> tuple[Any, Callable[[], int]]:
    """A UDF that returns its argument, and how many rows it has seen."""
    rows = itertools.count()

    def identity(x: float) -> float:
        next(rows)
        return x

    # Reading a counter takes a number from it, so every reading is one too many.
    readings = itertools.count()
    return daft.func(identity, return_dtype=DataType.float64()), lambda: next(rows) - next(readings)


def test_early_udf_does_not_see_later_processors_values() -> None:
    """A UDF reads the values at the time of its processor, not those of a later one (T12)."""
    copy = daft.func(lambda x: x, return_dtype=DataType.float64())

    async def scenario() -> None:
        there = world(
            Calls(lambda df, **_: df.with_column("position__y", copy(Position.c.x))),
            Calls(lambda df, **_: df.with_column("position__x", lit(99.0))),
        )
        there.spawn_many([Position(x=1.0), Position(x=2.0)])
        await there.run(2)
        assert [there.get(n)[Position] for n in (1, 2)] == [Position(x=99.0, y=1.0), Position(x=99.0, y=2.0)]

    drive(scenario)


@pytest.mark.parametrize("finish", [lambda df: df, lambda df: df.where(lit(True))], ids=["record", "plan"])
def test_early_udf_does_not_see_later_steps_of_its_processor(finish: Any) -> None:
    """Within one processor, a chained step does not see what a later step writes (T12)."""
    copy = daft.func(lambda x: x, return_dtype=DataType.float64())

    async def scenario() -> None:
        def act(df: DataFrame, **_: Any) -> DataFrame:
            return finish(df.with_column("position__y", copy(Position.c.x)).with_column("position__x", lit(99.0)))

        there = world(Calls(act))
        there.spawn_many([Position(x=1.0), Position(x=2.0)])
        await there.run(2)
        assert [there.get(n)[Position] for n in (1, 2)] == [Position(x=99.0, y=1.0), Position(x=99.0, y=2.0)]

    drive(scenario)


def test_early_udf_after_a_filter_does_not_see_later_steps() -> None:
    """A chained step does not see later steps, also when the frame is an ordinary plan (T12)."""
    copy = daft.func(lambda x: x, return_dtype=DataType.float64())

    async def scenario() -> None:
        def act(df: DataFrame, **_: Any) -> DataFrame:
            df = df.where(lit(True)).with_column("position__y", copy(Position.c.x))
            return df.with_column("position__x", lit(99.0))

        there = world(Calls(act))
        there.spawn(Position(x=1.0))
        await there.run(2)
        assert there.get(1)[Position] == Position(x=99.0, y=1.0)

    drive(scenario)


def test_plan_executes_once() -> None:
    """A UDF sees every row once a tick, however often hooks, queries and the store read the result (T13)."""
    identity, seen = counted()

    async def scenario() -> None:
        def act(df: DataFrame, **_: Any) -> DataFrame:
            return df.with_column("position__x", identity(Position.c.x)).with_column("position__y", Position.c.x)

        def read(event: PostTick) -> None:
            for _ in range(3):
                for rows in event.results.values():
                    rows.to_arrow().to_pydict()
                    daft.from_arrow(rows.to_arrow()).to_pydict()

        there = world(Calls(act), hooks=[(PostTick, read)])
        there.spawn_many([Position()] * 5)
        await there.run(4)
        there.query(Position).to_pydict()
        there.snapshot(Position).to_pydict()
        assert seen() == 5 * 3

    drive(scenario)


def test_plan_executes_once_through_the_runner() -> None:
    """The same holds for a frame that is planned, with a UDF in its last step and one before it (T13)."""
    first, seen_first = counted()
    second, seen_second = counted()

    async def scenario() -> None:
        def act(df: DataFrame, **_: Any) -> DataFrame:
            df = df.with_column("position__y", first(Position.c.x)).with_column("position__x", second(Position.c.y))
            return df.sort("entity_id", desc=True)

        there = world(Calls(act))
        there.spawn_many([Position(x=2.0)] * 5)
        await there.run(3)
        assert (seen_first(), seen_second()) == (10, 10)
        assert there.get(5)[Position] == Position(x=2.0, y=2.0)

    drive(scenario)


def test_unchanged_columns_are_shared() -> None:
    """A column that no processor wrote is the same memory at the next tick (T11)."""

    async def scenario() -> None:
        there = world(Move())
        there.spawn_many([(Position(), Velocity())] * 3)
        await there.step()
        (before,) = there.tables().values()
        await there.step()
        (after,) = there.tables().values()
        for name in ("entity_id", "velocity__dx", "velocity__dy"):
            assert after.columns[name] is before.columns[name]

    drive(scenario)


def meeting(barrier: threading.Barrier) -> Any:
    """A plain processor's act that only returns once all parties are in it at the same time."""

    def act(df: DataFrame, **_: Any) -> DataFrame:
        barrier.wait(PATIENCE_S)
        return df.with_column("position__x", Position.c.x + lit(1.0))

    return act


def test_archetypes_of_a_world_run_at_the_same_time() -> None:
    """Plain processors on three tables are inside process together (T14)."""

    async def scenario() -> None:
        there = world(Calls(meeting(threading.Barrier(3))))
        there.spawn_many(PARTIES)
        await there.run(3)
        assert xs(there) == {1: 2.0, 2: 2.0, 3: 2.0}

    drive(scenario)


def test_worlds_run_at_the_same_time() -> None:
    """Plain processors of two worlds are inside process together (T14)."""

    async def scenario() -> None:
        act = meeting(threading.Barrier(2))
        store = MemoryStore()
        one, two = (world(Calls(act), store=store, name=name) for name in ("one", "two"))
        for each in (one, two):
            each.spawn(Position())
            await each.step()
        await asyncio.gather(one.run(2), two.run(2))
        assert (xs(one), xs(two)) == ({1: 2.0}, {1: 2.0})

    drive(scenario)


def test_asynchronous_processors_run_at_the_same_time() -> None:
    """Processors that await meet on the loop, from tables of one world and of another (T14)."""

    async def scenario() -> None:
        waiting: list[asyncio.Event] = []

        async def act(df: DataFrame, **_: Any) -> DataFrame:
            mine = asyncio.Event()
            waiting.append(mine)
            if len(waiting) == 4:
                for one in waiting:
                    one.set()
            await mine.wait()
            return df.with_column("position__x", Position.c.x + lit(1.0))

        one, two = world(Calls(act)), world(Calls(act))
        one.spawn_many(PARTIES)
        two.spawn(Position())
        await asyncio.gather(one.step(), two.step())
        await asyncio.gather(one.step(), two.step())
        assert (xs(one), xs(two)) == ({1: 1.0, 2: 1.0, 3: 1.0}, {1: 1.0})

    drive(scenario)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["plain", "coroutine"])
def test_heartbeat_keeps_beating(asynchronous: bool) -> None:
    """While a processor blocks its thread, the event loop runs (T14)."""

    async def scenario() -> None:
        enough = threading.Event()

        def act(df: DataFrame, **_: Any) -> DataFrame:
            assert enough.wait(PATIENCE_S)
            return df

        class Waits(Processor):
            components = (Position,)

            async def process(self, df: DataFrame) -> DataFrame:
                return act(df)

        async def beat() -> None:
            for _ in range(1000):
                await asyncio.sleep(0)
            enough.set()

        there = world(Waits() if asynchronous else Calls(act))
        there.spawn(Position())
        await there.step()
        await asyncio.gather(there.step(), beat())
        assert there.tick == 2

    drive(scenario)


def test_slow_commit_does_not_block_the_loop() -> None:
    """The store commits in a thread while the event loop runs (T14)."""
    enough = threading.Event()

    class SlowStore(MemoryStore):
        def commit(self, ticks: Any) -> None:
            assert enough.wait(PATIENCE_S)
            super().commit(ticks)

    async def scenario() -> None:
        async def beat() -> None:
            for _ in range(1000):
                await asyncio.sleep(0)
            enough.set()

        there = world(store=SlowStore())
        await asyncio.gather(there.step(), beat())
        assert there.tick == 1

    drive(scenario)


def test_more_archetypes_than_threads() -> None:
    """An executor with few threads runs every table, also after it was closed."""

    async def scenario() -> None:
        executor = LocalExecutor(threads=2)
        there = World(MemoryStore(), executor=executor, processors=[Move()])
        there.spawn_many(
            [(Position(), Velocity(), *more) for more in ((), (Frozen(),), (Flagged(),), (Frozen(), Flagged()))]
        )
        await there.run(2)
        executor.close()
        executor.close()
        await there.step()
        assert xs(there) == dict.fromkeys(range(1, 5), 2.0)
        executor.close()

    drive(scenario)


def draws(seed: int, *, steps: int = 3, parties: Any = PARTIES) -> dict[tuple[int, str, str], float]:
    """The first random number of every tick, processor and table."""
    found: dict[tuple[int, str, str], float] = {}

    class Draws(Processor):
        components = (Position,)

        def process(self, df: Any, tick: int, rng: np.random.Generator) -> DataFrame:
            found[tick, "Draws", df.snapshot.archetype.name] = rng.random()
            return df

    class Others(Processor):
        components = (Position,)

        async def process(self, df: Any, tick: int, rng: np.random.Generator) -> DataFrame:
            await asyncio.sleep(0)
            found[tick, "Others", df.snapshot.archetype.name] = rng.random()
            return df

    async def scenario() -> None:
        there = world(Draws(), Others(), seed=seed)
        there.spawn_many(parties)
        await there.run(steps)

    drive(scenario)
    return found


def test_randomness_is_the_worlds_own() -> None:
    """Equal seeds give equal numbers in any world; ticks, processors, tables and seeds differ from one another (T10)."""
    numbers = draws(7)
    assert len(numbers) == 2 * 2 * 3
    assert len(set(numbers.values())) == len(numbers)
    assert draws(7) == numbers
    # Other tables beside it change nothing for a table.
    alone = draws(7, parties=PARTIES[:1])
    assert alone.items() <= numbers.items()
    assert not set(draws(8).values()) & set(numbers.values())


def test_forks_and_replays_repeat_their_numbers() -> None:
    """A fork of now, a fork of the past and a reopened world draw what the source draws; rng="fresh" does not (T10, R3)."""

    class Walk(Processor):
        components = (Position,)

        def process(self, df: DataFrame, rng: np.random.Generator) -> DataFrame:
            return df.with_column("position__x", Position.c.x + lit(float(rng.random())))

    async def scenario() -> None:
        store = MemoryStore()
        source = world(Walk(), store=store, seed=3)
        source.spawn_many(PARTIES)
        await source.run(3)
        same, fresh = await source.fork(), await source.fork(rng="fresh")
        chosen = await source.fork(rng=3)
        past = await source.fork(at_tick=0)
        opened = await World.open(store, source.world_id, processors=[Walk()])
        for each in (same, fresh, chosen, opened):
            await each.run(3 if each is not opened else 0)
        await past.run(5)
        await source.run(3)
        assert source.digest() == same.digest() == chosen.digest() == past.digest()
        assert fresh.digest() != source.digest()
        assert opened.seed == source.seed == 3
        assert [past.digest(tick) for tick in range(6)] == [source.digest(tick) for tick in range(6)]

    drive(scenario)


def test_numbers_do_not_depend_on_threads() -> None:
    """Random numbers do not depend on which table's processor runs first (T10)."""

    def run(order: list[str]) -> dict[str, float]:
        turns = {name: threading.Event() for name in order}
        turns[order[0]].set()
        found: dict[str, float] = {}

        class Draws(Processor):
            components = (Position,)

            def process(self, df: Any, rng: np.random.Generator) -> DataFrame:
                mine = next(name for name in ("frozen", "flagged", "") if name in df.snapshot.archetype.name)
                assert turns[mine].wait(PATIENCE_S)
                found[mine] = rng.random()
                after = order.index(mine) + 1
                if after < len(order):
                    turns[order[after]].set()
                return df

        async def scenario() -> None:
            there = world(Draws(), seed=1)
            there.spawn_many(PARTIES)
            await there.run(2)

        drive(scenario)
        return found

    first, *others = (run(list(order)) for order in itertools.permutations(("frozen", "flagged", "")))
    assert len(set(first.values())) == 3
    assert all(other == first for other in others)
