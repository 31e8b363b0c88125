"""Mutations of many entities at once: the same as one mutation for each of them, in order, or none of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import daft
import numpy as np
import pyarrow as pa
import pytest
from daft.expressions import Expression
from hypothesis import given
from hypothesis import strategies as st

from archetype_core.engine import AsyncProcessor, Commands, World, mutation_log
from archetype_core.errors import (
    ArchetypeError,
    EntityNotFound,
    SchemaMismatch,
    SignatureError,
    UnknownColumn,
    ValueRejected,
)
from archetype_core.schema import Component
from archetype_core.store import MemoryStore


class Spot(Component):
    x: float = 0.0
    y: float = 0.0


class Life(Component):
    hp: int = 3
    seen: datetime = datetime(2020, 1, 1)


class Mark(Component):
    pass


class Drift(AsyncProcessor):
    components = (Spot,)

    def process(self, df: daft.DataFrame) -> dict[Expression, Any]:
        return {Spot.c.x: Spot.c.x + 1.0}


def there(**more: Any) -> World:
    """An empty world."""
    return World(MemoryStore(), seed=1, **more)


def xs(world: World) -> dict[int, float]:
    """The x of every spot."""
    return {entity: world.get(entity, Spot).x for entity in world.entity_ids(Spot).to_pylist()}


@pytest.fixture
def _always_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stage every update of many as columns, also of one entity."""
    monkeypatch.setattr(mutation_log, "FEW", 0)


FORMS: dict[str, Callable[[list[int]], Any]] = {
    "list": list,
    "tuple": tuple,
    "generator": iter,
    "numpy": np.array,
    "unsigned": lambda ids: np.array(ids, np.uint64),
    "arrow": pa.array,
    "chunked": lambda ids: pa.chunked_array([ids[:1], ids[1:]]),
    "numpy ints": lambda ids: [np.int32(one) for one in ids],
}


@pytest.mark.parametrize("form", FORMS)
def test_ids_come_in_many_forms(form: str) -> None:
    """Sequences and arrays of ids mean the same everywhere."""

    async def scenario() -> None:
        world, many = there(), FORMS[form]
        world.spawn_many([Spot() for _ in range(4)])
        await world.step()
        world.update(many([1, 3]), Spot(x=1.0))
        world.update_table({Spot.c.y: [2.0, 3.0]}, entities=many([3, 1]))
        world.add_components(many([1, 2]), Life(), Mark())
        world.despawn(many([4, 4]))
        await world.step()
        assert xs(world) == {1: 1.0, 2: 0.0, 3: 1.0}
        assert [world.get(one, Spot).y for one in (1, 2, 3)] == [3.0, 0.0, 2.0]
        world.remove_components(many([1, 2]), Mark, Life)
        await world.step()
        assert world.entity_ids(Life).to_pylist() == []

    asyncio.run(scenario())


def test_no_entities_stage_nothing() -> None:
    """Empty lists and conditions that nobody meets are no mutation."""

    async def scenario() -> None:
        world = there()
        world.spawn(Spot())
        await world.step()
        nobody: tuple[Any, ...] = ([], np.array([]), pa.array([], pa.int64()), Spot.c.x > 5.0, Life.c.hp > 0)
        for none in nobody:
            world.update(none, Spot(x=1.0))
            world.update_table({Spot.c.x: 1.0}, entities=none)
            world.add_components(none, Mark())
            world.remove_components(none, Spot)
            world.despawn(none)
        assert world.update_where(Spot.c.x > 5.0, {Spot.c.x: 1.0}) == 0
        world.update_table({"entity_id": [1]})
        assert world.pending == 0

    asyncio.run(scenario())


def test_a_table_names_columns_and_entities() -> None:
    """Columns are named by expression or as stored; values are one for each or one for all."""

    async def scenario() -> None:
        world = there()
        world.spawn_many([(Spot(), Life()) for _ in range(3)])
        await world.step()
        world.update_table({"entity_id": [3, 1], "spot__x": np.array([3, 1]), Life.c.hp: 9})
        await world.step()
        assert xs(world) == {1: 1.0, 2: 0.0, 3: 3.0}
        assert [world.get(one, Life).hp for one in (1, 2, 3)] == [9, 3, 9]
        frame = world.snapshot(Spot).select("entity_id", "spot__x").with_column("spot__x", Spot.c.x * 2)
        world.update_table(frame)
        world.update_table(pa.table({"entity_id": [2], "life__hp": pa.array([4], pa.int16())}))
        await world.step()
        assert xs(world) == {1: 2.0, 2: 0.0, 3: 6.0}
        assert world.get(2, Life).hp == 4

    asyncio.run(scenario())


def test_datetimes_take_their_zone_along() -> None:
    """A datetime and its zone are one field, given as one column or, as stored, as two."""

    async def scenario() -> None:
        world = there()
        world.spawn_many([Life(), Life()])
        await world.step()
        moments = [datetime(2024, 5, 6, 7, tzinfo=timezone(timedelta(hours=2))), datetime(2024, 5, 6)]
        world.update_table({Life.c.seen: moments}, entities=[1, 2])
        await world.step()
        seen = [world.get(one, Life).seen for one in (1, 2)]
        assert seen == moments
        assert [one.utcoffset() for one in seen] == [timedelta(hours=2), None]
        world.update_table({Life.c.seen: datetime(2025, 1, 1, tzinfo=UTC)}, entities=Life.c.hp > 0)
        await world.step()
        assert world.get(2, Life).seen == datetime(2025, 1, 1, tzinfo=UTC)

    asyncio.run(scenario())


def test_a_condition_reads_the_last_completed_tick() -> None:
    """Conditions and expressions see the live rows, and staged mutations only by who is despawned by now."""

    async def scenario() -> None:
        world = there(processors=[Drift()])
        world.spawn_table({"x": [0.0, 1.0, 2.0, 3.0]}, Spot)
        await world.step()
        world.update(1, Spot(x=9.0))
        world.despawn(4)
        assert world.update_where(Spot.c.x >= 1.0, {Spot.c.y: Spot.c.x * 10, Spot.c.x: -1.0}) == 2
        world.update(Spot.c.x == 0.0, Spot(y=7.0))
        await world.step()
        assert xs(world) == {1: 9.0, 2: -1.0, 3: -1.0}
        assert [world.get(one, Spot).y for one in (1, 2, 3)] == [7.0, 10.0, 20.0]
        world.despawn(Spot.c.x.hash() == Spot.c.x.hash())
        await world.step()
        assert len(world) == 0

    asyncio.run(scenario())


REFUSED: dict[str, tuple[Callable[[Any], object], type[Exception], str]] = {
    "an id that is not alive": (lambda w: w.update([1, 99], Spot(x=1.0)), EntityNotFound, "99"),
    "an id past the last": (lambda w: w.update([1, 2**70], Spot(x=1.0)), EntityNotFound, str(2**70)),
    "a bool": (lambda w: w.update([1, True], Spot(x=1.0)), TypeError, "True"),
    "a mask": (lambda w: w.despawn(np.array([True, False])), TypeError, "mask"),
    "floats": (lambda w: w.despawn(np.array([1.0, 2.0])), TypeError, "float64"),
    "a matrix": (lambda w: w.despawn(np.array([[1], [2]])), TypeError, "flat"),
    "nulls": (lambda w: w.despawn(pa.array([1, None])), TypeError, "null"),
    "text": (lambda w: w.add_components("12", Mark()), TypeError, "'12'"),
    "a component that one lacks": (lambda w: w.update([1, 2], Life(hp=1)), SignatureError, "entity 2 has no Life"),
    "a column that one lacks": (
        lambda w: w.update_table({Life.c.hp: 1}, entities=[1, 2]),
        SignatureError,
        "entity 2 has no Life",
    ),
    "a misspelt column": (lambda w: w.update_table({"spot__z": 1.0}, entities=[1]), SchemaMismatch, "spot__y"),
    "a bare field": (lambda w: w.update_table({"x": 1.0}, entities=[1]), SchemaMismatch, "did you mean spot__x?"),
    "a base column": (lambda w: w.update_table({"tick": 1}, entities=[1]), SchemaMismatch, "tick"),
    "no ids": (lambda w: w.update_table({Spot.c.x: [1.0]}), TypeError, "entity_id"),
    "ids twice": (lambda w: w.update_table({"entity_id": [1]}, entities=[1]), TypeError, "twice"),
    "too few values": (lambda w: w.update_table({Spot.c.x: [1.0]}, entities=[1, 2]), ValueRejected, "1 values"),
    "a wrong value": (lambda w: w.update_table({Spot.c.x: [1.0, "a"]}, entities=[1, 2]), ValueRejected, "row 1"),
    "a null": (lambda w: w.update_table({Spot.c.x: [1.0, None]}, entities=[1, 2]), ValueRejected, "row 1"),
    "no table": (lambda w: w.update_table([1.0], entities=[1]), TypeError, "mapping"),
    "no condition": (lambda w: w.update_where(True, {Spot.c.x: 1.0}), TypeError, "Health.c.hp"),
    "a number as a condition": (lambda w: w.despawn(Spot.c.x + 1), TypeError, "compare"),
    "a misspelt condition": (lambda w: w.despawn(daft.col("spot__q").is_null()), UnknownColumn, "spot__q"),
    "a value that one lacks": (
        lambda w: w.update_where(Spot.c.x >= 0, {Spot.c.x: Life.c.hp}),
        SignatureError,
        "entity 2 has no life__hp",
    ),
    "the last component": (lambda w: w.remove_components([1, 2], Spot), SignatureError, "despawn"),
    "a value of no component": (lambda w: w.update([1], 5), TypeError, "instances"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_one_refuses_all_refuse(name: str) -> None:
    """One bad id, column or value: a typed error that names it, and nothing is staged (M7, T6)."""

    async def scenario() -> None:
        world = there()
        world.spawn_many([(Spot(), Life()), Spot()])
        await world.step()
        call, error, text = REFUSED[name]
        with pytest.raises(error, match=text.replace("(", r"\(")):
            call(world)
        assert world.pending == 0
        await world.step()
        assert xs(world) == {1: 0.0, 2: 0.0}

    asyncio.run(scenario())


class Act(AsyncProcessor):
    """Stages for many entities from inside a tick."""

    components = (Spot,)

    def process(self, commands: Commands, tick: int) -> None:
        if tick == 1:
            commands.update_table({Spot.c.x: np.arange(40.0)}, entities=range(1, 41))
            commands.update(range(1, 6), Spot(y=5.0))
            commands.update_where(Spot.c.x == 0.0, {Spot.c.y: Spot.c.y - 1.0})
            commands.add_components(range(1, 4), Mark())
            commands.despawn([40])


def test_what_a_processor_stages_for_many_survives_a_restart() -> None:
    """It is part of the tick's commit, and applies in a world that is opened again (T9)."""

    async def scenario() -> None:
        store = MemoryStore()
        world = World(store, "there", seed=1, processors=[Act()])
        world.spawn_many([Spot() for _ in range(40)])
        await world.run(2)
        again = await World.open(store, world.world_id, processors=[Act()])
        twin = await world.fork("twin")
        for one in (again, twin):
            await one.step()
            assert xs(one) == {entity: float(entity - 1) for entity in range(1, 40)}
            assert {one.get(entity, Spot).y for entity in range(1, 40)} == {-1.0}
            assert one.entity_ids(Mark).to_pylist() == [1, 2, 3]
        assert again.digest() == twin.digest()

    asyncio.run(scenario())


Op = tuple[Any, ...]
_IDS = st.lists(st.integers(1, 9), max_size=6)
_NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=16)
_OPS = st.one_of(
    st.tuples(st.just("update"), _IDS, _NUMBERS),
    st.tuples(st.just("table"), _IDS, st.lists(_NUMBERS, min_size=6, max_size=6)),
    st.tuples(st.just("hp"), _IDS, st.integers(-5, 5)),
    st.tuples(st.just("where"), st.integers(-3, 3), _NUMBERS),
    st.tuples(st.just("add"), _IDS, st.integers(0, 9)),
    st.tuples(st.just("remove"), _IDS, st.sampled_from([Mark, Life, Spot])),
    st.tuples(st.just("despawn"), _IDS),
    st.tuples(st.just("spawn"), st.booleans()),
    st.tuples(st.just("step")),
)


def at_once(world: World, op: Op) -> list[int]:
    """Do an operation for all its entities in one call; return the entities that it was for."""
    match op:
        case ("update", ids, x):
            world.update(ids, Spot(x=x))
        case ("table", ids, values):
            world.update_table({"entity_id": ids, Spot.c.x: values[: len(ids)], Spot.c.y: values[::-1][: len(ids)]})
        case ("hp", ids, hp):
            world.update_table({Life.c.hp: hp}, entities=np.array(ids, np.int64))
        case ("where", above, y):
            world.update_where(Spot.c.x > above, {Spot.c.y: y + Spot.c.x})
        case ("add", ids, hp):
            world.add_components(ids, Life(hp=hp), Mark())
        case ("remove", ids, kind):
            world.remove_components(ids, kind)
        case ("despawn", ids):
            world.despawn(ids)
        case ("spawn", has_life):
            world.spawn_many([(Spot(x=1.0), Life()) if has_life else Spot()])
    return []


def one_by_one(world: World, op: Op, met: Sequence[int]) -> None:
    """Do an operation with a call for each entity; ``met`` are those that meet its condition."""
    kind, ids, *rest = op
    if kind == "spawn":
        world.spawn(*(Spot(x=1.0), Life()) if ids else (Spot(),))
        return
    for row, one in enumerate(met if kind == "where" else ids):
        match kind:
            case "update":
                world.update(one, Spot(x=rest[0]))
            case "table":
                world.update(one, Spot(x=rest[0][row], y=rest[0][::-1][row]))
            case "hp":
                world.update(one, Life(hp=rest[0]))
            case "where":
                world.update(one, Spot(y=rest[0] + world.get(one, Spot).x))
            case "add":
                world.add_components(one, Life(hp=rest[0]), Mark())
            case "remove":
                world.remove_components(one, rest[0])
            case "despawn":
                world.despawn(one)


def meeting(world: World, twin: World, op: Op) -> list[int]:
    """The live entities that meet an operation's condition and that nothing staged takes a spot from."""
    if op[0] != "where":
        return []
    live = [one for one in world.entity_ids(Spot).to_pylist() if world.get(one, Spot).x > op[1]]
    places = [twin._draft().place(one) for one in live]
    return [one for one, place in zip(live, places, strict=True) if place and Spot.component_type() in place]


@pytest.mark.usefixtures("_always_columns")
@given(program=st.lists(_OPS, max_size=25))
def test_many_at_once_is_one_after_the_other(program: list[Op]) -> None:
    """Any program of mutations of many entities gives the ticks that single mutations in the same order give."""

    async def scenario() -> None:
        world, twin = there(processors=[Drift()]), there(processors=[Drift()])
        for one in (world, twin):
            one.spawn_many([Spot(), (Spot(), Life()), (Spot(), Mark()), Spot()])
            await one.step()
        for op in [*program, ("step",)]:
            if op[0] == "step":
                await world.step()
                await twin.step()
                assert world.digest() == twin.digest()
                continue
            met = meeting(world, twin, op)
            before = world.pending
            try:
                at_once(world, op)
            except ArchetypeError:
                assert world.pending == before
                continue
            one_by_one(twin, op, met)

    asyncio.run(scenario())


class Sticker(Component):
    name: str = ""
    small: int = 0
    when: datetime | None = None


_STICKERS = st.builds(
    Sticker,
    name=st.text(max_size=3),
    small=st.integers(-5, 5),
    when=st.none() | st.datetimes(timezones=st.none() | st.just(UTC)),
)


@given(st.lists(st.tuples(_NUMBERS, _STICKERS, st.booleans()), max_size=12))
def test_many_bundles_are_the_same_as_one_after_the_other(given: list[tuple[float, Sticker, bool]]) -> None:
    """``spawn_many`` stores what single spawns store, also where it works on columns."""
    bundles: list[Any] = [(tag, Spot(x=x)) if is_whole else Spot(x=x) for x, tag, is_whole in given]
    # Long enough to become columns.
    bundles = [one for one in bundles for _ in range(mutation_log.FEW + 1)]

    async def scenario() -> None:
        together, alone = there(), there()
        ids = together.spawn_many(bundles)
        singles = [alone.spawn(*(one if isinstance(one, tuple) else (one,))) for one in bundles]
        assert list(ids) == singles
        assert together.pending == alone.pending == len(bundles)
        for world in (together, alone):
            await world.step()
        assert together.digest() == alone.digest()

    asyncio.run(scenario())


def test_a_refused_bundle_uses_no_id() -> None:
    """One bad value among many is named, nothing is staged, and the next entity gets the next id (M7)."""

    async def scenario() -> None:
        world = there()
        bad: Any = Sticker(name="b")
        bad.small = 2**63
        with pytest.raises(ValueRejected, match=r"Sticker\.small"):
            world.spawn_many([*([Sticker()] * 100), bad])
        with pytest.raises(SignatureError, match="instances"):
            world.spawn_many([*([Sticker()] * 100), Sticker])  # type: ignore[list-item]  # reason: the class, not an instance
        assert world.pending == 0
        assert world.spawn(Sticker()) == 1

    asyncio.run(scenario())
