"""Predicate pushdown: a store may skip rows, but none that Daft would keep."""

from __future__ import annotations

import functools
import operator
import struct
from typing import Any

import daft
import pyarrow as pa
import pytest
from daft import Expression, col, lit
from hypothesis import given
from hypothesis import strategies as st
from scene import Move, Position, Velocity, drive, world

from archetype_core.read.pushdown import Pushdown
from archetype_core.store import MemoryStore, Scan

SCHEMA = pa.schema(
    [
        ("entity_id", pa.int64()),
        ("a__i", pa.int64()),
        ("a__j", pa.int16()),
        ("a__u", pa.uint64()),
        ("a__f", pa.float64()),
        ("a__g", pa.float32()),
        ("a__s", pa.large_string()),
        ("a__b", pa.bool_()),
    ]
)
NUMBERS: st.SearchStrategy[Any] = st.sampled_from(
    [-3, -1, 0, 1, 2, 3, 7, 1 << 53, (1 << 53) + 1, (1 << 63) - 1, -(1 << 63)]
)
NANS = [struct.unpack("<d", struct.pack("<Q", bits))[0] for bits in (0x7FF8 << 48, 0xFFF8 << 48, (0xFFF8 << 48) + 1)]
"""Not numbers: with the sign bit and without, and with a payload."""
FLOATS: st.SearchStrategy[Any] = st.sampled_from(
    [0.0, -0.0, 1.0, -1.5, 3.0, 1e300, float("inf"), float("-inf"), *NANS, 2.0**53]
)
TEXTS = st.sampled_from(["", "a", "b", "ab", "é", "\x00"])
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "tick": st.integers(0, 9),
    "entity_id": st.integers(1, 9),
    "a__i": st.none() | NUMBERS,
    "a__j": st.none() | st.integers(-4, 4),
    "a__u": st.none() | st.sampled_from([0, 1, 3, (1 << 53) + 1, (1 << 64) - 1]),
    "a__f": st.none() | FLOATS,
    "a__g": st.none() | st.sampled_from([0.0, -0.0, 1.5, 0.10000000149011612, *NANS[:2], float("inf")]),
    "a__s": st.none() | TEXTS,
    "a__b": st.none() | st.booleans(),
}
OTHERS: dict[str, st.SearchStrategy[Any]] = {"a__s": TEXTS, "a__b": st.booleans()}
WHOLE = ("tick", "entity_id", "a__i", "a__j", "a__u")
COMPARED = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]


@st.composite
def comparisons(draw: st.DrawFn) -> Expression:
    """A condition about one column."""
    name = draw(st.sampled_from(sorted(VALUES)))
    kinds = [OTHERS[name]] if name in OTHERS else [NUMBERS] if name in WHOLE else [NUMBERS, FLOATS]
    # Of one type: Daft takes no list of whole numbers and floats.
    constants = draw(st.sampled_from(kinds))
    column = col(name)
    how = draw(st.sampled_from(["compare", "flipped", "in", "between", "null", "not null"]))
    if how == "null":
        return column.is_null()
    if how == "not null":
        return column.not_null()
    if how == "in":
        return column.is_in(draw(st.lists(constants, min_size=1, max_size=3)))
    if how == "between" and name not in OTHERS:
        return column.between(draw(constants), draw(constants))
    compare = draw(st.sampled_from(COMPARED))
    value = draw(constants)
    found: Expression = compare(lit(value), column) if how == "flipped" else compare(column, value)
    return found


CONDITIONS = st.recursive(
    comparisons(),
    lambda inner: st.one_of(
        st.builds(operator.and_, inner, inner), st.builds(operator.or_, inner, inner), st.builds(operator.invert, inner)
    ),
    max_leaves=6,
)
ROWS = st.lists(st.fixed_dictionaries(VALUES), min_size=1, max_size=30)


def allowed(table: pa.Table, pushdown: Pushdown) -> set[int]:
    """The rows of a store that uses every part of a pushdown."""
    first, last = pushdown.within(0, 9)
    ids = pushdown.among(None)
    numbered = table.append_column("n", pa.array(range(table.num_rows)))
    if pushdown.rows is not None:
        numbered = numbered.filter(pushdown.rows)
    return {
        row["n"]
        for row in numbered.to_pylist()
        if first <= row["tick"] <= last and (ids is None or row["entity_id"] in ids.to_pylist())
    }


@pytest.mark.thorough
@given(rows=ROWS, condition=CONDITIONS)
def test_nothing_is_left_out_that_daft_keeps(rows: list[dict[str, Any]], condition: Expression) -> None:
    """A pushdown allows every row that matches the condition in Daft (Q2, M7)."""
    table = pa.Table.from_pylist(rows, pa.schema([("tick", pa.int64()), *SCHEMA]))
    numbered = daft.from_arrow(table.append_column("n", pa.array(range(table.num_rows))))
    kept = set(numbered.where(condition).to_pydict()["n"])
    assert kept <= allowed(table, Pushdown.of(condition, SCHEMA))


@pytest.mark.parametrize("compare", COMPARED)
@pytest.mark.parametrize("bound", [0.0, -0.0, 5.0, float("inf"), float("-inf")])
def test_no_nan_is_left_out(compare: Any, bound: float) -> None:
    """Every NaN that Daft keeps for a comparison is kept, whatever its sign bit (Q2)."""
    rows = [{"a__f": one} for one in [*NANS, 0.0, -0.0, 1.0, None]]
    table = pa.Table.from_pylist(rows, pa.schema([("a__f", pa.float64())]))
    table = table.append_column("tick", pa.repeat(0, len(rows))).append_column("entity_id", pa.repeat(1, len(rows)))
    for condition in (compare(col("a__f"), bound), compare(lit(bound), col("a__f"))):
        numbered = daft.from_arrow(table.append_column("n", pa.array(range(table.num_rows))))
        kept = set(numbered.where(condition).to_pydict()["n"])
        assert kept <= allowed(table, Pushdown.of(condition, SCHEMA))


@pytest.mark.parametrize(
    ("condition", "ticks", "ids"),
    [
        (col("tick") == lit(5), (5, 5), None),
        ((col("tick") > lit(3)) & (lit(8) >= col("tick")), (4, 8), None),
        ((col("tick") == lit(2)) | (col("tick") == lit(6)), (2, 6), None),
        (col("tick").is_in([7, 4]), (4, 7), None),
        (col("tick").between(2, 3) & (col("entity_id") == lit(4)), (2, 3), [4]),
        (col("entity_id").is_in([1, 2]) & col("entity_id").is_in([2, 3]), (0, 9), [2]),
        ((col("entity_id") == lit(1)) | (col("a__i") == lit(3)), (0, 9), None),
        (~(col("tick") == lit(5)), (0, 9), None),
        (col("tick") + 1 == lit(5), (0, 9), None),
    ],
)
def test_ticks_and_entities_are_understood(
    condition: Expression, ticks: tuple[int, int], ids: list[int] | None
) -> None:
    """Conditions on tick and entity limit the scan, alone and together; other conditions do not (Q2)."""
    pushdown = Pushdown.of(condition, SCHEMA)
    assert pushdown.within(0, 9) == ticks
    among = pushdown.among(None)
    assert (None if among is None else among.to_pylist()) == ids


@pytest.mark.parametrize(
    "condition",
    [
        col("a__i") > lit(3),
        col("a__f") <= lit(3),
        col("a__s") == lit("x"),
        (col("a__i") == lit(3)) & (col("a__b") | (col("a__j") == lit(1))),
        col("a__g").is_null(),
    ],
)
def test_rows_are_understood(condition: Expression) -> None:
    """Comparisons of numbers and texts with constants reach the store (Q2)."""
    assert Pushdown.of(condition, SCHEMA).rows is not None


class Listening(MemoryStore):
    """Remembers its scans."""

    def __init__(self) -> None:
        super().__init__()
        self.scans: list[Scan] = []

    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        self.scans.append(scan)
        return super().scan(scan)


def test_a_store_is_asked_for_no_more_than_the_condition_needs() -> None:
    """A condition on ticks, entities and values limits the scan, with the same result (Q2)."""
    store = Listening()

    async def scene() -> Any:
        there = world(Move(), store=store)
        for number in range(5):
            there.spawn(Position(), Velocity(dx=float(number)))
        await there.run(10)
        return there

    there = drive(scene)
    condition = functools.reduce(
        operator.and_, [col("tick") >= lit(4), col("tick") < lit(6), col("entity_id") == lit(3), Position.c.x > 7.0]
    )
    store.scans.clear()
    rows = there.query(Position, where=condition).to_pydict()
    assert [(tick, x) for tick, x in zip(rows["tick"], rows["position__x"], strict=True)] == [(4, 8.0), (5, 10.0)]
    (scan,) = store.scans
    assert (scan.first, scan.last) == (4, 5)
    assert scan.entity_ids is not None
    assert scan.entity_ids.to_pylist() == [3]
    assert scan.where is not None
    store.scans.clear()
    assert there.query(Position, where=col("tick") > lit(100)).count_rows() == 0
    assert store.scans == []
