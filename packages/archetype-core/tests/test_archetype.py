"""Archetypes: signatures, table identity, and whole columns."""

from __future__ import annotations

import datetime as dt
import enum
import json
import math
import re
import uuid
from decimal import Decimal
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archetype_core.errors import SchemaMismatch, SignatureError, UnknownComponent, ValueRejected
from archetype_core.schema import Archetype, Component, ComponentType, Vector
from archetype_core.schema.archetype import BASE_COLUMNS


class Hue(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Bits(enum.IntFlag):
    A = 1
    B = 2


class Spot(Component):
    x: float = 0.0
    y: float = 0.0


class Speed(Component):
    dx: float
    dy: float


class Marked(Component):
    pass


class Chosen(Component):
    pass


class Cell(pydantic.BaseModel):
    x: float
    n: int | None = None


class Everything(Component):
    i: int = 0
    small: Annotated[int, pa.int8()] = 0
    f: float = 0.0
    narrow: Annotated[float, pa.float32()] = 0.0
    s: str = ""
    b: bytes = b""
    at: dt.datetime = dt.datetime(2000, 1, 1)
    maybe_at: dt.datetime | None = None
    aware: pydantic.AwareDatetime = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
    day: dt.date = dt.date(2000, 1, 1)
    span: dt.timedelta = dt.timedelta(0)
    price: Decimal = Decimal("1.50")
    uid: uuid.UUID = uuid.UUID(int=0)
    hue: Hue = Hue.RED
    bits: Bits = Bits.A
    choice: Literal["a", "b"] = "a"
    maybe: int | None = None
    floats: list[float] = []
    texts: list[str | None] = []
    cell: Cell = Cell(x=0)
    table: dict[str, int] = {}
    vector: Annotated[list[float], Vector(2)] = [0.0, 0.0]
    maybe_vector: Annotated[list[float], Vector(2)] | None = None
    hp: int = pydantic.Field(default=1, ge=0, le=10)
    ratio: float = pydantic.Field(default=0.5, gt=0, lt=1)
    label: str = pydantic.Field(default="a", min_length=1, max_length=3)


EVERYTHING = Archetype.of(Everything)


def one(field: str, values: Any, kind: pa.DataType | None = None, **more: Any) -> pa.Table:
    """Return a conformed table of one given column and defaults for the others."""
    columns = {f"everything__{field}": pa.array(values, kind)}
    return EVERYTHING.conform(pa.table({**columns, **{f"everything__{name}": array for name, array in more.items()}}))


def decoded(table: pa.Table, field: str) -> list[Any]:
    """The component values of one field of a stored table."""
    component_type = Everything.component_type()
    return [getattr(component_type.decode(row), field) for row in table.to_pylist(maps_as_pydicts="strict")]


@given(order=st.permutations([Spot, Speed, Marked, Chosen]))
def test_a_signature_has_no_order(order: list[type[Component]]) -> None:
    """Components in any order, as classes, instances or types, are one archetype. (M4)"""
    archetype = Archetype.of(*order)
    assert archetype == Archetype.of(Chosen, Marked, Speed, Spot)
    assert hash(archetype) == hash(Archetype.of(*(component.component_type() for component in order)))
    assert [component.name for component in archetype.components] == ["Chosen", "Marked", "Speed", "Spot"]
    assert Archetype.of(Spot(), Speed(dx=1, dy=2)) is Archetype.of(Spot, Speed)


def test_the_schema_is_entity_id_and_the_columns() -> None:
    """A table has the entity id and the columns of each component, not null unless optional. (M4, M5)"""
    archetype = Archetype.of(Spot, Speed)
    assert archetype.schema.names == ["entity_id", "speed__dx", "speed__dy", "spot__x", "spot__y"]
    assert archetype.schema.field("entity_id") == pa.field("entity_id", pa.int64(), nullable=False)
    assert archetype.column_names == ("speed__dx", "speed__dy", "spot__x", "spot__y")
    assert BASE_COLUMNS == ("world_id", "run_id", "entity_id", "tick", "is_active")


def test_tables_are_told_apart_by_names_and_schema() -> None:
    """Two field-less tags are two tables, and so are two forms of one class. (M4)"""
    other = ComponentType.of("Spot", [pa.field("spot__x", pa.float64(), nullable=False)])
    tables = [Archetype.of(Marked), Archetype.of(Chosen), Archetype.of(Marked, Chosen), Archetype.of(Spot)]
    assert len({archetype.name for archetype in [*tables, Archetype.of(other)]}) == 5


@pytest.mark.thorough
@given(
    classes=st.lists(st.from_regex(r"[^\W\d]\w{0,40}", fullmatch=True), min_size=1, max_size=12, unique_by=str.lower)
)
def test_table_names_are_file_system_safe(classes: list[str]) -> None:
    """Whatever the classes are called, the table's name is short, lower-case ASCII. (M4)"""
    name = Archetype.of(*(ComponentType.of(each, []) for each in classes)).name
    assert re.fullmatch(r"[a-z0-9][a-z0-9_]*_[0-9a-f]{16}", name)
    assert len(name) <= 80


def test_bad_signatures_are_refused() -> None:
    """No components, one given twice, or two with one prefix or column are refused, naming both. (M4)"""
    shouting = ComponentType.of("SPOT", [])
    prefixed = ComponentType.of("A", [pa.field("a__b__c", pa.int64())])
    nested = ComponentType.of("A__b", [pa.field("a__b__c", pa.int64())])
    with pytest.raises(SignatureError, match="at least one"):
        Archetype.of()
    with pytest.raises(SignatureError, match="Spot is given twice"):
        Archetype.of(Spot, Spot())
    with pytest.raises(SignatureError, match=r"SPOT\(.*Spot\(spot__x: double.*prefix 'spot'"):
        Archetype.of(Spot, shouting)
    with pytest.raises(SignatureError, match=r"A\(.*A__b\(.*column 'a__b__c'"):
        Archetype.of(prefixed, nested)
    with pytest.raises(SignatureError, match="is not a component"):
        Archetype.of(int)  # type: ignore[arg-type]  # reason: this is what is refused


def test_membership_adding_and_removing() -> None:
    """Adding a present component or removing an absent one changes nothing; removing the last one is refused. (T5)"""
    archetype = Archetype.of(Spot, Marked)
    assert Spot in archetype
    assert Spot.component_type() in archetype
    assert Speed not in archetype
    assert archetype.has([Spot, Marked])
    assert archetype.has([])
    assert not archetype.has([Spot, Speed])
    assert archetype.plus(Speed, Spot, Speed) == Archetype.of(Spot, Marked, Speed)
    assert archetype.plus(Spot) == archetype.minus(Speed) == archetype
    assert archetype.minus(Marked) == Archetype.of(Spot)
    with pytest.raises(SignatureError, match="would have no component without Marked, Spot"):
        archetype.minus(Spot, Marked)
    with pytest.raises(SignatureError, match="prefix"):
        archetype.plus(ComponentType.of("Spot", []))


def test_a_schema_rebuilds_its_archetype() -> None:
    """A schema describes its archetype to another process, also if the store changed the columns' types. (S6)"""
    archetype = Archetype.of(Everything, Spot, Marked)
    again = Archetype.from_schema(archetype.schema)
    assert again == archetype
    assert again.schema.equals(archetype.schema, check_metadata=True)
    assert Archetype.from_schema(pa.schema([], archetype.schema.metadata)) == archetype


def test_a_schema_of_unknown_classes_still_describes_its_table() -> None:
    """History of a component that is not imported stays readable. (S6)"""
    ghost = ComponentType.of("Phantom", [pa.field("phantom__x", pa.int64(), nullable=False)])
    archetype = Archetype.from_schema(Archetype.of(ghost, Spot).schema)
    assert archetype.column_names == ("phantom__x", "spot__x", "spot__y")
    with pytest.raises(UnknownComponent, match="Phantom"):
        archetype.conform(pa.table({"phantom__x": [1]}))


def test_schemas_that_are_no_archetype_are_refused() -> None:
    """Missing, unreadable, newer or contradictory metadata is refused. (S6)"""
    good = json.loads(Archetype.of(Spot).schema.metadata[b"archetype"])
    for metadata in (
        None,
        {b"archetype": b"{"},
        {b"archetype": b"{}"},
        {b"archetype": json.dumps({**good, "version": 99}).encode()},
        {b"archetype": json.dumps({**good, "table": "other"}).encode()},
        {b"archetype": json.dumps({**good, "components": [{"name": "X", "columns": [["x", "odd", True]]}]}).encode()},
    ):
        with pytest.raises(SchemaMismatch):
            Archetype.from_schema(pa.schema([], metadata))


def test_matching_columns_are_not_copied() -> None:
    """Columns that have their types keep their buffers and chunks, in any order. (M7)"""
    values = pa.chunked_array([np.arange(5.0), np.arange(3.0)])
    table = pa.table({"spot__y": values, "spot__x": values})
    conformed = Archetype.of(Spot).conform(table)
    assert conformed.schema == pa.schema(Spot.component_type().fields)
    for name in ("spot__x", "spot__y"):
        assert [chunk.buffers()[1].address for chunk in conformed[name].chunks] == [
            chunk.buffers()[1].address for chunk in values.chunks
        ]


def test_missing_columns_have_their_defaults() -> None:
    """A missing column gets the field's default; a default factory runs once per row. (M1)"""

    class Made(Component):
        uid: uuid.UUID = pydantic.Field(default_factory=uuid.uuid4)
        tags: list[str] = ["a"]

    class Derived(Component):
        x: int = 0
        y: int = pydantic.Field(default_factory=lambda data: data["x"])

    rows = Archetype.of(Made, Spot).conform(pa.table({"spot__x": [1.0, 2.0, 3.0]}))
    assert len(set(rows["made__uid"].to_pylist())) == 3
    assert rows["made__tags"].to_pylist() == [["a"]] * 3
    assert rows["spot__y"].to_pylist() == [0.0] * 3
    assert decoded(one("i", [1, 2]), "price") == [Decimal("1.50")] * 2
    with pytest.raises(ValueRejected, match="column speed__dy is missing") as refusal:
        Archetype.of(Speed).conform(pa.table({"speed__dx": [1.0]}))
    assert refusal.value.field == "dy"
    with pytest.raises(ValueRejected, match="has no default"):
        Archetype.of(Derived).conform(pa.table({"derived__x": [1]}))


def test_unknown_and_repeated_columns_are_refused() -> None:
    """Columns that no component has are refused, and the error names all of them. (M7)"""
    with pytest.raises(SchemaMismatch, match=r"'spot__z'.*'entity_id'") as mismatch:
        Archetype.of(Spot).conform(pa.table({"spot__x": [1.0], "spot__z": [1.0], "entity_id": [1]}))
    assert mismatch.value.table == Archetype.of(Spot).name
    twice = pa.Table.from_arrays([pa.array([1.0]), pa.array([1.0])], names=["spot__x", "spot__x"])
    with pytest.raises(SchemaMismatch, match="twice"):
        Archetype.of(Spot).conform(twice)


BERLIN = pa.timestamp("us", "Europe/Berlin")
NOON = dt.datetime(2024, 7, 1, 12, tzinfo=dt.UTC)
UID = uuid.UUID(int=7)


@pytest.mark.parametrize(
    ("field", "values", "kind", "expected"),
    [
        ("i", [1, 2], pa.int8(), [1, 2]),
        ("i", [1, 2], pa.uint64(), [1, 2]),
        ("small", [-128, 127], pa.int64(), [-128, 127]),
        ("f", [1, 2**53], pa.int64(), [1.0, 2.0**53]),
        ("f", [0.5, float("inf")], pa.float16(), [0.5, float("inf")]),
        ("narrow", [0.1, float("-inf")], pa.float64(), [float(np.float32(0.1)), float("-inf")]),
        ("s", ["a", "ü"], pa.string(), ["a", "ü"]),
        ("s", ["a", "b"], pa.dictionary(pa.int8(), pa.string()), ["a", "b"]),
        ("b", [b"\xff", b""], pa.binary(), [b"\xff", b""]),
        ("at", [dt.datetime(2024, 1, 1)], pa.timestamp("s"), [dt.datetime(2024, 1, 1)]),
        ("at", [NOON], pa.timestamp("ms", "UTC"), [NOON]),
        ("at", [NOON], BERLIN, [NOON]),
        ("maybe_at", [None, NOON], BERLIN, [None, NOON]),
        ("aware", [NOON], BERLIN, [NOON]),
        ("day", [dt.date(2024, 1, 1)], pa.date64(), [dt.date(2024, 1, 1)]),
        ("span", [dt.timedelta(seconds=1)], pa.duration("s"), [dt.timedelta(seconds=1)]),
        ("price", [Decimal("2.25")], pa.decimal128(5, 2), [Decimal("2.25")]),
        ("price", [3], pa.int32(), [Decimal(3)]),
        ("uid", [str(UID)], pa.string(), [UID]),
        ("hue", ["blue"], pa.dictionary(pa.int32(), pa.string()), [Hue.BLUE]),
        ("bits", [3], pa.int64(), [Bits.A | Bits.B]),
        ("choice", ["b"], pa.string(), ["b"]),
        ("maybe", [None, 1], pa.int32(), [None, 1]),
        ("maybe", [None, None], pa.null(), [None, None]),
        ("maybe_at", [None, None], pa.null(), [None, None]),
        ("floats", [[1.0], []], pa.list_(pa.float64()), [[1.0], []]),
        ("floats", [[1], [2, 3]], pa.list_(pa.int32()), [[1.0], [2.0, 3.0]]),
        ("texts", [["a", None]], pa.list_(pa.string()), [["a", None]]),
        ("cell", [{"n": None, "x": 1}], pa.struct([("n", pa.int8()), ("x", pa.int64())]), [Cell(x=1.0)]),
        ("table", [[("a", 1)]], pa.map_(pa.string(), pa.int32()), [{"a": 1}]),
        ("vector", [[1, 2]], pa.list_(pa.int64()), [[1.0, 2.0]]),
        ("vector", [[0.5, 2]], pa.list_(pa.float64(), 2), [[0.5, 2.0]]),
        ("vector", [[0.5, 2]], pa.list_(pa.float32(), 2), [[0.5, 2.0]]),
        ("maybe_vector", [None, [1, 2]], pa.list_(pa.float64(), 2), [None, [1.0, 2.0]]),
        ("maybe_vector", [None, [1, 2]], pa.list_(pa.float32(), 2), [None, [1.0, 2.0]]),
    ],
)
def test_columns_of_the_same_kind_are_cast(field: str, values: Any, kind: pa.DataType, expected: list[Any]) -> None:
    """A column of another type of the same kind is taken if every value fits. (M7)"""
    table = one(field, values, kind)
    assert table.schema == pa.schema(Everything.component_type().fields)
    table.validate(full=True)
    assert decoded(table, field) == expected
    assert [type(value) for value in decoded(table, field)] == [type(value) for value in expected]


def test_a_zone_of_the_column_or_beside_it_is_kept() -> None:
    """Instants keep the zone of their Arrow type, or of the zone column given for each row. (M7)"""
    [berlin] = decoded(one("at", [NOON], BERLIN), "at")
    assert (berlin.hour, str(berlin.tzinfo)) == (14, "Europe/Berlin")
    values = decoded(one("at", [NOON] * 3, BERLIN, at__zone=pa.array(["+05:30", None, "UTC"])), "at")
    assert [value.utcoffset() for value in values] == [dt.timedelta(hours=5.5), None, dt.timedelta(0)]


@pytest.mark.parametrize(
    ("field", "values", "kind", "row", "reason"),
    [
        ("i", [1.0], pa.float64(), 0, "double does not fit int64"),
        ("i", [1.0, 2.0], pa.float64(), 0, "1.0 is a float, and floats are refused where they are whole too; cast it"),
        ("i", [1.0, 2.5], pa.float64(), 1, "2.5 is not whole; round and cast it"),
        ("i", [1.0, math.nan, 2.5], pa.float64(), 1, "nan is no number that an int can be; replace it and cast it"),
        ("i", [1.0, -math.inf], pa.float32(), 1, "-inf is no number that an int can be"),
        ("i", [-(2.0**63), 2.0**63], pa.float64(), 1, "is outside int64; limit it and cast it"),
        ("small", [1.0, 128.0], pa.float32(), 1, "128.0 is outside int8"),
        ("i", [True], pa.bool_(), 0, "bool does not fit"),
        ("i", [0, 2**63], pa.uint64(), 1, "does not fit int64"),
        ("small", [0, 1, 128], pa.int64(), 2, "128 does not fit int8"),
        ("i", [0, None], pa.int64(), 1, "null"),
        ("i", [None], pa.null(), 0, "null"),
        ("f", ["1.0"], pa.string(), 0, "string does not fit double"),
        ("f", [0, 2**53 + 1], pa.int64(), 1, "does not fit double"),
        ("narrow", [0.0, float("inf"), 1e39], pa.float64(), 2, "overflows"),
        ("s", [b"a"], pa.binary(), 0, "does not fit"),
        ("b", ["a"], pa.string(), 0, "does not fit"),
        ("at", [1], pa.int64(), 0, "does not fit"),
        ("at", [0, 253402300800000000], pa.timestamp("us"), 1, "range"),
        ("at", [None], pa.timestamp("us"), 0, "null"),
        ("aware", [dt.datetime(2000, 1, 1)], pa.timestamp("us"), 0, "does not fit"),
        ("day", [0, 10**7], pa.date32(), 1, "range"),
        ("span", [0, -(2**63)], pa.duration("us"), 1, "range"),
        ("price", [Decimal("1e-19")], pa.decimal128(38, 19), 0, "does not fit"),
        ("uid", [str(UID), "no"], pa.string(), 1, "UUID"),
        ("uid", [str(UID).upper()[:-1] + "A"], pa.string(), 0, "UUID"),
        ("hue", ["red", "green"], pa.string(), 1, "'green' is none of"),
        ("bits", [1, 2, 3, None], pa.int64(), 3, "null"),
        ("choice", ["a", "b", "c"], pa.string(), 2, "'c' is none of"),
        ("floats", [[1.0], [None]], pa.list_(pa.float64()), 1, "null"),
        ("floats", [["a"]], pa.list_(pa.string()), 0, "does not fit"),
        ("floats", [[1], [2**53 + 1]], pa.list_(pa.int64()), 1, "does not fit double"),
        ("cell", [{"x": None, "n": 1}], pa.struct([("x", pa.float64()), ("n", pa.int64())]), 0, "[.]x: null"),
        ("cell", [{"x": 1.0}], pa.struct([("x", pa.float64())]), 0, "does not fit"),
        ("table", [[("a", 1)], [("a", 1), ("a", 2)]], pa.map_(pa.string(), pa.int64()), 1, "key 'a' is there twice"),
        ("vector", [[1.0, 2.0], [1.0]], pa.list_(pa.float32()), 1, "expected 2 floats, got 1"),
        ("vector", [[1.0, 2.0, 3.0]], pa.list_(pa.float32(), 3), 0, "expected 2 floats, got 3"),
        ("vector", [[1.0, 2.0], [1.0, None]], pa.list_(pa.float32(), 2), 1, "null"),
        ("vector", [[1.0, 2.0], [1.0, 1e39]], pa.list_(pa.float64(), 2), 1, "overflows"),
        ("hp", [0, 10, -1], pa.int64(), 2, "-1 is not at least 0"),
        ("hp", [0, 11], pa.int8(), 1, "11 is not at most 10"),
        ("ratio", [0.5, 0.0], pa.float64(), 1, "not greater than 0"),
        ("ratio", [0.5, float("nan")], pa.float64(), 1, "not greater than 0"),
        ("ratio", [1.0], pa.float64(), 0, "not less than 1"),
        ("label", ["abc", ""], pa.string(), 1, "at least 1 long"),
        ("label", ["äöü", "abcd"], pa.string(), 1, "at most 3 long"),
    ],
)
def test_bad_columns_name_field_and_row(field: str, values: Any, kind: pa.DataType, row: int, reason: str) -> None:
    """A value that does not fit is refused with component, field and first bad row. (M7)"""
    with pytest.raises(ValueRejected, match=reason) as refusal:
        one(field, values, kind)
    assert (refusal.value.component, refusal.value.field, refusal.value.row) == ("Everything", field, row)


@pytest.mark.parametrize(
    ("zones", "row", "reason"),
    [(["UTC", "Nowhere/Land"], 1, "time zone"), (["UTC", "UTC"], 1, "without a time")],
)
def test_bad_zones_are_refused(zones: list[str], row: int, reason: str) -> None:
    """An unknown zone, and a zone next to a null, is refused. (M7)"""
    at = pa.array([NOON, None if reason == "without a time" else NOON], pa.timestamp("us", "UTC"))
    with pytest.raises(ValueRejected, match=reason) as refusal:
        one("maybe_at", at, maybe_at__zone=pa.array(zones))
    assert (refusal.value.field, refusal.value.row) == ("maybe_at", row)
    with pytest.raises(ValueRejected, match="has no meaning"):
        one("i", [1], maybe_at__zone=pa.array(["UTC"]))


def test_text_that_is_not_utf8_is_refused() -> None:
    """A text column with bytes that are not UTF-8 is refused. (M7)"""
    raw = pa.array([b"ok", b"\xff"], pa.large_binary())
    text = pa.LargeStringArray.from_buffers(2, raw.buffers()[1], raw.buffers()[2])
    with pytest.raises(ValueRejected, match="UTF-8") as refusal:
        one("s", text)
    assert refusal.value.row == 1


@pytest.mark.parametrize("size", [0, 1, 5])
def test_empty_chunked_and_sliced_columns_conform(size: int) -> None:
    """Slices and chunks conform like any other rows. (M7)"""
    whole = pa.chunked_array(
        [pa.array([[9.0, 9.0]] * 3, pa.list_(pa.float64())), pa.array([[1.0, 2.0]] * 5, pa.list_(pa.float64()))]
    )
    table = pa.table({"everything__vector": whole, "everything__floats": whole}).slice(3 - size // 2, size)
    conformed = EVERYTHING.conform(table)
    assert conformed["everything__vector"].to_pylist() == table["everything__vector"].to_pylist()
    assert conformed["everything__floats"].to_pylist() == table["everything__floats"].to_pylist()


def test_a_bad_row_is_counted_across_chunks() -> None:
    """The row in an error is the row of the whole table, not of a chunk. (M7)"""
    chunks = pa.chunked_array([pa.array([1, 2, 3]), pa.array([4, 500])])
    with pytest.raises(ValueRejected) as refusal:
        EVERYTHING.conform(pa.table({"everything__small": chunks}))
    assert refusal.value.row == 4


@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_what_components_store_conforms_unchanged(data: st.DataObject) -> None:
    """Columns made from components conform unchanged. (M7)"""
    zones: Any = st.none() | st.just(dt.UTC)
    when = st.datetimes(dt.datetime(2, 1, 1), dt.datetime(9998, 1, 1), timezones=zones)
    made = st.builds(
        Everything,
        i=st.integers(-(2**63), 2**63 - 1),
        f=st.floats(),
        narrow=st.floats(width=32),
        s=st.text(),
        b=st.binary(),
        at=when,
        maybe_at=st.none() | when,
        hue=st.sampled_from(Hue),
        bits=st.integers(0, 3).map(Bits),
        floats=st.lists(st.floats()),
        texts=st.lists(st.none() | st.text()),
        cell=st.builds(Cell, x=st.floats()),
        table=st.dictionaries(st.text(), st.integers(-9, 9)),
        vector=st.lists(st.floats(width=32), min_size=2, max_size=2),
    )
    components = data.draw(st.lists(made, min_size=1, max_size=3))
    component_type = Everything.component_type()
    rows = [component_type.values(component) for component in components]
    schema = pa.schema(component_type.fields)
    table = pa.Table.from_arrays(component_type.arrays(rows), schema=schema)
    conformed = EVERYTHING.conform(table)
    assert conformed.schema == schema
    for name in schema.names:
        assert [chunk.to_pylist().__repr__() for chunk in conformed[name].chunks] == [
            chunk.to_pylist().__repr__() for chunk in table[name].chunks
        ]


def test_the_schema_survives_parquet(tmp_path: Any) -> None:
    """The schema of a table on disk restores its archetype. (S6)"""
    archetype = Archetype.of(Everything, Spot)
    pq.write_table(archetype.schema.empty_table(), tmp_path / "t.parquet")
    stored = pq.read_schema(tmp_path / "t.parquet")
    assert Archetype.from_schema(stored) == archetype
    assert stored.equals(archetype.schema)
