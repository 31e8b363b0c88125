"""A sample of every field type, with the Arrow types of its columns and values for it."""

from __future__ import annotations

import datetime as dt
import enum
import math
import struct
import zoneinfo
from decimal import Decimal
from typing import Annotated, Any, Literal, Optional
from uuid import UUID

import pyarrow as pa
import pydantic
from hypothesis import strategies as st

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
NAIVE = st.datetimes().map(lambda value: value.replace(fold=0))
# the second of two equal wall times, which only a plain datetime tells from the first
SECOND = NAIVE.map(lambda value: value.replace(fold=1))
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
    when=NAIVE | SECOND | AWARE,
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
    "datetime": (dt.datetime, [pa.timestamp("us"), pa.large_string()], NAIVE | SECOND | AWARE),
    "optional datetime": (
        Optional[dt.datetime],  # noqa: UP045  # reason: the other spelling of optional
        [pa.timestamp("us"), pa.large_string()],
        st.none() | NAIVE | SECOND | AWARE,
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
        st.lists(NAIVE | SECOND | AWARE, max_size=3),
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


def holding(annotation: Any, name: str = "Holder", **more: Any) -> Any:
    """Return a component class with one field, `value`."""
    return type(name, (Component,), {"__annotations__": {"value": annotation}, "__module__": __name__, **more})


HOLDERS: dict[str, Any] = {
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
            fold = value.fold if value.tzinfo is None else 0
            return value.replace(tzinfo=None, fold=0), value.utcoffset(), zone, fold
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
