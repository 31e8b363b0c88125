"""Columns as numpy arrays, and numpy arrays as results (T8, T9)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pytest
from daft import DataFrame, lit
from scene import Frozen, Health, Position, Velocity, drive, world

from archetype_core.engine import Arrays, Processor, World
from archetype_core.errors import ProcessorError
from archetype_core.schema import Component, Vector


class Sample(Component):
    """A column of every kind that arrays show."""

    real: float = 1.5
    small: Annotated[float, pa.float32()] = 0.5
    count: int = 3
    tiny: Annotated[int, pa.int8()] = 4
    on: bool = True
    name: str = "ann"
    raw: bytes = b"x"
    at: Annotated[dt.datetime, pa.timestamp("us")] = dt.datetime(2020, 1, 2, 3, 4, 5)
    utc: Annotated[dt.datetime, pa.timestamp("us", "UTC")] = dt.datetime(2020, 1, 2, tzinfo=dt.UTC)
    day: dt.date = dt.date(2020, 1, 2)
    span: dt.timedelta = dt.timedelta(seconds=1)
    money: Decimal = Decimal("1.5")
    point: Annotated[list[float], Vector(2)] = [1.0, 2.0]
    tags: list[str] = []
    maybe: int | None = None


class Acts(Processor):
    """Calls a function with the arrays of every sample."""

    components = (Sample,)

    def __init__(self, act: Callable[[Arrays], Any]) -> None:
        self.act = act

    def process(self, arrays: Arrays) -> Any:
        return self.act(arrays)


def after(act: Callable[[Arrays], Any], rows: int = 3) -> World:
    """A world of samples after a tick of one processor."""

    async def scenario() -> World:
        there = world(Acts(act))
        there.spawn_many([Sample(count=n) for n in range(rows)])
        await there.run(2)
        return there

    return drive(scenario)


def column(there: World, name: str) -> pa.Array:
    """A live column."""
    (rows,) = there.tables().values()
    return rows.columns[name].arrow


def test_arrays_show_every_column_by_name_or_expression() -> None:
    """Arrays have a column's values and type, read-only, the same object each time (T9)."""
    seen: dict[str, Any] = {}

    def act(arrays: Arrays) -> dict[str, Any]:
        for name in arrays.names:
            if name not in ("sample__tags", "sample__maybe"):
                seen[name] = arrays[name]
                assert arrays[name] is seen[name]
                assert not arrays[name].flags.writeable
        assert arrays[Sample.c.real] is seen["sample__real"]
        assert Sample.c.real in arrays
        assert "sample__reel" not in arrays
        assert len(arrays) == 3
        assert arrays.entity_id.tolist() == [1, 2, 3]
        assert arrays.entity_id.dtype == np.int64
        assert "sample__real" in repr(arrays)
        return {}

    after(act)
    assert {name: array.dtype.kind for name, array in seen.items()} == {
        "sample__real": "f", "sample__small": "f", "sample__count": "i", "sample__tiny": "i", "sample__on": "b",
        "sample__name": "O", "sample__raw": "O", "sample__at": "M", "sample__utc": "M", "sample__day": "M",
        "sample__span": "m", "sample__money": "O", "sample__point": "f",
    }  # fmt: skip
    assert seen["sample__point"].tolist() == [[1.0, 2.0]] * 3
    assert seen["sample__utc"][0] == np.datetime64("2020-01-02T00:00:00")
    assert seen["sample__name"].tolist() == ["ann"] * 3


def test_numbers_times_and_vectors_share_memory() -> None:
    """Where the type allows it, an array is the column's own memory (T9)."""

    def act(arrays: Arrays) -> dict[str, Any]:
        for name in ("real", "small", "count", "tiny", "at", "utc", "span"):
            column = f"sample__{name}"
            assert arrays[column].ctypes.data == arrays.arrow(column).buffers()[1].address
        assert arrays["sample__point"].ctypes.data == arrays.arrow("sample__point").flatten().buffers()[1].address
        return {}

    after(act)


@pytest.mark.parametrize(
    ("wanted", "error", "says"),
    [
        ("sample__maybe", ValueError, r"nulls \(the first at entity 1\).*arrays.arrow\('sample__maybe'\)"),
        ("sample__tags", TypeError, r"no numpy form: read arrays.arrow\('sample__tags'\)"),
        ("sample__reel", KeyError, "did you mean sample__real?"),
        ("tick", KeyError, "has no column 'tick'"),
        (3, TypeError, "not a column"),
        (lambda: Sample.c.real + 1, TypeError, "not a column"),
    ],
)
def test_what_has_no_array_says_what_to_use(wanted: Any, error: type[Exception], says: str) -> None:
    """Nulls and nested values point to Arrow, and a misspelt column to its neighbour (T9)."""

    def act(arrays: Arrays) -> dict[str, Any]:
        with pytest.raises(error, match=says):
            arrays[wanted() if callable(wanted) else wanted]
        assert arrays.arrow(Sample.c.maybe).null_count == 3
        return {}

    after(act)


def test_arrays_see_earlier_processors_and_the_whole_table() -> None:
    """Arrays are the state after the earlier processors, with all components of the table (T9, T12)."""
    seen: list[Any] = []

    class First(Processor):
        components = (Position,)

        def process(self, df: DataFrame) -> DataFrame:
            return df.with_column("position__x", Position.c.x + lit(5.0))

    class Second(Processor):
        components = (Position,)
        priority = 1

        async def process(self, *, arrays: Arrays, tick: int) -> dict[str, Any] | None:
            seen.append((tick, arrays[Position.c.x].tolist(), sorted(arrays.names)))
            return {}

    async def scenario() -> None:
        there = world(First(), Second())
        there.spawn(Position(x=1.0), Health())
        await there.run(2)

    drive(scenario)
    assert seen == [(1, [6.0], ["health__hp", "health__seen", "position__x", "position__y"])]


def test_leaving_marks_who_is_despawned() -> None:
    """arrays.leaving is a mask of the entities that the tick despawns, in row order, also where tables are batched (T9)."""
    seen: dict[int, tuple[list[int], list[bool]]] = {}

    class Looks(Processor):
        components = (Position,)
        rowwise = True

        def process(self, arrays: Arrays, tick: int) -> dict[str, Any]:
            seen[tick] = (arrays.entity_id.tolist(), arrays.leaving.tolist())
            assert not arrays.leaving.flags.writeable
            return {}

    async def scenario() -> None:
        there = world(Looks())
        there.spawn_many([Position()] * 3)
        there.spawn_many([(Position(), Frozen())] * 2)
        await there.step()
        await there.step()
        there.despawn(3, 1, 4)
        there.add_components(2, Frozen())
        await there.step()
        await there.step()

    drive(scenario)
    assert seen == {
        1: ([1, 2, 3, 4, 5], [False] * 5),
        2: ([1, 2, 3, 4, 5], [True, False, True, True, False]),
        3: ([5, 2], [False, False]),
    }


def test_the_mask_of_an_array_means_null() -> None:
    """Masked values are nulls, which a field that is not optional refuses with the entity (T8)."""

    class Masks(Processor):
        components = (Position,)

        def process(self) -> dict[str, Any]:
            return {"position__x": np.ma.masked_array([1.0, 2.0, 3.0], [False, True, False])}

    async def scenario() -> None:
        there = world(Masks())
        there.spawn_many([Position()] * 3)
        await there.step()
        with pytest.raises(ProcessorError) as caught:
            await there.step()
        assert (caught.value.column, caught.value.entity_id) == ("position__x", 2)

    drive(scenario)


def test_an_array_that_nobody_else_holds_is_taken_over() -> None:
    """A new array becomes the column without a copy; one that the processor keeps is copied (T8)."""
    kept: list[np.ndarray[Any, Any]] = []
    places: list[int] = []

    def act(arrays: Arrays) -> dict[Any, Any]:
        mine, ours, part = arrays[Sample.c.real] + 1.0, arrays[Sample.c.count] + 1, np.arange(6, dtype=np.int8)
        points = arrays[Sample.c.point] + np.float32(1.0)
        kept.extend((ours, part))
        places.extend((mine.ctypes.data, ours.ctypes.data, points.ctypes.data))
        return {Sample.c.real: mine, Sample.c.count: ours, Sample.c.tiny: part[::2], Sample.c.point: points}

    there = after(act)
    kept[0][:] = 99
    kept[1][:] = 99
    assert column(there, "sample__real").to_pylist() == [2.5] * 3
    assert column(there, "sample__count").to_pylist() == [1, 2, 3]
    assert column(there, "sample__tiny").to_pylist() == [0, 2, 4]
    assert column(there, "sample__point").to_pylist() == [[2.0, 3.0]] * 3
    assert column(there, "sample__real").buffers()[1].address == places[0]
    assert column(there, "sample__count").buffers()[1].address != places[1]
    assert column(there, "sample__point").flatten().buffers()[1].address == places[2]


@pytest.mark.parametrize("keeper", ["mapping", "view", "base", "array"])
def test_whoever_can_still_write_gets_a_copy(keeper: str) -> None:
    """No array, view, base or mapping that the processor keeps reaches into committed rows (T8)."""
    kept: list[Any] = []

    def act(arrays: Arrays) -> Mapping[Any, Any]:
        base = np.arange(2.0 * len(arrays))
        array = base[: len(arrays)] if keeper == "base" else base[: len(arrays)].copy()
        result = {Sample.c.real: array}
        if keeper == "base":
            kept.append(base)
        if keeper == "mapping":
            kept.append(result)
        if keeper == "view":
            kept.append(array[:1])
        if keeper == "array":
            kept.append(array)
        return result

    there = after(act)
    held = kept[0][Sample.c.real] if keeper == "mapping" else kept[0]
    held[:] = 99.0
    assert column(there, "sample__real").to_pylist() == [0.0, 1.0, 2.0]


def test_arrays_that_are_returned_are_shared() -> None:
    """Returning arrays[x] unchanged changes nothing, and under another name shares its memory (T8)."""

    async def scenario() -> None:
        there = world(Swap())
        there.spawn_many([(Position(x=1.0, y=2.0), Velocity()), (Position(x=3.0, y=4.0), Velocity())])
        await there.step()
        (before,) = there.tables().values()
        await there.step()
        (rows,) = there.tables().values()
        assert rows.columns["position__x"] is before.columns["position__y"]
        assert rows.columns["position__y"] is before.columns["position__x"]
        assert rows.columns["velocity__dx"] is before.columns["velocity__dx"]

    class Swap(Processor):
        components = (Position, Velocity)

        def process(self, arrays: Arrays) -> dict[Any, Any]:
            return {
                Position.c.x: arrays[Position.c.y],
                Position.c.y: arrays[Position.c.x],
                Velocity.c.dx: arrays[Velocity.c.dx],
            }

    drive(scenario)


class Series:
    """A column of another library, known only by what it offers."""

    def __init__(self, array: Any) -> None:
        self.array = array


class Streams(Series):
    def __len__(self) -> int:
        return len(self.array)

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return pa.chunked_array([self.array]).__arrow_c_stream__(requested_schema)


class Exports(Series):
    def __arrow_c_array__(self, requested_schema: Any = None) -> Any:
        return self.array.__arrow_c_array__(requested_schema)


class Converts(Series):
    def to_arrow(self) -> Any:
        return self.array


class Tensor(Series):
    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.asarray(self.array.to_numpy())


class Pandas(Tensor):
    """Has a numpy type, and an Arrow form that would lose NaN."""

    dtype = np.dtype(np.float64)

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        raise AssertionError("NaN would become null")


@pytest.mark.parametrize("library", [Streams, Exports, Converts, Tensor, Pandas])
def test_columns_of_other_libraries_are_taken_by_protocol(library: type[Series]) -> None:
    """Polars, pandas, Daft and tensors are read by the protocols that they offer, NaN included (T8)."""
    there = after(lambda arrays: {Sample.c.real: library(pa.array([1.0, float("nan"), 3.0]))})
    values = column(there, "sample__real").to_pylist()
    assert (values[0], values[1] != values[1], values[2]) == (1.0, True, 3.0)


FORMS: dict[str, tuple[str, Any, Any]] = {
    "narrow ints": ("count", np.arange(3, dtype=np.int8), [0, 1, 2]),
    "big endian": ("count", np.arange(3, dtype=">i4"), [0, 1, 2]),
    "reversed": ("count", np.arange(3)[::-1], [2, 1, 0]),
    "ints for floats": ("real", np.arange(3), [0.0, 1.0, 2.0]),
    "narrowed floats": ("small", np.arange(3) / 2, [0.0, 0.5, 1.0]),
    "bools": ("on", np.array([True, False, True]), [True, False, True]),
    "text": ("name", np.array(["a", "b", "ü"]), ["a", "b", "ü"]),
    "objects": ("name", np.array(["a", "b", "c"], object), ["a", "b", "c"]),
    "seconds": ("at", np.array(["2020-01-01"] * 3, "datetime64[s]"), [dt.datetime(2020, 1, 1)] * 3),
    "days for times": ("at", np.array(["2020-01-01"] * 3, "datetime64[D]"), [dt.datetime(2020, 1, 1)] * 3),
    "hours": ("at", np.array(["2020-01-01T05"] * 3, "datetime64[h]"), [dt.datetime(2020, 1, 1, 5)] * 3),
    "utc": ("utc", np.array(["2020-01-01"] * 3, "datetime64[us]"), [dt.datetime(2020, 1, 1, tzinfo=dt.UTC)] * 3),
    "days": ("day", np.array(["2020-01-01"] * 3, "datetime64[D]"), [dt.date(2020, 1, 1)] * 3),
    "minutes": ("span", np.array([1, 2, 3], "timedelta64[m]"), [dt.timedelta(minutes=n) for n in (1, 2, 3)]),
    "matrix": ("point", np.arange(6.0).reshape(3, 2), [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]),
    "transposed matrix": ("point", np.arange(6.0).reshape(2, 3).T, [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]),
    "numpy scalar": ("real", np.float32(2.0), [2.0] * 3),
    "array of no dimension": ("count", np.array(7), [7] * 3),
    "one time": ("at", np.datetime64("2020-01-01T00:00:00.000000000"), [dt.datetime(2020, 1, 1)] * 3),
    "arrow scalar": ("count", pa.scalar(5, pa.int8()), [5] * 3),
    "one number": ("maybe", 5, [5] * 3),
    "nothing": ("maybe", None, [None] * 3),
    "some nothing": ("maybe", [1, None, 3], [1, None, 3]),
    "dictionary": ("name", pa.array(["a", "b", "a"]).dictionary_encode(), ["a", "b", "a"]),
    "nested lists": ("tags", [["a"], [], ["b", "c"]], [["a"], [], ["b", "c"]]),
    "list of arrays": ("point", [np.ones(2), np.zeros(2), np.ones(2)], [[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]]),
    "range": ("count", range(3), [0, 1, 2]),
    "an expression": ("real", Sample.c.count * lit(2.0), [0.0, 2.0, 4.0]),
    "a literal": ("real", lit(2.0), [2.0] * 3),
}  # fmt: skip


@pytest.mark.parametrize(("field", "value", "expected"), FORMS.values(), ids=FORMS)
def test_forms_of_values(field: str, value: Any, expected: list[Any]) -> None:
    """Values of a column in any form that keeps them are cast to the column's type (T8)."""
    there = after(lambda arrays: {f"sample__{field}": value, "_helper": object()})
    assert column(there, f"sample__{field}").to_pylist() == expected


WRONG: dict[str, tuple[dict[Any, Any], str, str | None, int | None]] = {
    "too few": ({Sample.c.count: np.arange(2)}, "2 values for 3 entities", "sample__count", 3),
    "too many": ({Sample.c.count: list(range(4))}, "4 values for 3 entities", "sample__count", None),
    "floats for ints": ({Sample.c.count: np.ones(3)}, "double does not fit int64", "sample__count", 1),
    "out of range": ({Sample.c.tiny: np.array([1, 500, 2])}, "500", "sample__tiny", 2),
    "overflow": ({Sample.c.small: np.array([1.0, 2.0, 1e300])}, "overflows float", "sample__small", 3),
    "no time": ({Sample.c.at: np.array(["2020", "NaT", "2020"], "datetime64[us]")}, "null", "sample__at", 2),
    "too fine": (
        {Sample.c.at: np.array([0, 0, 1], "datetime64[ns]")}, "does not fit timestamp[us]", "sample__at", 3,
    ),
    "matrix for numbers": ({Sample.c.real: np.ones((3, 2))}, "shape (3, 2)", "sample__real", 1),
    "numbers for vectors": ({Sample.c.point: np.ones(3)}, "double does not fit", "sample__point", 1),
    "wide vectors": ({Sample.c.point: np.ones((3, 4))}, "expected 2 floats, got 4", "sample__point", 1),
    "cube": ({Sample.c.point: np.ones((3, 2, 1))}, "shape (3, 2, 1)", "sample__point", 1),
    "complex": ({Sample.c.real: np.ones(3, complex)}, "expected float, got complex", "sample__real", 1),
    "too fine by itself": (
        {Sample.c.at: np.datetime64("2020-01-01T00:00:00.000000001")},
        "finer than a microsecond",
        "sample__at",
        1,
    ),
    "null in a list": ({Sample.c.count: [1, None, 3]}, "null", "sample__count", 2),
    "text in a list": ({Sample.c.count: [1, 2, "three"]}, "expected int, got str", "sample__count", 3),
    "a set": ({Sample.c.count: {1, 2, 3}}, "set is not a column", "sample__count", None),
    "an iterator": ({Sample.c.count: iter([1, 2, 3])}, "list_iterator is not a column", "sample__count", None),
    "an object": ({Sample.c.count: object()}, "expected int, got object", "sample__count", 1),
    "misspelt": ({"sample__cuont": 1}, "did you mean sample__count?", "sample__cuont", None),
    "base column": ({"tick": 1}, "only the engine may do", "tick", None),
    "ids": ({"entity_id": [1, 2, 3]}, "only the engine may do", "entity_id", None),
    "twice": ({Sample.c.count: 1, "sample__count": 2}, "twice", "sample__count", None),
    "no column": ({Sample.c.count + lit(1): 1}, "is not a column", None, None),
    "number as key": ({3: 1}, "is not a column", None, None),
}  # fmt: skip


@pytest.mark.parametrize(("result", "says", "name", "entity"), WRONG.values(), ids=WRONG)
def test_wrong_values_name_column_and_entity(
    result: dict[Any, Any], says: str, name: str | None, entity: int | None
) -> None:
    """A wrong value fails the tick and names processor, column and the first entity (T8)."""
    with pytest.raises(ProcessorError) as caught:
        after(lambda arrays: dict(result))
    assert says in str(caught.value)
    assert (caught.value.processor, caught.value.column, caught.value.entity_id) == ("Acts", name, entity)
