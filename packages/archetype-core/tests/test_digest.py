"""Digests: equal for equal contents."""

from __future__ import annotations

import math
import struct
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scene import Flagged, Frozen, Health, Move, Position, Velocity, drive, world

from archetype_core.engine import World
from archetype_core.store import digest, digest_table


def table(values: pa.Array | pa.ChunkedArray, ids: list[int] | None = None) -> pa.Table:
    """Active rows of one column."""
    numbers = ids or list(range(1, len(values) + 1))
    return pa.table({"entity_id": pa.array(numbers, pa.int64()), "is_active": [True] * len(values), "v": values})


MAP = pa.map_(pa.large_string(), pa.int64())
STRUCT = pa.struct([("a", pa.int64()), ("b", pa.large_string())])
NUMPY = {pa.int8(): np.int8, pa.int64(): np.int64, pa.float32(): np.float32, pa.float64(): np.float64}
COLUMNS: dict[str, tuple[pa.DataType, list[Any]]] = {
    "bool": (pa.bool_(), [True, False, None]),
    "int8": (pa.int8(), [-128, 0, None, 127]),
    "int64": (pa.int64(), [2**63 - 1, None, -(2**63), 0]),
    "float64": (pa.float64(), [math.nan, 0.0, -0.0, None, math.inf]),
    "float32": (pa.float32(), [1.5, None, math.nan]),
    "text": (pa.large_string(), ["", None, "a", "ab", "ü"]),
    "bytes": (pa.large_binary(), [b"", None, b"\x00", b"\x00\x00"]),
    "fixed bytes": (pa.binary(2), [b"ab", None, b"\x00\x00"]),
    "decimal": (pa.decimal128(38, 18), [Decimal("1.5"), None, Decimal("-0.000001")]),
    "timestamp": (pa.timestamp("us", "UTC"), [datetime(2020, 1, 1, tzinfo=UTC), None]),
    "duration": (pa.duration("us"), [timedelta(1), None, timedelta(0)]),
    "list": (pa.large_list(pa.int64()), [[], None, [1], [None], [1, 2]]),
    "nested list": (pa.large_list(pa.large_list(pa.large_string())), [[], [[]], [["a"], None], None]),
    "vector": (pa.list_(pa.float32(), 2), [[1.0, 2.0], None, [math.nan, -0.0]]),
    "struct": (STRUCT, [{"a": 1, "b": ""}, None, {"a": None, "b": "x"}]),
    "map": (MAP, [[], None, [("a", 1)], [("a", None), ("b", 2)]]),
    "null": (pa.null(), [None, None]),
}


@pytest.mark.parametrize(("kind", "values"), COLUMNS.values(), ids=COLUMNS)
def test_form_does_not_matter(kind: pa.DataType, values: list[Any]) -> None:
    """Chunks, slices, row order, column order and bytes under a null do not change the digest."""
    whole = pa.array(values, kind)
    expected = digest_table(table(whole))
    assert digest_table(table(pa.chunked_array([whole.slice(0, 1), whole.slice(1)]))) == expected
    padded = pa.concat_arrays([whole, whole, whole]).slice(len(whole), len(whole))
    assert digest_table(table(padded)) == expected
    order = list(range(len(values)))[::-1]
    assert digest_table(table(whole).take(order)) == expected
    assert digest_table(table(whole).select(["v", "is_active", "entity_id"])) == expected
    if kind in NUMPY:
        under = np.array([7 if value is None else value for value in values], NUMPY[kind])
        mask = np.array([value is None for value in values])
        assert digest_table(table(pa.array(under, kind, mask=mask))) == expected


VALUED = {name: column for name, column in COLUMNS.items() if name != "null"}


@pytest.mark.parametrize(("kind", "values"), VALUED.values(), ids=VALUED)
def test_every_value_matters(kind: pa.DataType, values: list[Any]) -> None:
    """Another number of rows, exchanged values, another name or another type change the digest."""
    whole = pa.array(values, kind)
    digests = [digest_table(table(whole)), digest_table(table(whole.slice(1))), digest_table(table(whole.slice(0, 1)))]
    digests.append(digest_table(table(pa.concat_arrays([whole, whole]))))
    digests.append(digest_table(table(whole, ids=[2, 1, *range(3, len(values) + 1)])))
    digests.append(digest_table(table(pa.nulls(len(values), kind))))
    digests.append(digest_table(table(whole).rename_columns(["entity_id", "is_active", "w"])))
    assert len(set(digests)) == len(digests)


def test_bits_matter() -> None:
    """0.0 is not -0.0, two NaN with different payloads are two, null is not the zero beneath it, "" is not null."""
    nan, other = (struct.unpack("<d", struct.pack("<Q", 0x7FF8000000000000 + n))[0] for n in (0, 1))
    floats = [0.0, -0.0, nan, other, None, math.inf]
    assert len({digest_table(table(pa.array([value], pa.float64()))) for value in floats}) == len(floats)
    for kind, zero in (
        (pa.large_string(), ""),
        (pa.large_binary(), b""),
        (pa.large_list(pa.int64()), []),
        (pa.bool_(), False),
    ):
        assert digest_table(table(pa.array([zero], kind))) != digest_table(table(pa.array([None], kind)))


def test_boundaries_matter() -> None:
    """Texts and lists whose concatenations are equal have different digests."""
    texts = [["ab", "c"], ["a", "bc"], ["abc", ""]]
    assert len({digest_table(table(pa.array(one, pa.large_string()))) for one in texts}) == 3
    lists = [[[1, 2], [3]], [[1], [2, 3]], [[1, 2, 3], []]]
    assert len({digest_table(table(pa.array(one, pa.large_list(pa.int64())))) for one in lists}) == 3


def test_activity_and_table_matter() -> None:
    """Tombstones and the table of a row count in the digest; empty tables do not."""
    rows = table(pa.array([1]))
    dead = rows.set_column(1, "is_active", pa.array([False]))
    digests = {
        digest([("t", rows)]),
        digest([("u", rows)]),
        digest([("t", dead)]),
        digest([]),
        digest([("t", rows)] * 2),
    }
    assert len(digests) == 5
    assert digest([("t", rows), ("empty", rows.slice(0, 0))]) == digest([("t", rows)])
    assert digest([("u", rows), ("t", dead)]) == digest([("t", dead), ("u", rows)])


def test_rows_of_one_id_are_a_set() -> None:
    """The number of messages to one recipient counts in the digest; their order does not."""
    rows = table(pa.array(["a", "b", "a"], pa.large_string()), ids=[1, 1, 1])
    assert digest_table(rows) == digest_table(rows.take([1, 2, 0]))
    assert digest_table(rows) != digest_table(rows.slice(0, 2))


@given(st.lists(st.none() | st.floats(allow_nan=True), min_size=1), st.randoms(use_true_random=False))
def test_any_order_of_any_rows(values: list[float | None], random: Any) -> None:
    """Whatever the values, shuffled rows have the same digest."""
    whole = table(pa.array(values, pa.float64()))
    order = list(range(len(values)))
    random.shuffle(order)
    assert digest_table(whole) == digest_table(whole.take(order))


def test_replays_agree_and_differences_show() -> None:
    """Two equal runs have equal digests at every tick; a different one differs from its first different tick on (T10)."""

    async def play(extra: bool) -> World:
        there = world(Move(), seed=1)
        there.spawn_many([(Position(), Velocity(dx=float(n))) for n in range(5)])
        there.spawn_table({"hp": [1, 2]}, Health)
        await there.run(2)
        there.despawn(1)
        if extra:
            there.update(2, Position(x=-0.0))
        await there.run(2)
        return there

    async def scenario() -> None:
        one, two, other = [await play(extra) for extra in (False, False, True)]
        assert [one.digest(tick) for tick in range(4)] == [two.digest(tick) for tick in range(4)]
        assert [one.digest(tick) == other.digest(tick) for tick in range(4)] == [True, True, False, False]
        assert one.digest() == one.digest(3)

    drive(scenario)


def test_tags_count() -> None:
    """Entities without any field differ by their tags alone (M4)."""

    async def play(*tags: Any) -> str:
        there = world()
        there.spawn(*tags)
        await there.step()
        return there.digest()

    async def scenario() -> None:
        assert len({await play(Frozen()), await play(Flagged()), await play(Frozen(), Flagged())}) == 3

    drive(scenario)
