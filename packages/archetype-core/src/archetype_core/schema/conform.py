"""Casts and checks whole Arrow columns against a component's fields.

Vectorised, except for nested values other than lists of numbers, which are checked row by row. A column that has its
type is not copied.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from archetype_core.errors import ValueRejected
from archetype_core.schema.cast import is_bytes, is_kin, is_list, is_text
from archetype_core.schema.component import ComponentField, ComponentType, fields_of, is_moment
from archetype_core.schema.nested import ListOf, MapOf, Nullable, StructOf
from archetype_core.schema.scalar import Bool, Choice, Codec, Float, Int, Member, Refusal, Text, Uuid, clip
from archetype_core.schema.temporal import UNIT_US, zone_named
from archetype_core.schema.vector import VectorOf

_UUID = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
_DAY_US = 86_400_000_000
# the microseconds since 1970 that Python's datetime spans, without the days that a zone may need
_FIRST_US, _LAST_US = -62_135_596_800_000_000, 253_402_300_799_999_999
_COMPARISONS: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "ge": (pc.greater_equal, "at least"),
    "gt": (pc.greater, "greater than"),
    "le": (pc.less_equal, "at most"),
    "lt": (pc.less, "less than"),
}


class _BadRow(Refusal):
    def __init__(self, row: int | None, reason: str) -> None:
        self.row = row
        super().__init__(reason)


def columns_of(component_type: ComponentType, data: pa.Table) -> Iterator[pa.ChunkedArray]:
    """Yield the component's columns in order, from `data` or from the fields' defaults."""
    for field in fields_of(component_type):
        try:
            yield from field_columns(field, data)
        except _BadRow as exc:
            raise ValueRejected(component_type.name, field.name, str(exc), row=exc.row) from None
        except Refusal as exc:
            raise ValueRejected(component_type.name, field.name, str(exc)) from None


def field_columns(field: ComponentField, data: pa.Table) -> list[pa.ChunkedArray]:
    """Return a field's one or two columns, from `data` or from its default; a `Refusal` gives the reason."""
    name = field.columns[0].name
    present = set(data.column_names)
    if name not in present:
        if len(field.columns) == 2 and field.columns[1].name in present:
            raise Refusal(f"column {field.columns[1].name} has no meaning without column {name}")
        return defaults(field, data.num_rows)
    column = data.column(name)
    if is_moment(field.codec):
        zone = field.columns[1].name
        return _moment_columns(column, data.column(zone) if zone in present else None, field.nullable)
    codec = field.codec.inner if isinstance(field.codec, Nullable) else field.codec
    column = _cast(column, codec, field.nullable)
    for mark in field.info.metadata:
        _check_constraint(column, mark)
    return [column]


def defaults(field: ComponentField, size: int) -> list[pa.ChunkedArray]:
    """Return a field's columns filled with its default; a default factory runs once per row."""
    info = field.info
    if not has_default(field):
        raise Refusal(f"column {field.columns[0].name} is missing, and the field has no default")
    count = 1 if info.default_factory is None else size
    values = [info.get_default(call_default_factory=True) for _ in range(count)]
    columns = []
    for column, (_, _, encode) in zip(field.columns, field.encoders(), strict=True):
        array = pa.array([encode(value) for value in values], column.type)
        if info.default_factory is None:
            array = array.take(pa.array(np.zeros(size, np.int64)))
        columns.append(pa.chunked_array([array], column.type))
    return columns


def has_default(field: ComponentField) -> bool:
    """Return whether a field has a default that needs no other field's value."""
    return not field.info.is_required() and not field.info.default_factory_takes_validated_data


def _cast(column: pa.ChunkedArray, codec: Codec, nullable: bool) -> pa.ChunkedArray:
    column = _plain(column)
    if not nullable and column.null_count:
        raise _BadRow(_first(column.is_null()), "null in a field that is not optional")
    if pa.types.is_null(column.type):
        return column.cast(codec.type)
    if not is_kin(column.type, codec.type):
        raise _BadRow(0 if len(column) else None, f"a column of {column.type} does not fit {codec.type}")
    if isinstance(codec, VectorOf):
        cast = _cast_vector(column, codec)
    elif pa.types.is_nested(codec.type):
        cast = _cast_nested(column, codec)
    else:
        cast = _cast_scalar(column, codec)
        _check_values(cast, codec)
    return cast


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _cast_scalar(column: pa.ChunkedArray, codec: Codec) -> pa.ChunkedArray:
    if column.type == codec.type:
        return column
    if isinstance(codec, Float) and pa.types.is_floating(column.type):
        cast = column.cast(codec.type, safe=False)
        overflow = pc.and_not(pc.is_inf(cast.cast(pa.float64())), pc.is_inf(column.cast(pa.float64())))
        _refuse_where(overflow, column, f"overflows {codec.type}")
        return cast
    try:
        return column.cast(codec.type)
    except pa.ArrowNotImplementedError:
        return _by_row(column, codec)
    except pa.ArrowInvalid:
        row = _first_uncastable(column, codec.type)
        raise _BadRow(row, f"{clip(_peek(column, row))} does not fit {codec.type}") from None


def _first_uncastable(column: pa.ChunkedArray, arrow_type: pa.DataType) -> int:
    good, bad = 0, len(column)
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            column.slice(good, middle - good).cast(arrow_type)
        except pa.ArrowInvalid:
            bad = middle
        else:
            good = middle
    return good


def _cast_vector(column: pa.ChunkedArray, codec: VectorOf) -> pa.ChunkedArray:
    wrong = pc.not_equal(pc.list_value_length(column), codec.size)
    row = _first(wrong)
    if row is not None:
        raise _BadRow(row, f"expected {codec.size} floats, got {pc.list_value_length(column)[row]}")
    if column.type != codec.type and column.null_count:
        return _by_row(column, codec)
    item = Float(pa.float32())
    chunks = []
    for chunk in column.chunks:
        values = chunk.flatten()
        if values.null_count:
            return _by_row(column, codec)  # which names the row
        if column.type == codec.type:
            chunks.append(chunk)
            continue
        try:
            flat = _cast_scalar(pa.chunked_array([values]), item)
        except _BadRow:
            return _by_row(column, codec)
        chunks.append(pa.FixedSizeListArray.from_arrays(flat.combine_chunks(), type=codec.type))
    return pa.chunked_array(chunks, codec.type)


def _cast_nested(column: pa.ChunkedArray, codec: Codec) -> pa.ChunkedArray:
    if isinstance(codec, ListOf) and column.type.value_type == codec.item.type:
        nullable = isinstance(codec.item, Nullable)
        inner = codec.item.inner if isinstance(codec.item, Nullable) else codec.item
        full = nullable or not any(chunk.flatten().null_count for chunk in column.chunks)
        if full and isinstance(inner, Bool | Int | Float):
            return column if column.type == codec.type else column.cast(codec.type)
    return _by_row(column, codec)


def _by_row(column: pa.ChunkedArray, codec: Codec) -> pa.ChunkedArray:
    values = []
    for row, scalar in enumerate(column):
        try:
            stored = scalar.as_py(maps_as_pydicts="strict")
            values.append(None if stored is None else codec.encode(codec.decode(stored)))
        except Refusal as exc:
            raise _BadRow(row, str(exc)) from None
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as exc:
            # a null, or a value that Python cannot represent
            raise _BadRow(row, f"null or malformed value inside: {exc}") from None
    return column if column.type == codec.type else pa.chunked_array([pa.array(values, codec.type)], codec.type)


def _check_values(column: pa.ChunkedArray, codec: Codec) -> None:
    """Refuse values that fit the Arrow type and not the Python type."""
    if isinstance(codec, Choice) or (isinstance(codec, Member) and not codec.combines):
        allowed = pc.is_in(column, pa.array(codec.stored, codec.type))
        known = ", ".join(map(repr, codec.stored))
        _refuse_where(pc.and_(pc.invert(allowed), column.is_valid()), column, f"is none of {known}")
    elif isinstance(codec, Member):
        _check_each(column, codec.decode)
    elif isinstance(codec, Uuid):
        _refuse_where(pc.invert(pc.match_substring_regex(column, _UUID)), column, "is not canonical UUID text")
    elif isinstance(codec, Text):
        _check_utf8(column)
    elif pa.types.is_temporal(codec.type):
        _check_range(column)


def value_checks(component_type: ComponentType) -> dict[str, Callable[[pa.Array], None]]:
    """Return a check for each column whose Arrow type admits more than its field; it raises `Refusal`."""
    checks: dict[str, Callable[[pa.Array], None]] = {}
    for field in fields_of(component_type):
        codec = field.codec.inner if isinstance(field.codec, Nullable) else field.codec
        if is_moment(field.codec):
            checks[field.columns[1].name] = _check_zones
        elif isinstance(codec, Choice | Member | Uuid):
            checks[field.columns[0].name] = partial(_check_array, codec)
    return checks


def check_field(field: ComponentField, column: pa.ChunkedArray) -> None:
    """Refuse values of a column of the right type that are none of its field, such as a removed enum member."""
    codec = field.codec.inner if isinstance(field.codec, Nullable) else field.codec
    if isinstance(codec, Choice | Member | Uuid):
        _check_values(column, codec)
    elif _has_choices(codec):
        _by_row(column, codec)


def _has_choices(codec: Codec) -> bool:
    match codec:
        case Choice() | Member() | Uuid():
            return True
        case Nullable(inner=inner):
            return _has_choices(inner)
        case ListOf(item=item) | MapOf(item=item):
            return _has_choices(item)
        case StructOf(fields=fields):
            return any(map(_has_choices, fields.values()))
    return False


def _check_array(codec: Codec, array: pa.Array) -> None:
    _check_values(pa.chunked_array([array]), codec)


def _check_zones(array: pa.Array) -> None:
    _check_each(pa.chunked_array([array]), zone_named)


def _check_each(column: pa.ChunkedArray, check: Callable[[Any], Any]) -> None:
    """Call `check` with each distinct value; a `Refusal` gets the value's first row."""
    for value in column.unique().drop_null().to_pylist():
        try:
            check(value)
        except Refusal as exc:
            raise _BadRow(_first(pc.equal(column, pa.scalar(value, column.type))), str(exc)) from None


def _check_utf8(column: pa.ChunkedArray) -> None:
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        for row in range(len(column)):
            try:
                column[row].as_py()
            except UnicodeDecodeError as exc:
                raise _BadRow(row, f"not UTF-8 text: {exc.reason}") from None
        raise


def _check_range(column: pa.ChunkedArray, margin_us: int = 0) -> None:
    """Refuse dates, times and durations outside Python's range."""
    arrow_type = column.type
    counts = column.cast(pa.int32() if pa.types.is_date32(arrow_type) else pa.int64())
    unit_us = _DAY_US if pa.types.is_date32(arrow_type) else UNIT_US[arrow_type.unit]
    if pa.types.is_duration(arrow_type):
        first, last = -999_999_999 * _DAY_US, 1_000_000_000 * _DAY_US - 1
    else:
        margin_us = _DAY_US if getattr(arrow_type, "tz", None) not in (None, "UTC") else margin_us
        first, last = _FIRST_US + margin_us, _LAST_US - margin_us
    # the least int64 is NumPy's "not a time"
    least, most = max(-(-first // unit_us), -(2**63) + 1), min(last // unit_us, 2**63 - 1)
    found = pc.min_max(counts)
    low, high = found["min"].as_py(), found["max"].as_py()
    if low is None or (low >= least and high <= most):
        return
    row = counts.to_pylist().index(low if low < least else high)
    raise _BadRow(row, f"{low if low < least else high} is out of Python's range for {arrow_type}")


def _moment_columns(at: pa.ChunkedArray, zone: pa.ChunkedArray | None, nullable: bool) -> list[pa.ChunkedArray]:
    at, text, wall = _plain(at), pa.large_string(), pa.timestamp("us")
    if not nullable and at.null_count:
        raise _BadRow(_first(at.is_null()), "null in a field that is not optional")
    if not pa.types.is_null(at.type) and not pa.types.is_timestamp(at.type):
        raise _BadRow(0 if len(at) else None, f"a column of {at.type} does not fit {wall}")
    source_zone = getattr(at.type, "tz", None)
    at = _cast_scalar(at, Codec(pa.timestamp("us", source_zone)))
    if source_zone is not None:
        # the same instants, without the zone in the type
        at = pa.chunked_array([chunk.view(wall) for chunk in at.chunks], wall)
    if zone is None:
        zone = pa.chunked_array([pa.nulls(len(at), text)], text)
        if source_zone is not None and len(at):
            zone = pa.chunked_array([pc.if_else(at.is_valid(), pa.scalar(source_zone, text), None)], text)
    zone = _cast(zone, Text(text), nullable=True)
    _check_each(zone, zone_named)
    _refuse_where(pc.and_(at.is_null(), zone.is_valid()), zone, "is a zone without a time")
    _check_range(at)
    _check_range(at.filter(zone.is_valid()), _DAY_US)
    return [at, zone]


def _check_constraint(column: pa.ChunkedArray, mark: Any) -> None:
    """Check a simple pydantic constraint, found by its attribute: its package is not a dependency."""
    for name, (compare, words) in _COMPARISONS.items():
        bound = getattr(mark, name, None)
        if bound is not None:
            _refuse_where(pc.invert(_compare(column, bound, name, compare)), column, f"is not {words} {bound}")
    for name, reaches in (("min_length", pc.greater_equal), ("max_length", pc.less_equal)):
        length = getattr(mark, name, None)
        if length is not None and (lengths := _lengths(column)) is not None:
            words = "at least" if name == "min_length" else "at most"
            _refuse_where(pc.invert(reaches(lengths, length)), column, f"is not {words} {length} long")


def _compare(column: pa.ChunkedArray, bound: Any, name: str, compare: Callable[[Any, Any], Any]) -> Any:
    try:
        return compare(column, pa.scalar(bound, column.type))
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        # the bound does not fit the column, such as 0.5 or 2**70 for an int
        check = getattr(operator, name)
        return pa.chunked_array([[None if value is None else check(value, bound) for value in column.to_pylist()]])


def _lengths(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    if is_text(column.type):
        return pc.utf8_length(column)
    if is_bytes(column.type):
        return pc.binary_length(column)
    return pc.list_value_length(column) if is_list(column.type) else None


def _refuse_where(bad: Any, column: pa.ChunkedArray, reason: str) -> None:
    row = _first(bad)
    if row is not None:
        raise _BadRow(row, f"{clip(_peek(column, row))} {reason}")


def _first(mask: Any) -> int | None:
    row: int = pc.index(mask, True).as_py()
    return None if row < 0 else row


def _peek(column: pa.ChunkedArray, row: int) -> Any:
    try:
        return column[row].as_py()
    except (ValueError, OverflowError):
        return str(column[row])
