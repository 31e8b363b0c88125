"""Directly evaluated expressions, compared with Daft's runner."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import daft
import pyarrow as pa
import pytest
from daft import DataFrame, DataType, col, lit
from daft.exceptions import DaftTypeError
from daft.expressions import Expression
from daft.functions import when
from hypothesis import event, example, given, reject, settings
from hypothesis import strategies as st
from scene import Health, Name, Position

from archetype_core.engine.daft.expression import read
from archetype_core.engine.daft.frame import Frame, base_columns
from archetype_core.engine.frame_result import collect_frame
from archetype_core.panic import Panic, panics_as_errors
from archetype_core.read.equality import same
from archetype_core.schema import ENTITY_ID, Archetype, Component, Snapshot


class Mixed(Component):
    a: float = 0.0
    b: float | None = None
    i: int = 0
    j: int | None = None
    p: bool = False
    q: bool | None = None
    s: str = ""
    t: str | None = None


MIXED = Archetype.of(Mixed)
BASE = {"world_id": "w", "run_id": "r", "tick": 0, "is_active": True}
INT_EXTREMES = [0, 1, -1, 2, 2**63 - 1, -(2**63), 2**53 + 1, 10]
floats = st.sampled_from([0.0, -0.0, 1.0, -1.5, 1e308, 5e-324, math.nan, math.inf, -math.inf]) | st.floats()
ints = st.sampled_from(INT_EXTREMES) | st.integers(-(2**63), 2**63 - 1)
texts = st.sampled_from(["", "a", "Abc", "ünï", "\x00", " x "]) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=4
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "a": floats,
    "b": st.none() | floats,
    "i": ints,
    "j": st.none() | ints,
    "p": st.booleans(),
    "q": st.none() | st.booleans(),
    "s": texts,
    "t": st.none() | texts,
}

rows = st.lists(st.fixed_dictionaries(VALUES), max_size=5)


def leaf(names: str, literals: st.SearchStrategy[Any]) -> st.SearchStrategy[Expression]:
    """Columns of one kind, and literals."""
    columns = st.sampled_from([f"mixed__{name}" for name in names]).map(col)
    return columns | literals.map(lit)


def binary(kind: st.SearchStrategy[Expression], *operations: Callable[[Any, Any], Expression]) -> Any:
    """An operation on two expressions."""
    return st.builds(lambda act, x, y: act(x, y), st.sampled_from(operations), kind, kind)


def unary(kind: st.SearchStrategy[Expression], *operations: Callable[[Any], Expression]) -> Any:
    """An operation on an expression."""
    return st.builds(lambda act, x: act(x), st.sampled_from(operations), kind)


numbers = st.recursive(
    # No literal zeros: the planner takes x - 0.0 for x, and a zero of the other sign is another infinity once divided by.
    leaf("ab", floats.filter(bool)) | leaf("ij", st.integers(-100, 100).filter(bool)),
    lambda part: (
        binary(
            part,
            lambda x, y: x + y,
            lambda x, y: x - y,
            lambda x, y: x * y,
            lambda x, y: x / y,
            lambda x, y: x.fill_null(y),
            lambda x, y: when(x > y, x).otherwise(y),
        )
        | unary(
            part, lambda x: x.abs(), lambda x: x.floor(), lambda x: x.sqrt(), lambda x: x.negate(), lambda x: x.sin()
        )
    ),
    max_leaves=6,
)
strings = st.recursive(
    leaf("st", texts),
    lambda part: (
        binary(part, lambda x, y: x + y, lambda x, y: when(x < y, x).otherwise(y), lambda x, y: x.fill_null(y))
        | unary(part, lambda x: x.upper(), lambda x: x.lower(), lambda x: x.strip(), lambda x: x.reverse())
    ),
    max_leaves=5,
)
truths = st.recursive(
    leaf("pq", st.booleans())
    | binary(numbers, lambda x, y: x < y, lambda x, y: x == y, lambda x, y: x >= y, lambda x, y: x != y)
    | binary(strings, lambda x, y: x < y, lambda x, y: x == y, lambda x, y: x.startswith(y), lambda x, y: x.contains(y))
    | unary(numbers, lambda x: x.is_null(), lambda x: x.not_null()),
    lambda part: (
        binary(part, lambda x, y: x & y, lambda x, y: x | y, lambda x, y: x ^ y)
        | unary(part, lambda x: ~x)
        | st.builds(lambda p, x, y: when(p, x).otherwise(y), part, part, part)
    ),
    max_leaves=5,
)
expressions = (
    numbers
    | strings
    | truths
    | st.builds(lambda p, x, y: when(p, x).otherwise(y), truths, numbers, numbers)
    | st.builds(lambda x, kind: x.cast(kind), numbers, st.sampled_from([DataType.float32(), DataType.int64()]))
    | unary(strings, lambda x: x.length(), lambda x: x.length_bytes())
)
# A column stays of its kind, or becomes anything: then later steps may not fit it, and that has to come out the same.
KEPT = {"ab": numbers, "ij": numbers, "pq": truths, "st": strings}
stages = st.fixed_dictionaries(
    {}, optional={f"mixed__{name}": kind for names, kind in KEPT.items() for name in names}
).filter(bool)
mixed_stages = st.dictionaries(
    st.sampled_from([f"mixed__{name}" for name in VALUES]), expressions, min_size=1, max_size=3
)


def snapshot(values: list[dict[str, Any]]) -> Snapshot:
    """Rows of the mixed table."""
    columns: dict[str, Any] = {ENTITY_ID: pa.array(range(1, len(values) + 1), pa.int64())}
    for field in MIXED.schema:
        if field.name != ENTITY_ID:
            columns[field.name] = pa.array([row[field.name[7:]] for row in values], field.type)
    return Snapshot.from_arrow(MIXED, pa.table(columns, schema=MIXED.schema))


def evaluated(prior: Snapshot, stages: list[Mapping[str, Expression]]) -> Mapping[str, pa.Array]:
    """The changed columns as the engine evaluates them."""
    frame: DataFrame = Frame(prior, base_columns(BASE))
    for stage in stages:
        frame = frame.with_columns(dict(stage))
    assert isinstance(frame, Frame)
    return {name: column.arrow for name, column in collect_frame(frame, prior, {}).items()}


def directly(prior: Snapshot, stages: list[Mapping[str, Expression]]) -> Mapping[str, pa.Array] | None:
    """The changed columns as the engine evaluates them; ``None`` for an error."""
    try:
        return evaluated(prior, stages)
    except Exception as failure:  # noqa: BLE001  # reason: Daft has no common type of error
        event(f"error: {type(failure).__name__}")
        return None


def by_runner(prior: Snapshot, stages: list[Mapping[str, Expression]]) -> Mapping[str, pa.Array] | None:
    """The same columns from an ordinary DataFrame, collected after every step."""
    try:
        with panics_as_errors():
            frame = daft.from_arrow(prior.to_arrow())
            for stage in stages:
                frame = frame.with_columns(dict(stage)).collect()
            table = frame.to_arrow()
    except (pa.ArrowInvalid, Panic):
        # Daft's planner promised one type and gave another (a condition that is always false, say), or gave up in the
        # middle: no answer to compare.
        reject()
    except Exception:  # noqa: BLE001  # reason: Daft has no common type of error
        return None
    changed = dict.fromkeys(name for stage in stages for name in stage)
    return {name: table.column(name).combine_chunks() for name in changed}


def plain(value: float | None) -> str:
    """A float as text, without the sign of a zero."""
    return repr(0.0 if value == 0 else value)


def assert_same(left: Mapping[str, pa.Array] | None, right: Mapping[str, pa.Array] | None) -> None:
    """Both failed, or both gave the same types and values; NaN is NaN whatever its payload.

    Daft plans x - 0.0 as x, also where that changes the sign of a zero; evaluated directly it is what IEEE 754 says.
    """
    assert (left is None) == (right is None)
    if left is None or right is None:
        return
    assert {name: array.type for name, array in left.items()} == {name: array.type for name, array in right.items()}
    for name, array in left.items():
        assert len(array) == len(right[name])
        if pa.types.is_floating(array.type):
            assert list(map(plain, array.to_pylist())) == list(map(plain, right[name].to_pylist()))
        else:
            assert same(array, right[name]).all()


@pytest.mark.thorough
@settings(max_examples=150)
@given(rows, st.lists(stages, min_size=1, max_size=3))
def test_both_paths_give_the_same_frame(values: list[dict[str, Any]], steps: list[Mapping[str, Expression]]) -> None:
    """Any expressions over any values give the same columns, types and failures, planned or not (T12, T13)."""
    prior = snapshot(values)
    is_direct = all(
        (reading := read(one)) is not None and reading.is_rowwise for step in steps for one in step.values()
    )
    event(f"direct: {is_direct}")
    assert_same(directly(prior, steps), by_runner(prior, steps))


ZEROS: dict[str, Any] = {"a": 0.0, "b": 0.0, "i": 0, "j": 0, "p": False, "q": False, "s": "", "t": ""}
WRONG_BRANCHES = [
    when(lit(False), col("mixed__s").abs().is_null()).otherwise(lit(True)),
    when(lit(True), lit(True)).otherwise(col("mixed__s").abs().is_null()),
    when(lit(False), when(lit(True), lit(True)).otherwise(col("mixed__s").abs().is_null())).otherwise(lit(True)),
]


@pytest.mark.parametrize("wrong", WRONG_BRANCHES, ids=["then", "otherwise", "nested"])
@pytest.mark.parametrize("count", [0, 1])
def test_a_branch_that_is_never_taken_must_fit_too(wrong: Expression, count: int) -> None:
    """A type error in a branch that a literal condition rules out is refused on both paths (T8)."""
    prior = snapshot([ZEROS] * count)
    with pytest.raises(DaftTypeError, match="abs to be numeric"):
        evaluated(prior, [{"mixed__p": wrong}])
    assert by_runner(prior, [{"mixed__p": wrong}]) is None


def test_a_branch_that_is_never_taken_may_have_another_type() -> None:
    """A literal condition chooses a branch, whatever the type of the other."""
    chosen = {"mixed__a": when(lit(False), col("mixed__i")).otherwise(col("mixed__b") + 1.5)}
    assert evaluated(snapshot([ZEROS]), [chosen])["mixed__a"].to_pylist() == [1.5]


@pytest.mark.thorough
@settings(max_examples=100)
@given(rows.filter(bool), st.lists(mixed_stages, min_size=1, max_size=3))
@example([ZEROS], [{"mixed__p": WRONG_BRANCHES[0]}])
def test_both_paths_refuse_the_same(values: list[dict[str, Any]], steps: list[Mapping[str, Expression]]) -> None:
    """Steps that change the type of a column work on both paths, or fail on both (T8)."""
    prior = snapshot(values)
    assert_same(directly(prior, steps), by_runner(prior, steps))


@settings(max_examples=100)
@given(rows, expressions)
@example([], lit(1))
@example([dict.fromkeys(VALUES) | {"a": 0.0, "i": 0, "p": False, "s": ""}], lit(1) + lit(2))
def test_common_expressions_are_read(values: list[dict[str, Any]], expression: Expression) -> None:
    """Arithmetic, comparisons, conditions and string functions take the direct path; only adding 0 may need a plan."""
    reading = read(expression)
    assert reading is not None
    assert (
        reading.is_rowwise or "+ lit(" in repr(expression) or ") + " in repr(expression) or "] + " in repr(expression)
    )
    assert reading.columns <= set(MIXED.schema.names)


@pytest.mark.parametrize(
    "expression",
    [
        col("mixed__a").sum(),
        col("mixed__a").mean().over(daft.Window().partition_by("mixed__p")),
        col("mixed__a").apply(lambda x: x, DataType.float64()),
        daft.func(lambda x: x, return_dtype=DataType.float64())(col("mixed__a")),
        daft.func(lambda x: x, return_dtype=DataType.float64())(col("mixed__a")) + lit(1.0),
        when(col("mixed__p"), col("mixed__a").apply(lambda x: x, DataType.float64())).otherwise(lit(0.0)),
    ],
    ids=["aggregate", "window", "apply", "function", "function in arithmetic", "apply in a condition"],
)
def test_what_is_not_row_by_row_goes_to_the_runner(expression: Expression) -> None:
    """Aggregates, windows and Python code are not row-wise, also deep inside an expression (T12)."""
    reading = read(expression)
    assert reading is None or not reading.is_rowwise


def test_literals_that_are_equal_in_python_are_told_apart() -> None:
    """Literals that are equal in Python, such as 1 and True, are different expressions."""
    prior = snapshot([dict.fromkeys(VALUES) | {"a": 1.0, "i": 1, "p": True, "s": "x"}] * 2)
    for literal in (1, 1.0, True, "1", -0.0, 0.0):
        assert_same(directly(prior, [{"mixed__a": lit(literal)}]), by_runner(prior, [{"mixed__a": lit(literal)}]))


def test_direct_path_never_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recorded column steps are evaluated without a plan (T11)."""
    planned: list[pa.Table] = []
    from_arrow = daft.from_arrow

    def planning(table: pa.Table) -> DataFrame:
        planned.append(table)
        return from_arrow(table)

    monkeypatch.setattr(daft, "from_arrow", planning)
    frame = Frame(snapshot([]), base_columns(BASE))
    changed = frame.with_column("mixed__a", col("mixed__a") + lit(1.0)).with_columns({"mixed__i": lit(1)})
    assert isinstance(changed, Frame)
    collect_frame(changed, frame.snapshot, {})
    assert planned == []
    changed.where(lit(True))
    assert len(planned) == 1


@pytest.mark.parametrize("kinds", [(Position,), (Position, Health), (Name, Health)])
def test_frame_has_the_columns_of_its_table(kinds: tuple[type[Component], ...]) -> None:
    """A frame has entity id, component columns and base columns, planned or not (M5)."""
    archetype = Archetype.of(*kinds)
    frame = Frame(Snapshot.empty(archetype), base_columns(BASE))
    assert frame.column_names == [*archetype.schema.names, "world_id", "run_id", "tick", "is_active"]
    planned = frame.where(lit(True))
    assert planned.column_names == frame.column_names
    assert [one.dtype for one in planned.schema()] == [one.dtype for one in frame.schema()]
