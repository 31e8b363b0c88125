"""Faults of a public engine of this kind that this one does not have."""

from __future__ import annotations

import asyncio
import math
import threading
import traceback
import types
from typing import Any

import daft
import pytest
from daft import DataFrame, DataType, lit
from scene import (
    PATIENCE_S,
    Calls,
    FaultyStore,
    Flagged,
    Frozen,
    Health,
    Move,
    Position,
    Velocity,
    drive,
    history,
    timeline,
    world,
    xs,
)

from archetype_core.engine import PostTick, World
from archetype_core.errors import ArchetypeError, CommitError, ProcessorError, ReentrantStep
from archetype_core.schema import Component
from archetype_core.store import MemoryStore, Segment, TickCommit


class Payload(Component):
    data: bytes = b""
    value: float = 0.0


def test_components_without_fields_have_their_own_tables() -> None:
    """Entities with different tags do not collapse into one table, live or stored (M4)."""

    async def scenario() -> None:
        there = world()
        frozen, marked = there.spawn(Frozen()), there.spawn(Flagged())
        await there.step()
        assert len(there.archetypes()) == 2
        assert {row["entity_id"] for row in history(there, Frozen)} == {frozen}
        assert {row["entity_id"] for row in history(there, Flagged)} == {marked}

    drive(scenario)


def test_udfs_do_not_see_later_processors_values() -> None:
    """A UDF of an early processor computes with what the early processor saw (T12)."""
    double = daft.func(lambda x: x * 2.0, return_dtype=DataType.float64())

    async def scenario() -> None:
        there = world(
            Calls(lambda df, **_: df.with_column("position__y", double(Position.c.x))),
            Calls(lambda df, **_: df.with_column("position__x", Position.c.x + lit(100.0))),
        )
        there.spawn(Position(x=1.0))
        await there.run(2)
        assert there.get(1)[Position] == Position(x=101.0, y=2.0)

    drive(scenario)


def test_reading_results_runs_nothing_again() -> None:
    """A hook that reads PostTick.results many times costs no further call of a UDF (T13)."""
    calls: list[float] = []

    def count(x: float) -> float:
        calls.append(x)
        return x

    seen = daft.func(count, return_dtype=DataType.float64())

    async def scenario() -> None:
        def read(event: PostTick) -> None:
            for rows in (*event.results.values(), *event.results.values()):
                daft.from_arrow(rows.to_arrow()).collect()

        there = world(
            Calls(lambda df, **_: df.with_column("position__x", seen(Position.c.x))), hooks=[(PostTick, read)]
        )
        there.spawn_many([Position()] * 4)
        await there.run(2)
        assert len(calls) == 4

    drive(scenario)


def test_fork_cannot_kill_its_parents_entities() -> None:
    """Despawns, updates and migrations in a fork leave the parent's entities and tables as they are (R3)."""

    async def scenario() -> None:
        parent = world(Move())
        ids = parent.spawn_many([(Position(), Velocity())] * 3)
        await parent.run(2)
        before = parent.digest(), parent.archetypes()
        fork = await parent.fork()
        fork.despawn(ids[0])
        fork.update(ids[1], Position(x=-1.0))
        fork.add_components(ids[2], Frozen())
        fork.spawn(Health())
        await fork.run(2)
        assert (parent.digest(), parent.archetypes()) == before
        await parent.step()
        assert xs(parent) == dict.fromkeys(ids, 2.0)

    drive(scenario)


def test_hook_that_calls_its_world_does_not_deadlock() -> None:
    """A hook can stage mutations and read; step is refused at once (T15)."""

    async def scenario() -> None:
        refused: list[int] = []

        async def hook(event: PostTick) -> None:
            event.world.spawn(Position())
            assert event.world.query(Position).count_rows() >= 0
            with pytest.raises(ReentrantStep):
                await event.world.step()
            refused.append(event.tick)

        there = world(hooks=[(PostTick, hook)])
        await there.run(3)
        assert (refused, len(there)) == ([0, 1, 2], 2)

    drive(scenario)


def test_one_bad_value_does_not_stop_a_world() -> None:
    """A value that cannot be stored is refused when it is staged, and the next tick runs (M7)."""

    async def scenario() -> None:
        there = world()
        entity = there.spawn(Health())
        await there.step()
        bad = Health.model_construct(hp=2**80)
        for enter in (
            lambda: there.spawn(bad),
            lambda: there.update(entity, bad),
            lambda: there.add_components(there.spawn(Frozen()), bad),
            lambda: there.spawn_table({"hp": [2**63]}, Health),
            lambda: there.spawn_table({"hp": ["x"]}, Health),
            lambda: there.send(2**80, "x"),
            lambda: there.send(1, object()),
        ):
            with pytest.raises(ArchetypeError):
                enter()
        with pytest.raises(TypeError):
            there.despawn(1.0)  # type: ignore[arg-type]  # reason: this is what is refused
        await there.run(2)
        assert there.tick == 3

    drive(scenario)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.0])
def test_any_float_and_any_bytes_can_be_spawned(value: float) -> None:
    """NaN, infinities, -0.0 and arbitrary bytes round-trip, live and in history (M7)."""

    async def scenario() -> None:
        there = world()
        blob = bytes(range(256))
        there.spawn(Payload(data=blob, value=value))
        await there.step()
        there.update(1, Payload(value=value))
        await there.step()
        payload = there.get(1)[Payload]
        assert (payload.data, repr(payload.value)) == (blob, repr(value))
        for row in history(there, Payload):
            assert (row["payload__data"], repr(row["payload__value"])) == (blob, repr(value))

    drive(scenario)


def test_ids_and_ticks_are_wider_than_int32() -> None:
    """Entity ids and ticks beyond 2**31 work from spawn to history (M5)."""

    async def scenario() -> None:
        store = MemoryStore()
        segment = Segment("w", "r", 2**33 - 1, None, "world", 1)
        store.commit((TickCommit(segment, 2**33 - 1, {}, next_entity_id=2**33),))
        there = await World.open(store, "world", processors=[Move()])
        entity = there.spawn(Position(), Velocity())
        await there.run(2)
        assert entity == 2**33
        rows = history(there, Position)
        assert [(row["tick"], row["entity_id"]) for row in rows] == [(2**33, entity), (2**33 + 1, entity)]
        assert there.snapshot(Position, at=2**33).to_pydict()["entity_id"] == [entity]

    drive(scenario)


def test_added_field_leaves_old_history_readable() -> None:
    """A component with a new field is a new table; the world opens, and both classes read the rows of both (M8, S6)."""

    def define(**defaults: Any) -> Any:
        fields = {"__annotations__": dict.fromkeys(defaults, int), "__module__": __name__, **defaults}
        return types.new_class("Gadget", (Component,), exec_body=lambda body: body.update(fields))

    async def scenario() -> None:
        store = MemoryStore()
        old = define(size=1)
        there = world(store=store, name="w")
        there.spawn(old(size=3))
        await there.run(2)
        new = define(size=1, weight=2)
        opened = await World.open(store, "w")
        opened.spawn(new(size=5))
        await opened.step()
        assert [row["gadget__size"] for row in history(opened, old)] == [3, 3, 3, 5]
        assert [(row["gadget__size"], row["gadget__weight"]) for row in history(opened, new)] == [
            (3, None),
            (3, None),
            (3, None),
            (5, 2),
        ]
        assert len(opened) == 2

    drive(scenario)


def test_fork_to_other_storage_is_not_empty() -> None:
    """A fork to another store has its entities there from the start (R3)."""

    async def scenario() -> None:
        source = world(Move())
        source.spawn_many([(Position(), Velocity())] * 2)
        await source.run(2)
        elsewhere = MemoryStore()
        fork = await source.fork("moved", store=elsewhere)
        assert len(fork) == 2
        assert len(await World.open(elsewhere, "moved")) == 2

    drive(scenario)


def test_failed_ticks_leave_no_rows() -> None:
    """If a processor or the store fails, no table has rows of the tick (T7)."""

    async def scenario() -> None:
        fails = True

        def act(df: DataFrame, **_: Any) -> DataFrame:
            if fails:
                raise RuntimeError("boom")
            return df

        store = FaultyStore()
        there = world(Move(), Calls(act), store=store)
        there.spawn_many([(Position(), Velocity()), Position(), Health()])
        await there.step()
        there.spawn(Frozen())
        with pytest.raises(ProcessorError):
            await there.step()
        fails = False
        store.faults.append(OSError("full"))
        with pytest.raises(CommitError):
            await there.step()
        assert {row["tick"] for row in history(there, include_inactive=True)} == {0}
        assert timeline(there).last == 0
        await there.step()
        rows = history(there, include_inactive=True)
        assert [(row["tick"], row["entity_id"]) for row in rows] == [
            (0, 1),
            (0, 2),
            (0, 3),
            (1, 1),
            (1, 2),
            (1, 3),
            (1, 4),
        ]

    drive(scenario)


def test_archetypes_and_worlds_run_concurrently_beside_the_loop() -> None:
    """Two tables of each of two worlds are inside their processors at once, and the loop is not blocked (T14)."""

    async def scenario() -> None:
        everybody, free = threading.Barrier(4), threading.Event()

        def act(df: DataFrame, **_: Any) -> DataFrame:
            everybody.wait(PATIENCE_S)
            assert free.wait(PATIENCE_S)
            return df

        async def beat() -> None:
            for _ in range(100):
                await asyncio.sleep(0)
            free.set()

        worlds = [world(Calls(act)) for _ in range(2)]
        for there in worlds:
            there.spawn_many([Position(), (Position(), Frozen())])
            await there.step()
        await asyncio.gather(*(there.step() for there in worlds), beat())
        assert [there.tick for there in worlds] == [2, 2]

    drive(scenario)


def test_a_tick_reads_nothing_back() -> None:
    """A step works on live rows alone and reads no stored tick (T11)."""

    async def scenario() -> None:
        class Watched(FaultyStore):
            reads = 0

            def scan(self, scan: Any) -> Any:
                self.reads += 1
                return super().scan(scan)

            def head(self, world_id: str, *, at: int | None = None) -> Any:
                self.reads += 1
                return super().head(world_id, at=at)

            def timeline(self, world_id: str) -> Any:
                self.reads += 1
                return super().timeline(world_id)

        store = Watched()
        there = world(Move(), store=store)
        entity = there.spawn(Position(), Velocity())
        for _ in range(50):
            await there.step()
            there.update(entity, Velocity(dx=2.0))
            there.despawn(there.spawn(Health()))
        assert store.reads == 0
        assert len({sum(rows.num_rows for rows in commit.written.values()) for commit in store.commits}) == 1

    drive(scenario)


def test_errors_of_a_tick_keep_their_cause() -> None:
    """The exception of a processor is the cause of the caller's error, which has its lines as the end of its traceback (T7)."""

    async def scenario() -> None:
        def act(df: DataFrame, **_: Any) -> DataFrame:
            raise KeyError("the very thing")

        there = world(Calls(act))
        there.spawn(Position())
        await there.step()
        with pytest.raises(ProcessorError) as caught:
            await there.step()
        assert isinstance(caught.value.__cause__, KeyError)
        assert traceback.extract_tb(caught.value.__traceback__)[-1].line == 'raise KeyError("the very thing")'

    drive(scenario)
