"""Reads: the live state between ticks, and history as lazy frames."""

from __future__ import annotations

import asyncio
from typing import Any

import daft
import numpy as np
import pyarrow as pa
import pytest
from daft import DataFrame, col, lit
from pydantic import BaseModel
from scene import Calls, FaultyStore, Frozen, Health, Move, Name, Position, Velocity, drive, history, world

from archetype_core.engine import PreTick, World
from archetype_core.errors import (
    AmbiguousWorld,
    EntityNotFound,
    ProcessorError,
    TickNotFound,
    UnknownColumn,
    WorldNotFound,
)
from archetype_core.schema import Component
from archetype_core.store import BASE_FIELDS, MemoryStore


async def played(**given: Any) -> World:
    """Five ticks of two movers in different tables; the second ends at tick 3."""
    there = world(Move(), **given)
    there.spawn(Position(), Velocity(dx=1.0))
    there.spawn(Position(), Velocity(dx=10.0), Frozen())
    there.spawn(Name(label="n"))
    await there.run(3)
    there.despawn(2)
    await there.run(2)
    return there


def scene() -> World:
    """The same, from outside an event loop."""
    return drive(played)


def test_query_gives_base_columns_and_those_of_the_components() -> None:
    """A query has world, run, entity, tick and activity, then the components' columns, exactly typed (Q2, M5)."""
    there = scene()
    table = there.query(Position, Velocity).to_arrow()
    assert table.column_names == [
        *BASE_FIELDS,
        "position__y",
        "position__x",
        "velocity__dx",
        "velocity__dy",
    ]
    assert table.schema.field("entity_id").type == table.schema.field("tick").type == pa.int64()
    assert set(table["world_id"].to_pylist()) == {there.world_id}


def test_query_covers_every_table_with_the_components() -> None:
    """A query reads active rows of every tick, of all tables that have the components (Q2)."""
    there = scene()
    rows = history(there, Position)
    assert [(row["tick"], row["entity_id"]) for row in rows] == [
        (0, 1),
        (0, 2),
        (1, 1),
        (1, 2),
        (2, 1),
        (2, 2),
        (3, 1),
        (4, 1),
    ]
    assert {row["entity_id"] for row in history(there, Position, Frozen)} == {2}
    assert {row["entity_id"] for row in history(there)} == {1, 2, 3}
    assert history(there, Health) == []
    assert there.query(Health).to_arrow().column_names[-2:] == ["health__hp", "health__seen"]


@pytest.mark.parametrize(
    ("ticks", "expected"),
    [
        (None, [0, 1, 2, 3, 4]),
        (2, [2]),
        (range(1, 3), [1, 2]),
        (range(3, 99), [3, 4]),
        (range(4, 0, -2), [2, 4]),
        ([4, 0, 0, 1], [0, 1, 4]),
        ({3, 1}, [1, 3]),
        (range(0), []),
        ([], []),
        (np.array([1, 3]), [1, 3]),
    ],
    ids=repr,
)
def test_query_of_ticks(ticks: Any, expected: list[int]) -> None:
    """Ticks are one number, a range or any collection (Q2)."""
    assert [row["tick"] for row in history(scene(), Name, ticks=ticks)] == expected


def test_query_of_entities() -> None:
    """Entity ids restrict a query; unknown ones have no rows (Q2)."""
    there = scene()
    assert {row["entity_id"] for row in history(there, entity_ids=[2, 3, 99])} == {2, 3}
    assert history(there, entity_ids=[]) == []
    assert len(history(there, Position, entity_ids=np.array([1]))) == 5


def test_inactive_rows_are_asked_for() -> None:
    """A query leaves tombstones out, unless include_inactive is set (Q2, Q3)."""
    there = scene()
    rows = history(there, Position, include_inactive=True)
    assert [(row["tick"], row["entity_id"]) for row in rows if not row["is_active"]] == [(3, 2)]
    assert len(rows) == len(history(there, Position)) + 1


FILTERS = {
    "a tick": (col("tick") == lit(1), 2),
    "a value": (Position.c.x > 1.0, 2 + 2 + 1),
    "either": ((col("tick") == lit(0)) | (Position.c.x == 20.0), 3),
    "an entity": (col("entity_id") == lit(2), 3),
    "activity": (col("is_active"), 8),
    "none": (Position.c.x < -1.0, 0),
}


@pytest.mark.parametrize(("condition", "count"), FILTERS.values(), ids=FILTERS)
def test_filters_and_projections_agree(condition: Any, count: int) -> None:
    """A filter gives the same rows before and after a projection, in a count and in an aggregate (Q2)."""
    there = scene()
    frames = [
        there.query(Position, where=condition),
        there.query(Position).where(condition),
        there.query(Position).collect().where(condition),
    ]
    expected = sorted(frames[2].to_pydict()["entity_id"])
    assert len(expected) == count
    for frame in frames:
        assert frame.count_rows() == count
        assert sorted(frame.to_pydict()["entity_id"]) == expected
        assert sorted(frame.select("entity_id").to_pydict()["entity_id"]) == expected
        assert len(frame.select("position__y").to_pydict()["position__y"]) == count
        assert frame.agg(col("entity_id").count()).to_pydict() == {"entity_id": [count]}
        assert len(frame.limit(1).to_pydict()["tick"]) == min(1, count)


def test_a_condition_on_an_absent_column_says_what_to_do() -> None:
    """`where` on a column that the query lacks is `UnknownColumn`, with the columns and the nearest, or its component (Q2)."""

    class Spot(BaseModel):
        x: float = 1.0

    class Place(Component):
        spot: Spot = Spot()

    there = scene()
    field_x: Any = Place.c.spot["x"]
    cases: tuple[tuple[Any, str], ...] = (
        (Velocity.c.dx > 1, "Velocity"),
        (field_x > 1, "Place"),
        (Name.c.label.upper() == "A", "Name"),
        (col("tick").is_in([Velocity.c.dx, lit(1)]), "Velocity"),
    )
    with pytest.raises(
        UnknownColumn, match=r"no column 'position__z'; it has world_id, .*; did you mean position__y\?"
    ) as caught:
        there.query(Position, where=col("position__z") > lit(1))
    assert (caught.value.column, caught.value.component) == ("position__z", None)
    assert caught.value.known == tuple(there.query(Position).column_names)
    # A component that some entity has, and one that only a class has; also inside functions, lists and fields of structs.
    for where, component in cases:
        with pytest.raises(UnknownColumn, match=f"add {component}, whose column it is, to the read") as caught:
            there.query(Position, where=where)
        assert caught.value.component == component
    assert there.query(Position, Velocity, where=Velocity.c.dx.is_in([1.0, 7.0])).count_rows() > 0


def test_conditions_reach_into_structs_and_lists() -> None:
    """A `where` on a struct's field, or on a list of columns, gives what Daft gives on the collected frame (Q2)."""

    class Point(BaseModel):
        x: float = 1.0

    class Site(Component):
        at: Point = Point()
        name: str = "col(tick)"

    async def scenario() -> None:
        there = World(MemoryStore(), "w")
        there.spawn_many([(Site(at=Point(x=float(x))),) for x in range(4)])
        await there.run(3)
        field_x: Any = Site.c.at["x"]
        for where in (
            (field_x > 1.0) & (col("tick") == 1),
            (field_x > 1.0) & (Site.c.name == "col(tick)") | (col("tick") == 0),
            col("entity_id").is_in([col("tick"), lit(3)]),
        ):
            found, expected = there.query(Site, where=where), there.query(Site).collect().where(where)
            assert found.sort(["tick", "entity_id"]).to_pylist() == expected.sort(["tick", "entity_id"]).to_pylist()
            assert there.query(Site, where=where).select("tick").count_rows() == expected.count_rows() > 0

    drive(scenario)


@pytest.mark.parametrize("limit", [0, 1, 3, 8, 100])
def test_limits_are_exact(limit: int) -> None:
    """A limit counts over several tables and segments (Q2)."""
    there = scene()
    assert len(there.query(Position).limit(limit).to_arrow()) == min(limit, 8)
    assert len(there.query(Position).select("position__x").limit(limit).to_arrow()) == min(limit, 8)


def test_history_takes_part_in_plans() -> None:
    """History joins, groups and counts like any frame (Q2)."""
    there = scene()
    frame = there.query(Position)
    assert frame.count_rows() == 8
    per_tick = frame.groupby("tick").agg(col("entity_id").count()).sort("tick").to_pydict()
    assert per_tick == {"tick": [0, 1, 2, 3, 4], "entity_id": [2, 2, 2, 1, 1]}
    joined = frame.join(there.query(Velocity).select("entity_id", "tick", "velocity__dx"), on=["entity_id", "tick"])
    assert joined.count_rows() == 8


PROJECTIONS = [
    lambda frame: frame.agg(Health.c.hp.sum(), col("tick").sum()),
    lambda frame: frame.agg(col("tick").sum(), col("entity_id").max(), Health.c.hp.sum()),
    lambda frame: frame.select(Health.c.hp, "tick", "entity_id"),
    lambda frame: frame.where(col("entity_id") > lit(1)).select(Health.c.hp, "tick"),
    lambda frame: frame.where(Health.c.hp > 100).agg(Health.c.hp.sum(), col("tick").sum()),
    lambda frame: frame.groupby(Health.c.hp).agg(col("tick").sum(), col("entity_id").max()).sort("health__hp"),
    lambda frame: frame.select(Position.c.x, Health.c.hp, "run_id", "entity_id", "world_id", "tick"),
]


@pytest.mark.parametrize("project", PROJECTIONS)
def test_columns_asked_for_in_any_order_keep_their_values(project: Any) -> None:
    """A pushed-down projection gives the rows and column order of the same projection of collected rows (Q2)."""

    async def scenario() -> None:
        there = world()
        there.spawn_many([(Health(hp=100 + n), Position(x=float(n))) for n in range(3)])
        await there.run(3)
        frame = there.query(Health, Position)
        expected, found = project(frame.collect()).to_pydict(), project(there.query(Health, Position)).to_pydict()
        assert list(expected) == list(found)
        assert expected == found

    drive(scenario)


def test_queries_cost_nothing_until_collected() -> None:
    """A query is lazy: it scans when it is collected, and reads what is committed by then (Q2)."""

    async def scenario() -> None:
        class Watched(FaultyStore):
            scans = 0

            def scan(self, scan: Any) -> Any:
                self.scans += 1
                return super().scan(scan)

        store = Watched()
        there = world(Move(), store=store)
        there.spawn(Position(), Velocity())
        await there.run(2)
        frame = there.query(Position).where(Position.c.x > 0.0).select("tick")
        assert store.scans == 0
        await there.run(2)
        assert frame.to_pydict() == {"tick": [1]}
        assert store.scans > 0

    drive(scenario)


def test_reads_never_see_a_running_tick() -> None:
    """While a tick runs, live and historical reads answer with the last completed one (Q1, Q3)."""

    async def scenario() -> None:
        def act(df: DataFrame, world: Any, tick: int, **_: Any) -> DataFrame:
            assert world.tick == there.tick == tick
            assert len(world) == len(there) == 1
            assert [row["tick"] for row in history(world, Position)] == list(range(tick))
            assert world.snapshot(Position).to_pydict()["tick"] == [tick - 1]
            seen.append(tick)
            return df

        seen: list[int] = []
        there = world(Calls(act))
        there.spawn(Position())
        await there.step()
        there.add_hook(PreTick, lambda event: seen.append(len(history(event.world, Position))))
        await there.run(2)
        assert seen == [1, 1, 2, 2]

    drive(scenario)


def test_failed_ticks_are_never_read() -> None:
    """A tick that failed leaves no row in any read (Q3, T7)."""

    async def scenario() -> None:
        def act(df: DataFrame, **_: Any) -> DataFrame:
            raise RuntimeError("boom")

        there = world()
        there.spawn(Position())
        await there.step()
        there.add_processor(Calls(act))
        there.spawn(Health())
        for _ in range(3):
            with pytest.raises(ProcessorError):
                await there.step()
        assert [row["tick"] for row in history(there, include_inactive=True)] == [0]
        with pytest.raises(TickNotFound):
            there.snapshot(at=1)

    drive(scenario)


def test_snapshot_is_one_tick() -> None:
    """A snapshot is the latest tick or the given one; TickNotFound names the ticks that exist (Q2)."""
    there = scene()
    assert there.snapshot(Position).to_pydict()["position__x"] == [4.0]
    assert sorted(there.snapshot(Position, at=2).to_pydict()["position__x"]) == [2.0, 20.0]
    latest = there.snapshot(Position)
    assert latest.column_names == there.query(Position).column_names
    assert latest.to_arrow().to_pylist() == there.snapshot(Position, at=4).to_arrow().to_pylist()
    for tick in (-1, 5):
        with pytest.raises(TickNotFound) as caught:
            there.snapshot(Position, at=tick)
        assert (caught.value.tick, caught.value.first, caught.value.last) == (tick, 0, 4)


@pytest.mark.parametrize("tick", [True, 1.0, "1", b"1"])
def test_ticks_are_whole_numbers(tick: Any) -> None:
    """A tick must be an int: bools, floats and texts are refused (Q2)."""
    there = scene()
    reads = (
        lambda: there.snapshot(at=tick),
        lambda: there.tables(tick),
        lambda: there.digest(tick),
        lambda: there.diff(0, tick),
        lambda: there.query(Position, ticks=[tick]),
        lambda: asyncio.run(there.fork(at_tick=tick)),
    )
    for read in reads:
        with pytest.raises(TypeError, match="a tick must be an int, not"):
            read()


def test_reads_of_an_empty_world() -> None:
    """A world without ticks has no rows and no entities; reading a tick is TickNotFound (Q1, Q2)."""
    there = world()
    assert there.query(Position).to_pydict()["entity_id"] == []
    assert there.snapshot(Position).to_pydict()["position__x"] == []
    assert (len(there), there.entity_ids().to_pylist(), there.archetypes(), there.timeline()) == (0, [], {}, None)
    for read in (lambda: there.snapshot(at=0), lambda: there.tables(0), there.digest, lambda: there.diff(0, 0)):
        with pytest.raises(TickNotFound) as caught:
            read()
        assert caught.value.last is None


def test_live_reads() -> None:
    """Components of a live entity come back as instances; staged changes are not live yet (Q1)."""

    async def scenario() -> None:
        there = world()
        entity = there.spawn(Position(x=1.0), Name(label="a"), Frozen())
        with pytest.raises(EntityNotFound):
            there.get(entity)
        await there.step()
        there.update(entity, Position(x=2.0))
        there.despawn(entity)
        assert there.get(entity) == {Frozen: Frozen(), Name: Name(label="a"), Position: Position(x=1.0)}
        assert there.get_components(entity, Name, Position) == (Name(label="a"), Position(x=1.0))
        assert len(there.get_components(entity)) == 3
        with pytest.raises(LookupError, match="Health"):
            there.get_components(entity, Health)
        assert (entity in there, 99 in there, 2**70 in there) == (True, False, False)
        await there.step()
        with pytest.raises(EntityNotFound) as caught:
            there.get_components(entity)
        assert (caught.value.entity_id, caught.value.world) == (entity, "world")

    drive(scenario)


def test_entity_ids_are_ascending() -> None:
    """Live ids are sorted, over all tables that have the components (Q1)."""
    there = scene()
    assert there.entity_ids().to_pylist() == [1, 3]
    assert there.entity_ids(Position).to_pylist() == [1]
    assert there.entity_ids(Health).to_pylist() == []


def test_history_survives_reopening() -> None:
    """A world opened again, by name or id, has its history, entities, seed and next ids (R5)."""

    async def scenario() -> None:
        store = MemoryStore()
        there = await played(store=store, name="alpha", seed=7)
        for known in ("alpha", there.world_id):
            again = await World.open(store, known, processors=[Move()])
            assert (again.tick, again.seed, again.name, again.run_id) == (5, 7, "alpha", there.run_id)
            assert history(again) == history(there)
            assert again.get(1) == there.get(1)
            assert again.spawn(Position()) == 4
        with pytest.raises(WorldNotFound) as caught:
            await World.open(store, "beta")
        assert any("alpha" in one for one in caught.value.known)

    drive(scenario)


def test_ambiguous_names_are_refused() -> None:
    """A name of two worlds is AmbiguousWorld with both ids (R5)."""

    async def scenario() -> None:
        store = MemoryStore()
        for _ in range(2):
            await world(store=store, name="twin").step()
        with pytest.raises(AmbiguousWorld) as caught:
            await World.open(store, "twin")
        assert len(caught.value.world_ids) == 2

    drive(scenario)


def test_messages_are_no_entities() -> None:
    """Message rows are read by asking for messages, never as tombstones of their recipients (G7, Q2)."""

    async def scenario() -> None:
        there = world()
        there.spawn(Position())
        there.send(1, "hello")
        await there.run(2)
        assert [row["is_active"] for row in history(there, include_inactive=True)] == [True, True]

    drive(scenario)


def test_large_histories_stream() -> None:
    """A read of many rows does not depend on the batch size (Q2)."""

    async def scenario() -> None:
        there = world()
        there.spawn_table({"hp": pa.array(np.arange(30_000))}, Health)
        await there.run(10)
        total = there.query(Health).agg(col("health__hp").sum(), col("tick").sum()).to_pydict()
        assert total == {"health__hp": [10 * sum(range(30_000))], "tick": [45 * 30_000]}
        assert isinstance(there.query(Health), daft.DataFrame)

    drive(scenario)


@pytest.mark.parametrize("ticks", [99, [1, 99], {0, 7}, -1, (-1,), 2**62, iter([0, 3])])
def test_a_named_tick_outside_history_is_an_error(ticks: Any) -> None:
    """Each tick that is named must be in the history that is read; the error says which ticks are (Q2)."""

    async def scenario() -> None:
        there = world()
        there.spawn(Position())
        await there.run(3)
        with pytest.raises(TickNotFound, match="ticks 0 to 2"):
            there.query(Position, ticks=ticks)

    drive(scenario)


def test_a_range_is_clipped_to_the_history() -> None:
    """A range of ticks may reach beyond the history, on either side and with any step (Q2)."""

    async def scenario() -> None:
        there = world()
        with pytest.raises(TickNotFound, match="no ticks yet"):
            there.query(ticks=0)
        there.spawn(Position())
        await there.run(3)
        for ticks, expected in [(range(1, 99), [1, 2]), (range(-5, 9, 2), [1]), (range(7, 9), []), ([], [])]:
            assert there.query(Position, ticks=ticks).sort("tick").to_pydict()["tick"] == expected
        fork = await there.fork()
        await fork.step()
        assert fork.query(Position, ticks=[2, 3]).count_rows() == 2
        with pytest.raises(TickNotFound, match="ticks 3 to 3"):
            fork.query(Position, ticks=[2, 3], lineage=False)

    drive(scenario)
