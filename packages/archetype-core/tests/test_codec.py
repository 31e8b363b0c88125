"""Every field type: its stored form, its round trip, and what it refuses."""

from __future__ import annotations

import datetime as dt
import enum
import json
import struct
import typing
import zoneinfo
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal

import daft
import numpy as np
import pyarrow as pa
import pydantic
import pytest
from field_types import HOLDERS, TYPES, Color, Level, Point, exact, holding, imaginary, rows_of, table
from hypothesis import given, settings
from hypothesis import strategies as st

from archetype_core.errors import ComponentTypeError, ValueRejected


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
    """Daft keeps a column's type and every value. (M2, M7)"""
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
    """A payload survives JSON text, and its value comes back to the bit. (M3, M7)"""
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
    """A wall time that its zone skips is stored with its offset, so wall time and instant are kept. (M7)"""
    skipped = dt.datetime(2024, 3, 31, 2, 30, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
    [row] = rows_of(table([HOLDERS["datetime"](value=skipped)]))
    back = HOLDERS["datetime"].component_type().decode(row).value
    assert back.replace(tzinfo=None) == skipped.replace(tzinfo=None)
    assert back.utcoffset() == skipped.utcoffset()


@pytest.mark.parametrize("fold", [0, 1])
def test_both_readings_of_an_ambiguous_time_are_kept(fold: int) -> None:
    """Both readings of an hour that a zone repeats come back as they were. (M7)"""
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
    """A type without an Arrow form is a TypeError when the class is defined, with class, field and remedy. (M2)"""
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
    """A value that its column cannot hold is a ValueRejected with the field's name, also in an unvalidated instance. (M7)"""
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
    """With use_enum_values, a component holds and gets back raw values. (M2, M7)"""
    raw = holding(Color, "RawColor", model_config={"use_enum_values": True})
    component = raw(value=Color.RED)
    [row] = rows_of(table([component]))
    assert component.value == "red"
    assert raw.component_type().decode(row) == component


def test_an_unknown_stored_zone_is_named() -> None:
    """A stored zone that this machine does not know is refused by name. (M7)"""
    row = {"holder11__value": dt.datetime(2000, 1, 1), "holder11__value__zone": "Nowhere/Land"}
    assert [field.name for field in HOLDERS["datetime"].component_type().fields] == list(row)
    with pytest.raises(ValueRejected, match="Nowhere/Land"):
        HOLDERS["datetime"].component_type().decode(row)
