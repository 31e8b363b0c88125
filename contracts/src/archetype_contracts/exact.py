"""Exact comparison of Arrow data: types, nulls and every bit of every value, including NaN payloads and the sign of zero."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

_FLOATS = {pa.float16(): pa.uint16(), pa.float32(): pa.uint32(), pa.float64(): pa.uint64()}


def difference(expected: pa.Array, actual: pa.Array, path: str = "") -> str | None:
    """The first difference between two arrays, or ``None``."""
    if expected.type != actual.type:
        return f"{path}: type {actual.type}, expected {expected.type}"
    if len(expected) != len(actual):
        return f"{path}: {len(actual)} values, expected {len(expected)}"
    if not expected.is_valid().equals(actual.is_valid()):
        return f"{path}: nulls differ: {_clip(actual)}, expected {_clip(expected)}"
    kind = expected.type
    if kind in _FLOATS:
        left, right = expected.view(_FLOATS[kind]), actual.view(_FLOATS[kind])
        if left.drop_null().equals(right.drop_null()):
            return None
        return f"{path}: bits {_hexes(right)}, expected {_hexes(left)}"
    if pa.types.is_nested(kind):
        return _nested(expected, actual, path)
    if expected.drop_null().equals(actual.drop_null()):
        return None
    return f"{path}: {_clip(actual)}, expected {_clip(expected)}"


def table_difference(expected: pa.Table, actual: pa.Table) -> str | None:
    """The first difference between two tables; chunking, nullability and metadata are ignored."""
    if expected.column_names != actual.column_names:
        return f"columns {actual.column_names}, expected {expected.column_names}"
    if expected.num_rows != actual.num_rows:
        return f"{actual.num_rows} rows, expected {expected.num_rows}: {_rows(actual)}, expected {_rows(expected)}"
    for name in expected.column_names:
        found = difference(_whole(expected.column(name)), _whole(actual.column(name)), name)
        if found:
            return found
    return None


def _nested(expected: pa.Array, actual: pa.Array, path: str) -> str | None:
    kind = expected.type
    # Values below a null parent are undefined: drop them with their parents.
    expected, actual = expected.drop_null(), actual.drop_null()
    if pa.types.is_struct(kind):
        pairs = zip(expected.flatten(), actual.flatten(), kind, strict=True)
        found = (difference(left, right, f"{path}.{field.name}") for left, right, field in pairs)
        return next(filter(None, found), None)
    if pa.types.is_map(kind):
        as_list = pa.list_(pa.struct([kind.key_field, kind.item_field]))
        expected, actual = expected.cast(as_list), actual.cast(as_list)
    lengths = pc.list_value_length(expected), pc.list_value_length(actual)
    if not lengths[0].equals(lengths[1]):
        return f"{path}: lengths {lengths[1].to_pylist()}, expected {lengths[0].to_pylist()}"
    return difference(expected.flatten(), actual.flatten(), f"{path}[]")


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _hexes(array: pa.Array) -> str:
    return str([None if value is None else hex(value) for value in array.to_pylist()][:20])


def _clip(array: pa.Array) -> str:
    text = repr(array.slice(0, 20).to_pylist())
    return text if len(text) <= 400 else f"{text[:400]}…"


def _rows(table: pa.Table) -> str:
    text = repr(table.slice(0, 10).to_pylist())
    return text if len(text) <= 400 else f"{text[:400]}…"
