"""Bringing an array to a column's type where that keeps its values: same kind, other width, same meaning."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc


class CastRefused(ValueError):
    """An array cannot become the type without losing or changing values; the message is the reason."""


def cast(array: pa.Array, wanted: pa.DataType) -> pa.Array:
    """The array as ``wanted``; itself when it is that already."""
    if array.type == wanted:
        return array
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
        if array.type == wanted:
            return array
    if not _is_kin(array.type, wanted):
        raise CastRefused(f"{array.type} does not become {wanted}")
    try:
        result = array.cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as failure:
        raise CastRefused(str(failure)) from failure
    if pa.types.is_floating(wanted) and _infinities(result) != _infinities(array):
        raise CastRefused(f"a value overflows {wanted}")
    return result


def _infinities(array: pa.Array) -> int:
    return pc.sum(pc.is_inf(array)).as_py() or 0


def _is_kin(given: pa.DataType, wanted: pa.DataType) -> bool:
    types = pa.types
    if types.is_null(given):
        return True
    if types.is_integer(given):
        # The cast itself refuses what the other type cannot hold exactly.
        return bool(types.is_integer(wanted) or types.is_floating(wanted) or types.is_decimal(wanted))
    kinds = (types.is_floating, types.is_decimal, _is_text, _is_bytes, types.is_duration, types.is_date)
    if any(kind(given) and kind(wanted) for kind in kinds):
        return True
    if types.is_timestamp(given) and types.is_timestamp(wanted):
        return (given.tz is None) == (wanted.tz is None)
    if _is_list(given) and _is_list(wanted):
        return given.value_type == wanted.value_type or _is_kin(given.value_type, wanted.value_type)
    if types.is_struct(given) and types.is_struct(wanted):
        names = [field.name for field in wanted]
        return [field.name for field in given] == names and all(
            given.field(name).type == wanted.field(name).type
            or _is_kin(given.field(name).type, wanted.field(name).type)
            for name in names
        )
    if types.is_map(given) and types.is_map(wanted):
        return _is_text(given.key_type) and (
            given.item_type == wanted.item_type or _is_kin(given.item_type, wanted.item_type)
        )
    return False


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
    return bool(binary or pa.types.is_fixed_size_binary(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))
