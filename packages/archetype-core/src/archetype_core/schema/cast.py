"""Casts an array to a column's type if that keeps its values: same kind, other width."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc


class CastRefused(ValueError):
    """A cast that would lose or change values; the message is the reason."""


def cast(array: pa.Array, wanted: pa.DataType) -> pa.Array:
    """Return the array as ``wanted``; the array itself if it has that type."""
    if array.type == wanted:
        return array
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
        if array.type == wanted:
            return array
    if not is_kin(array.type, wanted):
        raise CastRefused(f"{array.type} cannot be cast to {wanted}")
    try:
        result = array.cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as failure:
        raise CastRefused(str(failure)) from failure
    if pa.types.is_floating(wanted) and _infinities(result) != _infinities(array):
        raise CastRefused(f"a value overflows {wanted}")
    return result


def _infinities(array: pa.Array) -> int:
    return pc.sum(pc.is_inf(array)).as_py() or 0


def is_kin(source: pa.DataType, target: pa.DataType) -> bool:
    """Return whether values of one type may be stored in a column of the other, if each fits."""
    types = pa.types
    if source == target or types.is_null(source):
        return True
    if types.is_dictionary(source):
        return is_kin(source.value_type, target)
    if is_list(target):
        return is_list(source) and is_kin(source.value_type, target.value_type)
    if types.is_struct(target):
        return (
            types.is_struct(source)
            and {field.name for field in source} == {field.name for field in target}
            and source.num_fields == target.num_fields
            and all(is_kin(source.field(field.name).type, field.type) for field in target)
        )
    if types.is_map(target):
        same = types.is_map(source) and is_kin(source.key_type, target.key_type)
        return same and is_kin(source.item_type, target.item_type)
    if types.is_timestamp(target):
        return types.is_timestamp(source) and (source.tz is None) is (target.tz is None)
    if types.is_integer(source) and (types.is_floating(target) or types.is_decimal(target)):
        return True
    return any(test(source) and test(target) for test in _SAME_KIND)


def widens(source: pa.DataType, target: pa.DataType) -> bool:
    """Return whether every value of one type is a value of the other, so that a column can be widened by itself."""
    types = pa.types
    if source == target:
        return True
    if types.is_integer(source) and types.is_integer(target):
        if types.is_signed_integer(source) == types.is_signed_integer(target):
            return bool(source.bit_width <= target.bit_width)
        return bool(types.is_signed_integer(target) and source.bit_width < target.bit_width)
    if types.is_floating(source) and types.is_floating(target):
        return bool(source.bit_width <= target.bit_width)
    if types.is_decimal128(source) and types.is_decimal128(target):
        whole = target.precision - target.scale >= source.precision - source.scale
        return bool(whole and target.scale >= source.scale)
    if types.is_large_list(source) and types.is_large_list(target):
        return widens(source.value_type, target.value_type)
    if types.is_map(source) and types.is_map(target):
        return widens(source.item_type, target.item_type)
    if _are_alike(source, target):
        return all(widens(one.type, other.type) for one, other in zip(source, target, strict=True))
    return False


def wider(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """Return the type of the two that holds the values of both; of two structs, field by field."""
    if _are_alike(one, other):
        return pa.struct([pa.field(a.name, wider(a.type, b.type)) for a, b in zip(one, other, strict=True)])
    if pa.types.is_large_list(one) and pa.types.is_large_list(other):
        return pa.large_list(pa.field("item", wider(one.value_type, other.value_type)))
    if pa.types.is_map(one) and pa.types.is_map(other):
        return pa.map_(one.key_type, wider(one.item_type, other.item_type))
    return other if widens(one, other) else one


def _are_alike(one: pa.DataType, other: pa.DataType) -> bool:
    """Whether two types are structs of the same fields, in the same order."""
    are_structs = pa.types.is_struct(one) and pa.types.is_struct(other)
    return are_structs and [field.name for field in one] == [field.name for field in other]


def is_list(arrow_type: pa.DataType) -> bool:
    """Return whether a type is a list of any kind."""
    types = pa.types
    return bool(types.is_list(arrow_type) or types.is_large_list(arrow_type) or types.is_fixed_size_list(arrow_type))


def is_text(arrow_type: pa.DataType) -> bool:
    """Return whether a type is text of any width."""
    types = pa.types
    return bool(types.is_string(arrow_type) or types.is_large_string(arrow_type) or types.is_string_view(arrow_type))


def is_bytes(arrow_type: pa.DataType) -> bool:
    """Return whether a type is bytes of any width."""
    types = pa.types
    return bool(
        types.is_binary(arrow_type)
        or types.is_large_binary(arrow_type)
        or types.is_binary_view(arrow_type)
        or types.is_fixed_size_binary(arrow_type)
    )


_SAME_KIND = (
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_boolean,
    pa.types.is_decimal,
    pa.types.is_date,
    pa.types.is_duration,
    is_text,
    is_bytes,
)
