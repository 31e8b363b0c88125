"""Staging: what it accepts and refuses, and the rows that result."""

from __future__ import annotations

import math
from typing import Any

import daft
import numpy as np
import pyarrow as pa
import pytest
from scene import Calls, Flagged, Frozen, Health, Move, Name, Position, Velocity, drive, history, timeline, world, xs

from archetype_core.engine import World
from archetype_core.errors import ArchetypeError, EntityNotFound, SchemaMismatch, SignatureError, ValueRejected
from archetype_core.schema import Component, Entity
from archetype_core.store import MemoryStore


class Dunder(Component):
    a: int = 0
    a__b: int = 5


def test_ids_count_from_one() -> None:
    """Ids are per world, from 1, in the order of spawning, by every method (M5)."""
    there = world()
    assert there.spawn(Position()) == 1
    assert there.spawn_many([Position(), (Health(), Name())]) == range(2, 4)
    assert there.spawn_many([]) == range(4, 4)
    assert there.spawn_table({"x": [1.0, 2.0]}, Position) == range(4, 6)
    assert there.spawn_table({"x": []}, Position) == range(6, 6)
    assert there.reserve(3) == range(6, 9)
    assert there.spawn(Frozen()) == 9
    assert there.pending == 6


def test_reserved_ids_materialize() -> None:
    """A reserved id goes only to the spawn that names it (G6)."""

    async def scenario() -> None:
        there = world()
        first, second = there.reserve(2)
        assert there.spawn(Position(x=3.0)) == 3
        there.spawn(Position(x=2.0), entity_id=second)
        await there.step()
        there.spawn(Position(x=1.0), entity_id=first)
        await there.step()
        assert xs(there) == {1: 1.0, 2: 2.0, 3: 3.0}
        for taken in (first, 3, 4, 0, -1, 2**70):
            with pytest.raises(ValueError, match=str(taken)):
                there.spawn(Position(), entity_id=taken)
        for odd in (1.0, True, "1"):
            with pytest.raises(TypeError):
                there.spawn(Position(), entity_id=odd)  # type: ignore[arg-type]  # reason: this is what is refused
        for count in (-1, True, 1.5):
            with pytest.raises(ValueError, match="count"):
                there.reserve(count)  # type: ignore[arg-type]  # reason: this is what is refused
        assert there.pending == 0

    drive(scenario)


@pytest.mark.parametrize("steps", [0, 1])
def test_ids_are_never_used_twice(steps: int) -> None:
    """An id is never reused, also if its entity never had a row (M5)."""

    async def scenario() -> None:
        there = world()
        entity = there.spawn(Position())
        await there.run(steps)
        there.despawn(entity)
        await there.run(steps)
        with pytest.raises(ValueError, match=str(entity)):
            there.spawn(Position(), entity_id=entity)

    drive(scenario)


def test_ids_beyond_int32() -> None:
    """Ids, and everything keyed by them, are int64 (M5)."""

    async def scenario() -> None:
        store = MemoryStore()
        there = world(Move(), store=store)
        there.reserve(2**40)
        entity = there.spawn(Position(), Velocity())
        assert entity == 2**40 + 1
        await there.run(2)
        there.update(entity, Position(x=7.0))
        there.send(entity, "far")
        await there.step()
        assert xs(there) == {entity: 7.0}
        assert [row["entity_id"] for row in history(there, Position, entity_ids=[entity])] == [entity] * 3
        opened = await World.open(store, there.world_id)
        assert opened.spawn(Position()) == entity + 1
        there.despawn(entity)
        await there.step()
        assert len(there) == 0

    drive(scenario)


def test_values_that_cannot_be_stored_are_refused_at_the_door() -> None:
    """A bad value is refused with component and field when it is staged (M7)."""

    async def scenario() -> None:
        there = world()
        entity = there.spawn(Health())
        await there.step()
        bad = Health.model_construct(hp=2**63, seen=None)
        wrong = Health.model_construct(hp="many", seen=None)
        missing = Health(seen=1)
        del missing.__dict__["hp"]
        for component in (bad, wrong, missing):
            for enter in (
                there.spawn,
                lambda one: there.spawn_many([Health(), one]),
                lambda one: there.update(entity, one),
            ):
                with pytest.raises(ValueRejected) as caught:
                    enter(component)
                assert (caught.value.component, caught.value.field) == ("Health", "hp")
        assert there.pending == 0
        assert there.spawn(Position()) == entity + 1
        await there.step()

    drive(scenario)


def test_odd_values_come_back_as_they_were() -> None:
    """NaN, infinities, -0.0, int extremes, empty and odd texts are stored exactly (M7)."""

    async def scenario() -> None:
        there = world()
        positions = [Position(x=x, y=-x) for x in (math.inf, -0.0, 5e-324, 1.7976931348623157e308)]
        healths = [Health(hp=hp, seen=hp) for hp in (2**63 - 1, -(2**63))]
        names = [Name(label=label, note=label) for label in ("", "\x00", "ünï\U0001f600", "a" * 10_000)]
        ids = there.spawn_many([*positions, *healths, *names])
        nan = there.spawn(Position(x=math.nan))
        await there.run(2)
        for entity, one in zip(ids, [*positions, *healths, *names], strict=True):
            assert repr(dict(there.get(entity))) == repr({type(one): one})
        assert math.isnan(there.get(nan)[Position].x)

    drive(scenario)


def test_spawn_refuses_what_is_no_entity() -> None:
    """No components, one twice, classes and other objects are refused by every method (M4, T6)."""
    there = world()
    for odd in ((), (Position(), Position()), (Position,), ("x",), (None,)):
        with pytest.raises(SignatureError):
            there.spawn(*odd)  # type: ignore[arg-type]  # reason: this is what is refused
        with pytest.raises(SignatureError):
            there.spawn_many([Position(), odd])  # type: ignore[list-item]  # reason: this is what is refused
    with pytest.raises(SignatureError):
        there.spawn_table({"x": [1.0]})
    assert there.pending == 0
    assert there.spawn(Position()) == 1


def test_update_lays_over_given_fields_only() -> None:
    """An update keeps the fields that are not given, also those with a similar name; no field is an error (T2, T4)."""

    async def scenario() -> None:
        there = world()
        entity = there.spawn(Position(x=1.0, y=2.0), Dunder(a=1, a__b=9), Frozen())
        await there.step()
        there.update(entity, Position(y=3.0), Dunder(a=2))
        await there.step()
        assert there.get(entity) == {Position: Position(x=1.0, y=3.0), Dunder: Dunder(a=2, a__b=9), Frozen: Frozen()}
        there.update(entity, Dunder(a__b=1), Frozen())
        await there.step()
        assert there.get(entity)[Dunder] == Dunder(a=2, a__b=1)
        with pytest.raises(ValueRejected):
            there.update(entity, Position())
        with pytest.raises(SignatureError):
            there.update(entity, Position(x=1.0), Position(y=1.0))
        with pytest.raises(TypeError):
            there.update(entity, Position)  # type: ignore[arg-type]  # reason: this is what is refused
        there.update(entity)
        assert there.pending == 0

    drive(scenario)


def test_refused_updates_say_what_to_do() -> None:
    """Updating an absent component is an error that names it and add_components (T6)."""
    there = world()
    entity = there.spawn(Position())
    with pytest.raises(SignatureError, match=r"Health.*add_components"):
        there.update(entity, Health(hp=1))


def test_entities_of_this_tick_can_be_mutated() -> None:
    """A staged entity can be updated, migrated and despawned before it exists (T4)."""

    async def scenario() -> None:
        there = world()
        single = there.spawn(Position())
        (table,) = there.spawn_table({"x": [5.0]}, Position)
        for entity in (single, table):
            there.update(entity, Position(y=1.0))
            there.add_components(entity, Health(hp=2))
            there.remove_components(entity, Position)
            there.add_components(entity, Position(x=7.0))
        await there.step()
        expected = Entity.of(single, (Position(x=7.0), Health(hp=2)))
        assert there.get(single) == there.get(table) == expected
        assert list(timeline(there).tables) == list(there.archetypes())
        rows = history(there, include_inactive=True)
        assert [row["is_active"] for row in rows] == [True, True]

    drive(scenario)


def test_despawned_entities_are_gone_at_once_for_mutations() -> None:
    """After a staged despawn every other mutation of the entity is refused (T6)."""

    async def scenario() -> None:
        there = world()
        entity = there.spawn(Position())
        await there.step()
        there.despawn(entity)
        with pytest.raises(EntityNotFound):
            there.update(entity, Position(x=1.0))
        with pytest.raises(EntityNotFound):
            there.add_components(entity, Frozen())
        await there.step()
        assert entity not in there

    drive(scenario)


def test_tags_make_tables() -> None:
    """Components without fields are part of the archetype, and can be added and removed (M4, T5)."""

    async def scenario() -> None:
        there = world()
        a, b, both = there.spawn_many([Frozen(), Flagged(), (Frozen(), Flagged())])
        await there.step()
        assert len(there.archetypes()) == 3
        there.add_components(a, Flagged())
        there.remove_components(both, Frozen)
        await there.step()
        assert there.entity_ids(Frozen).to_pylist() == [a]
        assert there.entity_ids(Flagged).to_pylist() == [a, b, both]
        assert there.get(a) == {Frozen: Frozen(), Flagged: Flagged()}

    drive(scenario)


FORMS = {
    "table": pa.table,
    "batch": pa.RecordBatch.from_pydict,
    "mapping": dict,
    "frame": daft.from_pydict,
    "stream": lambda columns: pa.RecordBatchReader.from_batches(
        pa.table(columns).schema, pa.table(columns).to_batches()
    ),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_spawn_table_takes_any_form(form: Any) -> None:
    """Tables, batches, mappings, frames and streams spawn an entity per row, by full or bare column names."""

    async def scenario() -> None:
        there = world()
        ids = there.spawn_table(
            form({"position__x": [1.0, 2.0], "y": [3.0, 4.0], "dx": [5.0, 6.0]}), Position, Velocity
        )
        await there.step()
        assert ids == range(1, 3)
        assert there.get(2) == Entity.of(2, (Position(x=2.0, y=4.0), Velocity(dx=6.0)))

    drive(scenario)


@pytest.mark.parametrize(
    "columns",
    [
        {"x": [1.0], "wings": [2]},
        {"x": ["a"]},
        {"x": [1.0], "position__x": [1.0]},
        {"x": [None]},
        {"x": [1.0, 2.0], "y": [1.0]},
        {"entity_id": [7], "x": [1.0]},
        {"tick": [7], "x": [1.0]},
        {"x": [object()]},
        {"x": [2**70]},
        {"": [1.0]},
    ],
    ids=repr,
)
def test_spawn_table_refuses_what_does_not_fit(columns: Any) -> None:
    """Unknown, doubled, reserved, ill-typed, ragged or null columns are typed errors, and nothing is staged (M7)."""
    there = world()
    with pytest.raises(ArchetypeError) as caught:
        there.spawn_table(columns, Position)
    assert isinstance(caught.value, SchemaMismatch | ValueRejected)
    assert there.pending == 0
    assert there.spawn(Position()) == 1


def test_spawn_table_refuses_other_things() -> None:
    """Anything but a table is a TypeError."""
    for odd in (3, "x", None, [1, 2]):
        with pytest.raises(TypeError):
            world().spawn_table(odd, Position)


def test_spawn_table_of_tags() -> None:
    """A table without columns spawns an entity per row, or is refused whole."""
    there = world()
    rows = pa.table({"x": [1.0, 2.0]}).select([])
    assert rows.num_rows == 2
    try:
        assert len(there.spawn_table(rows, Frozen)) == 2
    except ArchetypeError:
        assert there.pending == 0


def test_a_million_rows() -> None:
    """A million entities spawn as columns, step, and are mutated one by one among themselves (T11)."""

    async def scenario() -> None:
        count = 1_000_000
        there = world(Move())
        ids = there.spawn_table({"x": np.arange(count, dtype=np.float64), "dx": np.ones(count)}, Position, Velocity)
        there.despawn(ids[0], ids[-1])
        there.update(500_000, Position(y=1.0))
        await there.run(2)
        assert len(there) == count - 2
        assert there.get(500_000)[Position] == Position(x=500_000.0, y=1.0)
        there.add_components(3, Frozen())
        there.despawn(5)
        await there.step()
        assert (len(there), there.get(3)[Position].x, there.get(4)[Position].x) == (count - 3, 4.0, 5.0)
        assert there.query(Position, ticks=2).count_rows() == count - 3

    drive(scenario)


def test_nothing_staged_is_a_tick_too() -> None:
    """An empty world steps, and its ticks are on record (S1)."""

    async def scenario() -> None:
        there = world(Calls(lambda df, **_: 1 / 0))
        assert (await there.run(3)).final_tick == 2
        assert timeline(there).last == 2
        assert there.digest(0) == there.digest(2)

    drive(scenario)
