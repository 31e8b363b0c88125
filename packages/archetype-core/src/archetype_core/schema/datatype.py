"""Arrow types of component columns as JSON.

Table identity is a hash of it, so it does not depend on how a version of pyarrow prints a type. A reader rebuilds the exact
types from it, even if a store returns narrower ones.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

_PLAIN: dict[str, pa.DataType] = {
    "bool": pa.bool_(),
    **{f"int{bits}": getattr(pa, f"int{bits}")() for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": getattr(pa, f"uint{bits}")() for bits in (8, 16, 32, 64)},
    **{f"float{bits}": getattr(pa, f"float{bits}")() for bits in (16, 32, 64)},
    "text": pa.large_string(),
    "bytes": pa.large_binary(),
    "date": pa.date32(),
}
_NAMES = {arrow_type: name for name, arrow_type in _PLAIN.items()}


def describe(arrow_type: pa.DataType) -> Any:
    """Return the description of a type; `KeyError` for a type that no component column has."""
    types = pa.types
    if types.is_fixed_size_list(arrow_type):
        return {"vector": describe(arrow_type.value_type), "size": arrow_type.list_size}
    if types.is_large_list(arrow_type):
        return {"list": describe(arrow_type.value_type)}
    if types.is_struct(arrow_type):
        return {"struct": [[field.name, describe(field.type)] for field in arrow_type]}
    if types.is_map(arrow_type):
        return {"map": describe(arrow_type.item_type)}
    if types.is_timestamp(arrow_type):
        return {"timestamp": arrow_type.unit, "tz": arrow_type.tz}
    if types.is_duration(arrow_type):
        return {"duration": arrow_type.unit}
    if types.is_decimal128(arrow_type):
        return {"decimal": [arrow_type.precision, arrow_type.scale]}
    if types.is_fixed_size_binary(arrow_type):
        return {"binary": arrow_type.byte_width}
    return _NAMES[arrow_type]


def restore(description: Any) -> pa.DataType:
    """Return the type that `describe` described."""
    match description:
        case str():
            return _PLAIN[description]
        case {"vector": item, "size": size}:
            return pa.list_(restore(item), size)
        case {"list": item}:
            return pa.large_list(pa.field("item", restore(item)))
        case {"struct": fields}:
            return pa.struct([pa.field(name, restore(item)) for name, item in fields])
        case {"map": item}:
            return pa.map_(pa.large_string(), restore(item))
        case {"timestamp": unit, "tz": tz}:
            return pa.timestamp(unit, tz)
        case {"duration": unit}:
            return pa.duration(unit)
        case {"decimal": [precision, scale]}:
            return pa.decimal128(precision, scale)
        case {"binary": width}:
            return pa.binary(width)
    raise KeyError(f"{description!r} is not an Arrow type that this version knows")
