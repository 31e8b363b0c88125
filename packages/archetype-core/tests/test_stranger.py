"""Faults that a first-time user found."""

from __future__ import annotations

import asyncio
import functools
from typing import Any, Literal, cast

import daft
import numpy as np
import pyarrow as pa
import pytest
from daft import DataFrame, DataType, Window, col, lit
from scene import PATIENCE_S, Calls, Position, drive, world, xs

from archetype_core import (
    Component,
    MemoryStore,
    OnSpawn,
    PostTick,
    PreTick,
    Processor,
    World,
    load_kernel,
    open_store,
)
from archetype_core.engine import Commands
from archetype_core.errors import AdapterMissing, ProcessorError, ValueRejected


class Mode(Component):
    kind: Literal["a", "b"] = "a"


def test_history_follows_no_array_of_the_caller() -> None:
    """Writing to an array after the spawn changes no tick. (T3)"""

    async def scenario() -> None:
        there = world()
        arrays = [np.array([1.0, 2.0]) for _ in range(3)]
        there.spawn_table({"x": arrays[0]}, Position)
        there.spawn_table(pa.table({"x": arrays[1]}), Position)
        there.spawn_table({"x": pa.array(arrays[2])}, Position)
        await there.step()
        before = there.digest()
        for array in arrays:
            array[:] = 9.0
        assert there.digest() == before
        assert list(xs(there).values()) == [1.0, 2.0] * 3

    drive(scenario)


def test_history_follows_no_buffer_of_a_processor() -> None:
    """A processor that reuses one buffer changes no earlier tick. (T3)"""

    async def scenario() -> None:
        buffer = np.zeros(3)

        def act(df: DataFrame, **_: Any) -> DataFrame:
            rows = df.to_pydict()
            buffer[:] = np.array(rows["position__x"]) + 1.0
            return daft.from_pydict(
                {"entity_id": rows["entity_id"], "position__x": buffer, "position__y": rows["position__y"]}
            )

        there = world(Calls(act))
        there.spawn_many([Position()] * 3)
        await there.run(4)
        assert [set(xs(there, tick).values()) for tick in range(4)] == [{0.0}, {1.0}, {2.0}, {3.0}]

    drive(scenario)


def test_empty_chunks_of_the_runner_are_rows_like_any() -> None:
    """A window over all rows, whose result has empty chunks, is a valid frame. (T8)"""

    async def scenario() -> None:
        def act(df: DataFrame, **_: Any) -> DataFrame:
            return df.with_column("position__x", Position.c.x.sum().over(Window().partition_by("is_active")))

        there = world(Calls(act))
        there.spawn_many([Position(x=1.0), Position(x=2.0), Position(x=3.0)])
        await there.run(2)
        assert set(xs(there).values()) == {6.0}

    drive(scenario)


def test_processors_cannot_store_what_spawn_refuses() -> None:
    """A value outside a Literal fails the tick. (M7, T8)"""

    async def scenario() -> None:
        class Odd(Processor):
            components = (Mode,)

            def process(self, df: DataFrame) -> DataFrame:
                return df.with_column("mode__kind", lit("zzz"))

        there = world(Odd())
        there.spawn(Mode())
        await there.step()
        with pytest.raises(ProcessorError, match="mode__kind"):
            await there.step()

    drive(scenario)


def test_cancelled_hooks_are_failed_hooks() -> None:
    """A hook that raises CancelledError, or an error without a text, only fails itself. (§8)"""

    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    async def scenario() -> None:
        heard: list[int] = []

        def cancelled(event: Any) -> None:
            raise asyncio.CancelledError

        def mute(event: Any) -> None:
            raise Mute

        there = world()
        for event in (PreTick, OnSpawn, PostTick):
            there.add_hook(event, cancelled)
            there.add_hook(event, mute)
        there.add_hook(PostTick, lambda event: heard.append(event.tick))
        there.spawn(Position())
        await there.step()
        assert heard == [0]

    drive(scenario)


@pytest.mark.parametrize("argument", ["rng", "commands"])
def test_rowwise_processors_take_nothing_that_depends_on_the_table(argument: str) -> None:
    """A row-wise processor that names ``rng`` or ``commands`` is refused: their numbers and ids are those of a table. (T10)"""

    class ByTable(Processor):
        components = (Position,)

    class ForRng(ByTable):
        def process(self, df: DataFrame, rng: np.random.Generator) -> DataFrame:
            return df

    class ForCommands(ByTable):
        def process(self, commands: Commands) -> None:
            pass

    kind = ForRng if argument == "rng" else ForCommands
    there = world(kind())
    crowded = type(kind.__name__, (kind,), {"rowwise": True})
    with pytest.raises(TypeError, match=f"rowwise and names {argument}.*leave out rowwise"):
        there.add_processor(crowded())
    assert len(there.system.slots) == 1


def test_code_runs_once_for_all_that_is_made_of_it() -> None:
    """A frame with a Python function that two branches of a plan use is computed once. (T13)"""

    async def scenario() -> None:
        seen: list[float] = []

        @daft.func(return_dtype=DataType.float64())
        def noted(x: float) -> float:
            seen.append(x)
            return x + 1.0

        def act(df: DataFrame, **_: Any) -> DataFrame:
            made = df.with_column("position__x", noted(Position.c.x))
            return made.where(col("entity_id") < lit(3)).concat(made.where(col("entity_id") >= lit(3)))

        there = world(Calls(act))
        there.spawn_many([Position(x=float(n)) for n in range(5)])
        await there.run(2)
        assert sorted(seen) == [0.0, 1.0, 2.0, 3.0, 4.0]
        assert sorted(xs(there).values()) == [1.0, 2.0, 3.0, 4.0, 5.0]

    drive(scenario)


def test_wrapped_processes_get_their_arguments() -> None:
    """A decorated process receives what the wrapped one names or catches. (T9)"""

    def plain(process: Any) -> Any:
        @functools.wraps(process)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return process(*args, **kwargs)

        return wrapper

    got: list[Any] = []

    class Wrapped(Processor):
        components = (Position,)

        @plain
        def process(self, df: DataFrame, **inputs: Any) -> DataFrame:
            got.append((inputs["dt"], inputs["tick"]))
            return df

    async def scenario() -> None:
        there = world(Wrapped())
        there.spawn(Position())
        await there.run(2, dt=5)
        assert got == [(5, 1)]

    drive(scenario)


def test_ids_of_other_libraries_are_ids() -> None:
    """Integers of Arrow and numpy name the same entities as plain ones; nothing else does. (M5, T6)"""

    async def scenario() -> None:
        there = world()
        there.spawn_many([Position()] * 4)
        await there.step()
        first, second, *_ = there.entity_ids(Position)
        assert there.get(first)[Position] == Position()
        assert cast(Any, np.int64(2)) in there
        there.update(cast(Any, np.int64(3)), Position(x=1.0))
        there.despawn(first, second)
        await there.step()
        assert xs(there) == {3: 1.0, 4: 0.0}
        for odd in (True, "1", 1.0, None):
            with pytest.raises(TypeError, match="entity id"):
                there.get(odd)  # type: ignore[arg-type]  # reason: what is being refused

    drive(scenario)


def test_ids_end() -> None:
    """Spawning beyond the last id is an error, and the world stays usable. (M5, M7)"""

    async def scenario() -> None:
        there = world()
        with pytest.raises(ValueError, match="last id"):
            there.reserve(2**63)
        there.reserve(2**63 - 2)
        for spawn in (lambda: there.spawn(Position()), lambda: there.spawn_table({"x": [1.0]}, Position)):
            with pytest.raises(ValueError, match="last id"):
                spawn()
        await there.step()
        assert len(there) == 0

    drive(scenario)


def test_many_worlds_wait_for_one_another() -> None:
    """The processors of a hundred worlds can wait for one another. (T14)"""

    async def scenario() -> None:
        barrier = asyncio.Barrier(100)

        class Meeting(Processor):
            components = (Position,)

            async def process(self, df: DataFrame) -> DataFrame:
                await barrier.wait()
                return df

        store = MemoryStore()
        worlds = [World(store, f"w{n}", processors=[Meeting()]) for n in range(100)]
        for there in worlds:
            there.spawn(Position())
        await asyncio.gather(*(there.step() for there in worlds))
        await asyncio.wait_for(asyncio.gather(*(there.step() for there in worlds)), PATIENCE_S)

    drive(scenario)


def test_odd_arguments_are_refused_where_they_come_in() -> None:
    """Wrong stores, names, command ids, texts and message bodies are refused by name. (M7)"""

    async def scenario() -> None:
        with pytest.raises(TypeError, match="store"):
            World(None)  # type: ignore[arg-type]  # reason: what is being refused
        for odd in ({"name": ""}, {"name": 5}, {"world_id": 5}, {"run_id": ""}):
            with pytest.raises(ValueError, match=next(iter(odd))):
                World(MemoryStore(), **odd)
        there = world()
        with pytest.raises(ValueError, match="name"):
            await there.fork(5)  # type: ignore[arg-type]  # reason: that is refused
        with pytest.raises(TypeError, match="applied"):
            await there.step(applied="abc")  # type: ignore[arg-type]  # reason: what is being refused
        with pytest.raises(TypeError, match="single text"):
            there.spawn_table({"x": "abc"}, Position)
        with pytest.raises(ValueRejected, match="body"):
            there.send(1, float("nan"))
        with pytest.raises(AdapterMissing, match="pip install"):
            open_store("lance:./data", adapters={})
        with pytest.raises(AdapterMissing, match="pip install"):
            load_kernel("native", adapters={})

    drive(scenario)
