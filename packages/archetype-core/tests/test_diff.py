"""Differences between two ticks."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from daft import col, lit
from field_types import HOLDERS, TYPES, table
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field
from scene import Frozen, Health, Move, Name, Position, Velocity, drive, world

from archetype_core.engine import WorldView
from archetype_core.errors import TickNotFound, UnknownColumn
from archetype_core.read.diff import SCHEMA
from archetype_core.read.diff_side import texts
from archetype_core.read.equality import same
from archetype_core.read.position import positions
from archetype_core.schema import Component, contiguous
from archetype_core.store import MemoryStore, Scan


class Blob(Component):
    data: bytes = b""
    tags: list[str] = Field(default_factory=list)


class Listening(MemoryStore):
    """Remembers its scans."""

    def __init__(self) -> None:
        super().__init__()
        self.scans: list[Scan] = []

    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        self.scans.append(scan)
        return super().scan(scan)


def plain(value: Any) -> Any:
    """A stored value in a form in which equal means the same to the bit."""
    match value:
        case float():
            return struct.pack(">d", value)
        case dict():
            return [(key, plain(item)) for key, item in value.items()]
        case list() | tuple():
            return [plain(item) for item in value]
    return type(value), value


def rows(view: WorldView, before: Any, after: Any) -> list[tuple[Any, ...]]:
    """The rows of a diff."""
    table = view.diff(before, after).to_arrow()
    assert table.schema.names == SCHEMA.names
    return [tuple(row.values()) for row in table.to_pylist()]


def test_nothing_differs_from_itself() -> None:
    """A tick does not differ from itself, NaN included, nor from an idle tick (Q2)."""

    async def scenario() -> None:
        there = world()
        there.spawn(Position(x=math.nan), Name(), Blob(data=b"\x00", tags=["a"]))
        await there.run(2)
        assert rows(there, 0, 0) == rows(there, 0, 1) == rows(there, 1, there) == []

    drive(scenario)


def test_changed_values() -> None:
    """A changed column is a row with both values as JSON; unchanged columns have no row (Q2)."""

    async def scenario() -> None:
        there = world(Move())
        there.spawn_many([(Position(), Velocity(dx=1.0)), (Position(), Velocity(dx=0.0))])
        await there.run(3)
        assert rows(there, 0, 2) == [("changed", 1, "position__x", "0.0", "2.0")]
        assert rows(there, 2, 0) == [("changed", 1, "position__x", "2.0", "0.0")]

    drive(scenario)


def test_values_are_compared_bit_by_bit() -> None:
    """-0.0 differs from 0.0 and null from empty; other values are compared by value (Q2)."""

    async def scenario() -> None:
        there = world()
        there.spawn(Position(), Name(note=""), Blob(data=b"a", tags=["a"]))
        await there.step()
        there.update(1, Position(x=-0.0, y=math.nan), Name(note=None), Blob(data=b"b", tags=["a", "b"]))
        await there.step()
        assert rows(there, 0, 1) == [
            ("changed", 1, "blob__data", '"61"', '"62"'),
            ("changed", 1, "blob__tags", '["a"]', '["a", "b"]'),
            ("changed", 1, "name__note", '""', None),
            ("changed", 1, "position__x", "0.0", "-0.0"),
            ("changed", 1, "position__y", "0.0", "NaN"),
        ]

    drive(scenario)


def test_entities_that_come_and_go() -> None:
    """An added or removed entity has a row for itself, with its components, and one for each column (Q2)."""

    async def scenario() -> None:
        there = world()
        there.spawn(Health(hp=1, seen=2))
        await there.step()
        there.despawn(1)
        there.spawn(Frozen())
        await there.step()
        assert rows(there, 0, 1) == [
            ("removed", 1, "health__hp", "1", None),
            ("removed", 1, "health__seen", "2", None),
            ("removed", 1, None, '["Health"]', None),
            ("added", 2, None, None, '["Frozen"]'),
        ]

    drive(scenario)


def test_components_that_come_and_go() -> None:
    """A migration is a row for the components and one for each column gained or lost (Q2)."""

    async def scenario() -> None:
        there = world()
        there.spawn(Position(x=1.0), Name(label="n"))
        await there.step()
        there.remove_components(1, Name)
        there.add_components(1, Health(hp=5))
        await there.step()
        assert rows(there, 0, 1) == [
            ("changed", 1, "health__hp", None, "5"),
            ("changed", 1, "health__seen", None, None),
            ("changed", 1, "name__label", '"n"', None),
            ("changed", 1, "name__note", None, None),
            ("changed", 1, None, '["Name", "Position"]', '["Health", "Position"]'),
        ]

    drive(scenario)


def test_branches_are_compared() -> None:
    """Diff takes the latest tick of another world or any tick of it, also in another store (Q2)."""

    async def scenario() -> None:
        there = world(Move())
        there.spawn(Position(), Velocity())
        await there.run(2)
        fork = await there.fork()
        moved = await there.fork(store=MemoryStore())
        fork.update(1, Velocity(dx=5.0))
        await fork.step()
        await moved.step()
        assert rows(there, 1, fork) == [
            ("changed", 1, "position__x", "1.0", "2.0"),
            ("changed", 1, "velocity__dx", "1.0", "5.0"),
        ]
        assert rows(there, there, (fork, 1)) == []
        assert rows(there, (fork, 2), moved) == [("changed", 1, "velocity__dx", "5.0", "1.0")]

    drive(scenario)


def test_large_diffs_are_sorted_by_entity() -> None:
    """Rows are sorted by entity and column, over all tables (Q2)."""

    async def scenario() -> None:
        there = world(Move())
        there.spawn_many([(Position(), Velocity(), *([Frozen()] if n % 3 else [])) for n in range(300)])
        await there.run(2)
        found = rows(there, 0, 1)
        assert [row[1] for row in found] == list(range(1, 301))

    drive(scenario)


def test_same_sees_through_slices() -> None:
    """Arrays are compared by value, whatever their offset; nulls and NaN equal themselves (Q2)."""
    whole = pa.array([math.nan, None, 0.0, -0.0, 1.0])
    assert same(whole.slice(2, 2), pa.array([0.0, -0.0])).tolist() == [True, True]
    assert same(whole.slice(2, 2), whole.slice(3, 2)).tolist() == [False, False]
    assert same(whole, pa.array([math.nan, None, 0.0, 0.0, None])).tolist() == [True, True, True, False, False]
    lists = pa.array([[1.0], None, [math.nan], []])
    assert same(lists.slice(1), pa.array([None, [math.nan], []], lists.type)).tolist() == [True, True, True]
    structs = pa.array([{"a": 1}, {"a": 2}, {"a": 3}])
    assert same(structs.slice(0, 2), structs.slice(1, 2)).tolist() == [False, False]
    assert same(pa.array([], pa.int64()), pa.array([], pa.int64())).tolist() == []


def test_one_column_keeps_its_type() -> None:
    """With one column, ``before`` and ``after`` have its type; null where the entity lacks it (Q2)."""

    async def scenario() -> None:
        there = world(Move())
        there.spawn_many([(Position(), Velocity(dx=1.0)), (Position(), Velocity()), (Name(label="n"), Position())])
        await there.step()
        there.remove_components(3, Position)
        there.despawn(2)
        there.spawn(Position(x=math.nan))
        await there.step()
        for column in (Position.c.x, "position__x"):
            found = there.diff(0, there, column).to_arrow()
            assert found.schema.field("before").type == pa.float64()
            assert [str(row) for row in found.to_pylist()] == [
                "{'entity_id': 1, 'op': 'changed', 'before': 0.0, 'after': 1.0}",
                "{'entity_id': 2, 'op': 'removed', 'before': 0.0, 'after': None}",
                "{'entity_id': 3, 'op': 'changed', 'before': 0.0, 'after': None}",
                "{'entity_id': 4, 'op': 'added', 'before': None, 'after': nan}",
            ]

    drive(scenario)


def test_several_columns_are_wide() -> None:
    """Several columns or a component give one row per entity that differs in any of them (Q2)."""

    async def scenario() -> None:
        there = world(Move())
        there.spawn_many([(Position(), Velocity(dx=1.0)), (Position(y=3.0), Velocity(dx=0.0))])
        await there.run(2)
        expected = {
            "entity_id": [1],
            "op": ["changed"],
            "position__x__before": [0.0],
            "position__x__after": [1.0],
            "position__y__before": [0.0],
            "position__y__after": [0.0],
        }
        assert there.diff(0, 1, Position).to_pydict() == expected
        assert there.diff(0, 1, Position.c.x, Position.c.y).to_pydict() == expected
        found = there.diff(0, 1, Position.c.x, Velocity).where(col("entity_id") == lit(1)).select("velocity__dx__after")
        assert found.to_pydict() == {"velocity__dx__after": [1.0]}
        assert there.diff(0, 1, Health).to_pydict()["health__hp__before"] == []

    drive(scenario)


def test_nothing_is_read_before_a_diff_is_collected() -> None:
    """A diff is lazy, and names wrong ticks and columns at once (Q2)."""

    async def scenario() -> None:
        store = Listening()
        there = world(Move(), store=store)
        there.spawn(Position(), Velocity(dx=1.0))
        await there.run(3)
        store.scans.clear()
        for columns in ((), (Position.c.x,), (Position, Velocity)):
            frame = there.diff(0, 1, *columns)
            assert store.scans == []
            assert frame.count_rows() == 1
            store.scans.clear()
        with pytest.raises(TickNotFound):
            there.diff(0, 9)
        with pytest.raises(UnknownColumn, match="position__x"):
            there.diff(0, 1, "position__xx")
        with pytest.raises(TypeError, match=r"Position\.c\.x"):
            there.diff(0, 1, 7)  # type: ignore[arg-type]  # reason: wrong on purpose

    drive(scenario)


def test_a_condition_is_on_the_columns_of_the_difference() -> None:
    """``where`` keeps the rows of any form of a diff that match, and a misspelt column is ``UnknownColumn`` (Q2)."""

    async def scenario() -> None:
        there = world(Move())
        there.spawn_many([(Position(), Velocity(dx=float(n))) for n in range(4)])
        await there.run(2)
        assert there.diff(0, 1, Position.c.x, where=col("after") > col("before") + 1.5).to_pydict()["after"] == [
            2.0,
            3.0,
        ]
        assert there.diff(0, 1, Position, where=col("position__x__after") == lit(3.0)).to_pydict()["entity_id"] == [4]
        assert there.diff(0, 1, where=col("entity_id") == lit(2)).to_pydict()["after"] == ["1.0"]
        for columns, condition, meant in (
            ((), col("aftr").is_null(), "after"),
            ((Position.c.x,), col("bfore") > lit(1.0), "before"),
            ((Position,), Position.c.x > 1.0, "position__x__after"),
        ):
            with pytest.raises(UnknownColumn, match=f"did you mean {meant}"):
                there.diff(0, 1, *columns, where=condition)

    drive(scenario)


def test_a_condition_on_a_snapshot_is_that_of_a_query() -> None:
    """``snapshot`` takes ``where``, of the live tick and of past ones, and names a misspelt column (Q2)."""

    async def scenario() -> None:
        there = world(Move())
        there.spawn_many([(Position(), Velocity(dx=float(n))) for n in range(4)])
        await there.run(2)
        for at in (None, 1):
            assert there.snapshot(Position, at=at, where=Position.c.x >= 2.0).to_pydict()["entity_id"] == [3, 4]
            with pytest.raises(UnknownColumn, match=r"did you mean position__y\?"):
                there.snapshot(Position, at=at, where=col("position__z") > lit(0))
            with pytest.raises(UnknownColumn, match="add Velocity"):
                there.snapshot(Position, at=at, where=Velocity.c.dx > 0.0)
            with pytest.raises(TypeError, match="where is an expression"):
                there.snapshot(Position, at=at, where="x")  # type: ignore[arg-type]  # reason: wrong on purpose

    drive(scenario)


@given(st.lists(st.none() | st.floats() | st.floats(-1e3, 1e3) | st.integers(-(2**53), 2**53).map(float)))
def test_floats_are_written_as_python_writes_them(values: list[float | None]) -> None:
    """A float of any size, NaN and the infinities are the JSON that Python writes, and null stays null (Q2)."""
    expected = [None if one is None else json.dumps(one) for one in values]
    assert texts(pa.array(values, pa.float64())).to_pylist() == expected


_IDS = st.lists(st.integers(-40, 40) | st.integers(-(2**62), 2**62), unique=True, max_size=12)


@given(_IDS, _IDS)
def test_ids_are_found_wherever_they_are(has: list[int], ids: list[int]) -> None:
    """The row of each id among others in any order, dense or sparse, or that it is not there (Q2)."""
    found = positions(np.array(has, np.int64), np.array(ids, np.int64))
    expected = [has.index(one) if one in has else -1 for one in ids]
    assert expected == (list(range(len(ids))) if found is None else found.tolist())


@pytest.mark.thorough
@given(data=st.data(), name=st.sampled_from(sorted(HOLDERS)))
def test_rows_are_the_same_if_their_values_are(data: st.DataObject, name: str) -> None:
    """Of every field type, two rows are the same exactly if their values are, to the bit; slices do not matter (Q2)."""
    values = TYPES[name][2]
    few = st.sampled_from(data.draw(st.lists(values, min_size=1, max_size=3)))
    one, other = zip(*data.draw(st.lists(st.tuples(few, few), min_size=1, max_size=9)), strict=True)
    skip = data.draw(st.integers(0, 3))
    holder = HOLDERS[name]
    left = table([holder(value=value) for value in (*one[:1] * skip, *one)]).slice(skip)
    right = table([holder(value=value) for value in other])
    for column in left.column_names:
        pairs = zip(left.column(column).to_pylist(), right.column(column).to_pylist(), strict=True)
        expected = [plain(a) == plain(b) for a, b in pairs]
        assert same(contiguous(left.column(column)), contiguous(right.column(column))).tolist() == expected
