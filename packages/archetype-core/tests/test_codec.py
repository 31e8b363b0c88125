"""Every field type: what it is stored as, what comes back, and what is refused."""

from __future__ import annotations

import datetime as dt
import enum
import json
import math
import struct
import typing
import zoneinfo
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal, Optional
from uuid import UUID

import daft
import numpy as np
import pyarrow as pa
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archetype_core.errors import ComponentTypeError, ValueRejected
from archetype_core.schema import Component, Vector


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2**40


class Mixed(enum.Enum):
    ONE = 1
    TWO = "two"
    PAIR = (1, 2)


class Rights(enum.IntFlag):
    READ = 1
    WRITE = 2


class Point(pydantic.BaseModel):
    x: float
    label: str | None = None


class Nested(pydantic.BaseModel):
    point: Point
    when: dt.datetime
    tags: dict[str, list[int]]
    narrow: Annotated[float, pa.float32()] = 0.0


class Inner(Component):
    size: int = 0


ZONES = ["UTC", "Europe/Berlin", "Asia/Kolkata", "America/New_York", "Pacific/Apia"]
INT64 = st.integers(-(2**63), 2**63 - 1)
FLOAT = st.floats() | st.sampled_from([math.nan, -math.nan, math.inf, -math.inf, -0.0, 5e-324])
FLOAT32 = st.floats(width=32)
FLOAT16 = st.floats(width=16)
TEXT = st.text() | st.just("")
NAIVE = st.datetimes()
# offsets may be finer than a minute; a day inside the ends of time leaves room for them
AWARE = st.datetimes(
    dt.datetime(1, 1, 2),
    dt.datetime(9999, 12, 30),
    timezones=st.sampled_from([zoneinfo.ZoneInfo(name) for name in ZONES])
    | st.builds(
        dt.timezone,
        st.timedeltas(dt.timedelta(hours=-23), dt.timedelta(hours=23)),
    )
    | st.just(dt.UTC),
)
DECIMAL = st.decimals(
    min_value=Decimal(-(10**20) + 1), max_value=Decimal(10**20 - 1), allow_nan=False, allow_infinity=False, places=18
)
POINT = st.builds(Point, x=FLOAT, label=st.none() | TEXT)
NESTED = st.builds(
    Nested,
    point=POINT,
    when=NAIVE | AWARE,
    tags=st.dictionaries(TEXT, st.lists(INT64, max_size=3), max_size=3),
    narrow=FLOAT32,
)
DURATION = st.timedeltas(dt.timedelta(days=-100_000_000), dt.timedelta(days=100_000_000))

# annotation, Arrow types of its columns, values
TYPES: dict[str, tuple[Any, list[pa.DataType], st.SearchStrategy[Any]]] = {
    "bool": (bool, [pa.bool_()], st.booleans()),
    "int": (int, [pa.int64()], INT64),
    "int8": (Annotated[int, pa.int8()], [pa.int8()], st.integers(-128, 127)),
    "uint64": (Annotated[int, pa.uint64()], [pa.uint64()], st.integers(0, 2**64 - 1)),
    "float": (float, [pa.float64()], FLOAT),
    "float32": (Annotated[float, pa.float32()], [pa.float32()], FLOAT32),
    "float16": (Annotated[float, pa.float16()], [pa.float16()], FLOAT16),
    "str": (str, [pa.large_string()], TEXT),
    "string": (Annotated[str, pa.string()], [pa.large_string()], TEXT),
    "bytes": (bytes, [pa.large_binary()], st.binary()),
    "fixed bytes": (Annotated[bytes, pa.binary(3)], [pa.binary(3)], st.binary(min_size=3, max_size=3)),
    "datetime": (dt.datetime, [pa.timestamp("us"), pa.large_string()], NAIVE | AWARE),
    "optional datetime": (
        Optional[dt.datetime],  # noqa: UP045  # reason: the other spelling of optional
        [pa.timestamp("us"), pa.large_string()],
        st.none() | NAIVE | AWARE,
    ),
    "aware": (pydantic.AwareDatetime, [pa.timestamp("us", "UTC")], AWARE),
    "naive": (pydantic.NaiveDatetime, [pa.timestamp("us")], NAIVE),
    "seconds": (
        Annotated[dt.datetime, pa.timestamp("s")],
        [pa.timestamp("s")],
        NAIVE.map(lambda value: value.replace(microsecond=0)),
    ),
    "zoned": (
        Annotated[dt.datetime, pa.timestamp("us", "Europe/Berlin")],
        [pa.timestamp("us", "Europe/Berlin")],
        AWARE.map(lambda value: value.astimezone(zoneinfo.ZoneInfo("Europe/Berlin"))),
    ),
    "date": (dt.date, [pa.date32()], st.dates()),
    "timedelta": (dt.timedelta, [pa.duration("us")], DURATION),
    "Decimal": (Decimal, [pa.decimal128(38, 18)], DECIMAL),
    "narrow decimal": (
        Annotated[Decimal, pa.decimal128(5, 2)],
        [pa.decimal128(5, 2)],
        st.decimals(-999, 999, places=2),
    ),
    "UUID": (UUID, [pa.large_string()], st.uuids()),
    "str enum": (Color, [pa.large_string()], st.sampled_from(Color)),
    "int enum": (Level, [pa.int64()], st.sampled_from(Level)),
    "named enum": (Mixed, [pa.large_string()], st.sampled_from(Mixed)),
    "flag": (Rights, [pa.int64()], st.integers(0, 3).map(Rights)),
    "str literal": (Literal["a", "b"], [pa.large_string()], st.sampled_from(["a", "b"])),
    "int literal": (Literal[1, 2], [pa.int64()], st.sampled_from([1, 2])),
    "bool literal": (Literal[True], [pa.bool_()], st.just(True)),
    "optional literal": (Literal["a", None], [pa.large_string()], st.sampled_from(["a", None])),
    "optional": (int | None, [pa.int64()], st.none() | INT64),
    "optional override": (Annotated[int, pa.int16()] | None, [pa.int16()], st.none() | st.integers(-9, 9)),
    "list": (list[float], [pa.large_list(pa.field("item", pa.float64()))], st.lists(FLOAT)),
    "list of optional": (
        list[Annotated[int, pa.int16()] | None],
        [pa.large_list(pa.field("item", pa.int16()))],
        st.lists(st.none() | st.integers(-9, 9)),
    ),
    "list of list": (
        list[list[str]],
        [pa.large_list(pa.field("item", pa.large_list(pa.field("item", pa.large_string()))))],
        st.lists(st.lists(TEXT)),
    ),
    "list of datetime": (
        list[dt.datetime],
        [
            pa.large_list(
                pa.field("item", pa.struct([("at", pa.timestamp("us")), ("zone", pa.large_string())])),
            )
        ],
        st.lists(NAIVE | AWARE, max_size=3),
    ),
    "model": (Point, [pa.struct([("x", pa.float64()), ("label", pa.large_string())])], POINT),
    "optional model": (
        Point | None,
        [pa.struct([("x", pa.float64()), ("label", pa.large_string())])],
        st.none() | POINT,
    ),
    "nested model": (
        Nested,
        [
            pa.struct(
                [
                    ("point", pa.struct([("x", pa.float64()), ("label", pa.large_string())])),
                    ("when", pa.struct([("at", pa.timestamp("us")), ("zone", pa.large_string())])),
                    ("tags", pa.map_(pa.large_string(), pa.large_list(pa.field("item", pa.int64())))),
                    ("narrow", pa.float32()),
                ]
            )
        ],
        NESTED,
    ),
    "component": (Inner, [pa.struct([("size", pa.int64())])], st.builds(Inner, size=INT64)),
    "dict": (dict[str, int], [pa.map_(pa.large_string(), pa.int64())], st.dictionaries(TEXT, INT64)),
    "dict of enum": (
        dict[str, Color],
        [pa.map_(pa.large_string(), pa.large_string())],
        st.dictionaries(TEXT, st.sampled_from(Color)),
    ),
    "dict of model": (
        dict[str, Point],
        [pa.map_(pa.large_string(), pa.struct([("x", pa.float64()), ("label", pa.large_string())]))],
        st.dictionaries(TEXT, POINT, max_size=3),
    ),
    "optional list": (list[UUID] | None, [pa.large_list(pa.field("item", pa.large_string()))], st.lists(st.uuids())),
    "Vector": (Vector(3), [pa.list_(pa.float32(), 3)], st.lists(FLOAT32, min_size=3, max_size=3)),
    "optional Vector": (
        Vector(2) | None,
        [pa.list_(pa.float32(), 2)],
        st.none() | st.lists(FLOAT32, min_size=2, max_size=2),
    ),
}


def holding(annotation: Any, name: str = "Holder", **more: Any) -> type[Component]:
    """Return a component class with one field, `value`."""
    return type(name, (Component,), {"__annotations__": {"value": annotation}, "__module__": __name__, **more})


HOLDERS = {
    name: holding(annotation, f"Holder{index}") for index, (name, (annotation, _, _)) in enumerate(TYPES.items())
}


def exact(value: Any) -> Any:
    """Return a form in which equal means the same to the bit, zone and type included."""
    match value:
        case bool() | int() | str() | bytes() | None | enum.Enum():
            return type(value), value
        case float():
            return struct.pack(">d", value)
        case dt.datetime():
            # the zones of offset 0 are one
            zone = value.tzinfo.key if isinstance(value.tzinfo, zoneinfo.ZoneInfo) else value.utcoffset()
            zone = dt.timedelta(0) if zone == "UTC" else zone
            return value.replace(tzinfo=None, fold=0), value.utcoffset(), zone
        case pydantic.BaseModel():
            return type(value), {key: exact(held) for key, held in value.__dict__.items()}
        case list():
            return [exact(item) for item in value]
        case dict():
            return [(key, exact(item)) for key, item in value.items()]
    return type(value), value


def imaginary(value: Any) -> bool:
    """Say whether a datetime names a wall time that its zone skips."""
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        back = value.astimezone(dt.UTC).astimezone(value.tzinfo)
        return back.replace(tzinfo=None, fold=0) != value.replace(tzinfo=None, fold=0)
    if isinstance(value, pydantic.BaseModel):
        return any(map(imaginary, value.__dict__.values()))
    return isinstance(value, list) and any(map(imaginary, value))


def table(components: list[Any]) -> pa.Table:
    """The stored form of some components."""
    component_type = components[0].component_type()
    rows = [component_type.values(component) for component in components]
    schema = pa.schema(component_type.fields)
    made = pa.Table.from_arrays(component_type.arrays(rows), schema=schema)
    made.validate(full=True)
    return made


def rows_of(stored: pa.Table) -> list[dict[str, Any]]:
    """The rows of a stored table as `decode` takes them."""
    rows: list[dict[str, Any]] = stored.to_pylist(maps_as_pydicts="strict")
    return rows


def comparable(name: str, value: Any) -> Any:
    """A value in a form that compares bit by bit."""
    # one column without a zone of its own keeps the instant
    if name == "aware":
        return value.astimezone(dt.UTC)
    return value


@pytest.mark.parametrize("name", TYPES)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_values_come_back_exactly(name: str, data: st.DataObject) -> None:
    """Each supported type stores its values and gives them back to the bit. (M2, M7)"""
    values = data.draw(st.lists(TYPES[name][2].filter(lambda value: not imaginary(value)), min_size=1, max_size=3))
    components = [HOLDERS[name](value=value) for value in values]
    component_type = HOLDERS[name].component_type()
    decoded = [component_type.decode(row) for row in rows_of(table(components))]
    assert [exact(comparable(name, component.value)) for component in components] == [
        exact(component.value) for component in decoded
    ]
    assert all(type(component) is HOLDERS[name] for component in decoded)


@pytest.mark.parametrize("name", TYPES)
@settings(deadline=None, max_examples=4)
@given(data=st.data())
def test_daft_changes_neither_type_nor_value(name: str, data: st.DataObject) -> None:
    """A column goes through Daft with its type and every value intact. (M2, M7)"""
    values = data.draw(st.lists(TYPES[name][2].filter(lambda value: not imaginary(value)), min_size=1, max_size=5))
    components = [HOLDERS[name](value=value) for value in values]
    component_type = HOLDERS[name].component_type()
    before = table(components)
    after = daft.from_arrow(before).to_arrow()
    assert before.schema.types == after.schema.types
    decoded = [component_type.decode(row) for row in rows_of(after)]
    assert [exact(comparable(name, component.value)) for component in components] == [
        exact(component.value) for component in decoded
    ]


@pytest.mark.parametrize("name", TYPES)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_payloads_survive_json_exactly(name: str, data: st.DataObject) -> None:
    """A payload goes through JSON text and rebuilds the value to the bit. (M3, M7)"""
    value = data.draw(TYPES[name][2].filter(lambda value: not imaginary(value)))
    component = HOLDERS[name](value=value)
    text = json.dumps(component.to_payload(), allow_nan=False)
    assert exact(component.value) == exact(HOLDERS[name].from_payload(json.loads(text)).value)


@pytest.mark.parametrize("name", TYPES)
def test_arrow_types_are_canonical(name: str) -> None:
    """Each supported type has one Arrow form, nullable only if it is optional. (M2)"""
    fields = HOLDERS[name].component_type().fields
    assert [field.type for field in fields] == TYPES[name][1]
    assert fields[0].nullable is ("optional" in name and name != "list of optional")


@given(bits=st.integers(0, 2**64 - 1))
def test_every_float_keeps_its_bits(bits: int) -> None:
    """NaN payloads and the sign of zero are kept, in the column and in JSON. (M7)"""
    [value] = struct.unpack(">d", bits.to_bytes(8, "big"))
    component = HOLDERS["float"](value=value)
    [row] = rows_of(table([component]))
    again = HOLDERS["float"].from_payload(json.loads(json.dumps(component.to_payload())))
    assert struct.pack(">d", component.value) == struct.pack(">d", row[next(iter(row))])
    assert struct.pack(">d", component.value) == struct.pack(">d", again.value)


@given(value=st.floats(-3e38, 3e38))
def test_narrow_floats_are_rounded_once(value: float) -> None:
    """A component holds the rounded value that its float32 column stores. (M2, M7)"""
    component = HOLDERS["float32"](value=value)
    assert component.value == float(np.float32(value))
    [row] = rows_of(table([component]))
    assert component.value == row[next(iter(row))]


def test_an_imaginary_time_keeps_wall_time_and_instant() -> None:
    """A wall time that its zone skips is stored with its offset, losing neither wall time nor instant. (M7)"""
    skipped = dt.datetime(2024, 3, 31, 2, 30, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
    [row] = rows_of(table([HOLDERS["datetime"](value=skipped)]))
    back = HOLDERS["datetime"].component_type().decode(row).value
    assert back.replace(tzinfo=None) == skipped.replace(tzinfo=None)
    assert back.utcoffset() == skipped.utcoffset()


@pytest.mark.parametrize("fold", [0, 1])
def test_both_readings_of_an_ambiguous_time_are_kept(fold: int) -> None:
    """The hour that a zone repeats comes back as the one it was. (M7)"""
    twice = dt.datetime(2024, 10, 27, 2, 30, fold=fold, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
    component = HOLDERS["datetime"](value=twice)
    [row] = rows_of(table([component]))
    back = HOLDERS["datetime"].component_type().decode(row).value
    again = HOLDERS["datetime"].from_payload(json.loads(json.dumps(component.to_payload()))).value
    assert (twice, fold, twice.utcoffset()) == (back, back.fold, back.utcoffset())
    assert (twice, fold, twice.utcoffset()) == (again, again.fold, again.utcoffset())


class Tree(pydantic.BaseModel):
    children: list[Tree] = []


class Loose(pydantic.BaseModel, extra="allow"):
    x: int = 0


class Hollow(pydantic.BaseModel):
    kind: ClassVar[str] = "hollow"


class Huge(enum.Enum):
    BIG = 2**63


class Nobody(enum.Enum):
    pass


class Opaque:
    pass


class Wrapped(pydantic.RootModel[list[int]]):
    pass


T = typing.TypeVar("T")


@pytest.mark.parametrize(
    ("annotation", "remedy"),
    [
        (complex, "Use one of"),
        (Any, "Use one of"),
        (object, "Use one of"),
        (Opaque, "Use one of"),
        (Callable[[], int], "Use one of"),
        (dt.time, "Use one of"),
        (type(None), "Use one of"),
        (set[int], r"list\[T\]"),
        (frozenset[int], r"list\[T\]"),
        (tuple[int, str], r"list\[T\]"),
        (tuple[int, ...], r"list\[T\]"),
        (Sequence[int], r"list\[T\]"),
        (list, r"list\[T\]"),
        (typing.List, r"list\[T\]"),  # noqa: UP006  # reason: the spelling that is refused
        (dict, r"dict\[str, T\]"),
        (Mapping[str, int], r"dict\[str, T\]"),
        (dict[int, int], r"dict\[str, T\]"),
        (int | str, "optional field"),
        (int | str | None, "optional field"),
        (list[int | str], "optional field"),
        (Literal[1, "a"], "Enum"),
        (Literal[b"a"], "Enum"),
        (Literal[2**63], "fit the column"),
        (Huge, "fit the column"),
        (Annotated[Level, pa.int8()], "fit the column"),
        (Nobody, "Give it members"),
        (Tree, "entity id"),
        (list[Tree], "entity id"),
        (Loose, "extra='allow'"),
        (Hollow, "Give it a field"),
        (Wrapped, "Use the type that it wraps"),
        (T, "concrete type"),
        ("NotDefinedAnywhere", "before this class"),
        (Annotated[int, pa.float64()], "Arrow integer"),
        (Annotated[float, pa.int64()], r"pa.float32\(\)"),
        (Annotated[bool, pa.int8()], "pa.bool_"),
        (Annotated[str, pa.large_binary()], "large_string"),
        (Annotated[bytes, pa.large_string()], "large_binary"),
        (Annotated[Decimal, pa.decimal256(50, 2)], "decimal128"),
        (Annotated[dt.datetime, pa.timestamp("ns")], "'us'"),
        (Annotated[dt.datetime, pa.timestamp("us", "Nowhere/Land")], "zoneinfo"),
        (Annotated[pydantic.AwareDatetime, pa.timestamp("us")], "a zone"),
        (Annotated[pydantic.NaiveDatetime, pa.timestamp("us", "UTC")], "a zone"),
        (Annotated[dt.timedelta, pa.duration("ns")], "'us'"),
        (Annotated[dt.date, pa.date64()], "date32"),
        (Annotated[list[int], pa.large_list(pa.int8())], "item type"),
        (Annotated[Point, pa.int8()], "item type"),
    ],
)
def test_types_with_no_arrow_form_are_refused(annotation: Any, remedy: str) -> None:
    """A type with no Arrow form is a TypeError at the class, naming class, field and remedy. (M2)"""
    with pytest.raises(ComponentTypeError, match=remedy) as refusal:
        holding(annotation, "Refused")
    assert isinstance(refusal.value, TypeError)
    assert refusal.value.component == "Refused"
    assert refusal.value.field.startswith("value")


def test_a_nested_refusal_names_the_inner_field() -> None:
    """A refused field of a nested model is named by its path. (M2)"""

    class Bag(pydantic.BaseModel):
        things: set[int] = set()

    with pytest.raises(ComponentTypeError) as refusal:
        holding(list[Bag], "Refused")
    assert refusal.value.field == "value.things"


LONE = "\ud800"
FAR = dt.timezone(dt.timedelta(hours=5))


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("bool", 1, "expected bool"),
        ("int", True, "expected int"),
        ("int", 1.0, "expected int"),
        ("int", "1", "expected int"),
        ("int", 2**63, "outside int64"),
        pytest.param("int", 10**5000, "outside int64", id="int-beyond-str"),
        ("int", None, "expected int"),
        ("int8", 128, "outside int8"),
        ("uint64", -1, "outside uint64"),
        ("float", True, "expected float"),
        ("float", "1.0", "expected float"),
        ("float", 2**53 + 1, "not exact"),
        pytest.param("float", 10**5000, "overflows", id="float-beyond-str"),
        ("float32", 1e39, "overflows"),
        ("float16", 70000.0, "overflows"),
        ("str", b"a", "expected str"),
        ("str", LONE, "surrogate"),
        ("bytes", "a", "expected bytes"),
        ("fixed bytes", b"ab", "expected 3 bytes"),
        ("datetime", dt.date(2000, 1, 1), "expected datetime"),
        ("datetime", dt.datetime.min.replace(tzinfo=FAR), "out of range"),
        ("aware", dt.datetime(2000, 1, 1), "expected an aware"),
        ("naive", dt.datetime(2000, 1, 1, tzinfo=dt.UTC), "expected a naive"),
        ("seconds", dt.datetime(2000, 1, 1, microsecond=1), "finer"),
        ("date", dt.datetime(2000, 1, 1), "expected date"),
        ("timedelta", dt.timedelta.max, "out of range"),
        ("timedelta", 1, "expected timedelta"),
        ("Decimal", Decimal("NaN"), "no decimal form"),
        ("Decimal", Decimal("Infinity"), "no decimal form"),
        ("Decimal", Decimal("1e-19"), "exactly"),
        ("Decimal", Decimal("1e20"), "exactly"),
        ("Decimal", Decimal("1e999999"), "exactly"),
        ("narrow decimal", Decimal(1000), "exactly"),
        ("Decimal", 1.5, "expected Decimal"),
        ("UUID", "not one", "expected UUID"),
        ("str enum", "red", "expected Color"),
        ("int enum", 1, "expected Level"),
        ("str literal", "c", "none of"),
        ("int literal", True, "none of"),
        ("optional override", 2**15, "outside int16"),
        ("list", (1.0,), "expected list"),
        ("list", [1.0, None], r"\[1\]: expected float"),
        ("list of list", [["a"], [LONE]], r"\[1\]: \[0\]: .*surrogate"),
        ("model", {"x": 1.0}, "expected Point"),
        ("model", Point.model_construct(x="a"), r"\.x: expected float"),
        ("model", Point.model_construct(label=None), r"\.x: the value is missing"),
        ("dict", {1: 1}, "key: expected str"),
        ("dict", {"a": 2**63}, r"\['a'\]: .*outside"),
        ("dict", [("a", 1)], "expected dict"),
        ("Vector", [1.0, 2.0], "expected 3 floats, got 2"),
        ("Vector", [1.0, 2.0, 1e39], "overflows float32"),
        ("Vector", [1.0, 2.0, "a"], r"\[2\]: expected float"),
        ("Vector", [1.0, 2.0, True], r"\[2\]: expected float"),
        ("Vector", "abc", "expected 3 floats"),
        ("Vector", np.zeros((3, 2)), r"\[0\]: expected float"),
        ("Vector", np.float32(1), "expected 3 floats"),
    ],
)
def test_values_without_a_place_are_refused(name: str, value: Any, reason: str) -> None:
    """What a column cannot hold is a ValueRejected with the field's name, however it got into the instance. (M7)"""
    component_type = HOLDERS[name].component_type()
    with pytest.raises(ValueRejected, match=reason) as refusal:
        component_type.values(HOLDERS[name].model_construct(value=value))
    assert (refusal.value.component, refusal.value.field) == (component_type.name, "value")


def test_a_subclass_of_a_nested_model_is_refused() -> None:
    """A nested model of a subclass may hold more than the column, and is refused. (M7)"""

    class Point3(Point):
        z: float = 0.0

    with pytest.raises(ValueRejected, match="expected Point, got Point3"):
        HOLDERS["model"].component_type().values(HOLDERS["model"](value=Point3(x=1)))


def test_an_int_in_a_float_field_is_a_float() -> None:
    """An int that is exact as a float is stored as one. (M7)"""
    component = HOLDERS["float"].model_construct(value=3)
    [stored] = HOLDERS["float"].component_type().values(component)
    assert (type(stored), stored) == (float, 3.0)


def test_a_staged_list_is_a_copy() -> None:
    """Changing a list after it was given does not change what was given. (M7)"""
    component = HOLDERS["list"](value=[1.0])
    [stored] = HOLDERS["list"].component_type().values(component)
    component.value.append(2.0)
    assert stored == [1.0]


def test_use_enum_values_holds_and_restores_raw_values() -> None:
    """A component that holds the values of an enum gets values back. (M2, M7)"""
    raw = holding(Color, "RawColor", model_config={"use_enum_values": True})
    component = raw(value=Color.RED)
    [row] = rows_of(table([component]))
    assert component.value == "red"
    assert raw.component_type().decode(row) == component


def test_an_unknown_stored_zone_is_named() -> None:
    """A stored zone that this machine lacks is refused by name, not read as another. (M7)"""
    row = {"holder11__value": dt.datetime(2000, 1, 1), "holder11__value__zone": "Nowhere/Land"}
    assert [field.name for field in HOLDERS["datetime"].component_type().fields] == list(row)
    with pytest.raises(ValueRejected, match="Nowhere/Land"):
        HOLDERS["datetime"].component_type().decode(row)
