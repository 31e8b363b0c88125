"""How the values of one field follow its class where they are lists, dicts and nested models (M8).

What holds for the fields of a component holds for those of a model inside it: a field with a default can be added, and a
type widened. A field that is gone, renamed or retyped needs a converter of the whole value.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from archetype_core.schema.cast import widens, wider
from archetype_core.schema.conform import filled_with_default, has_default
from archetype_core.schema.nested import ListOf, MapOf, Nullable, StructOf
from archetype_core.schema.scalar import Codec


def follows(stored: pa.DataType, codec: Codec, *, strict: bool, needs_defaults: bool = True) -> bool:
    """Return whether stored values become a field's by themselves.

    If strict, no value may be lost, and each model needs a default for what it lacks. Else, for a read, fields that the model
    does not have are left out, those that it lacks are null, and a wider type stays.
    """
    match _plain(codec):
        case ListOf(item=item) if pa.types.is_large_list(stored):
            return follows(stored.value_type, item, strict=strict, needs_defaults=needs_defaults)
        case MapOf(item=item) if pa.types.is_map(stored):
            return follows(stored.item_type, item, strict=strict, needs_defaults=needs_defaults)
        case StructOf() as struct if pa.types.is_struct(stored):
            held = _fields(stored)
            if strict and (
                held.keys() - struct.fields.keys() or (needs_defaults and any(without_default(stored, codec)))
            ):
                return False
            return all(
                follows(held[name], part, strict=strict, needs_defaults=needs_defaults)
                for name, part in struct.fields.items()
                if name in held
            )
        case other:
            return widens(stored, other.type) or (not strict and widens(other.type, stored))


def fields_added(stored: pa.DataType, codec: Codec) -> Iterator[str]:
    """Yield the fields of nested models that are not stored, as `Place.name`."""
    for struct, name in _added(stored, codec):
        yield f"{struct.model.__name__}.{name}"


def without_default(stored: pa.DataType, codec: Codec) -> Iterator[str]:
    """Yield those of `fields_added` that have no default."""
    for struct, name in _added(stored, codec):
        if not has_default(struct.model.model_fields[name]):
            yield f"{struct.model.__name__}.{name}"


def type_of(stored: pa.DataType, codec: Codec) -> pa.DataType:
    """Return the type in which a read gives stored values: the fields of the class, each as wide as stored or declared."""
    match _plain(codec):
        case ListOf(item=item) if pa.types.is_large_list(stored):
            return pa.large_list(pa.field("item", type_of(stored.value_type, item)))
        case MapOf(item=item) if pa.types.is_map(stored):
            return pa.map_(stored.key_type, type_of(stored.item_type, item))
        case StructOf() as struct if pa.types.is_struct(stored):
            held = _fields(stored)
            parts = struct.fields.items()
            return pa.struct([(name, type_of(held[name], one) if name in held else one.type) for name, one in parts])
        case other:
            return wider(stored, other.type)


def follow(values: pa.ChunkedArray, codec: Codec, fills: bool) -> pa.ChunkedArray:
    """Return stored values as `type_of` says; what nested models lack is null, or its default if `fills`."""
    wanted = type_of(values.type, codec)
    if values.type == wanted:
        return values
    return pa.chunked_array([_follow(chunk, codec, wanted, fills) for chunk in values.chunks], wanted)


def _added(stored: pa.DataType, codec: Codec) -> Iterator[tuple[StructOf, str]]:
    match _plain(codec):
        case ListOf(item=item) if pa.types.is_large_list(stored):
            yield from _added(stored.value_type, item)
        case MapOf(item=item) if pa.types.is_map(stored):
            yield from _added(stored.item_type, item)
        case StructOf() as struct if pa.types.is_struct(stored):
            held = _fields(stored)
            for name, part in struct.fields.items():
                if name in held:
                    yield from _added(held[name], part)
                else:
                    yield struct, name


def _follow(array: pa.Array, codec: Codec, wanted: pa.DataType, fills: bool) -> pa.Array:
    if array.type == wanted:
        return array
    match _plain(codec):
        case ListOf(item=item):
            items = _follow(array.flatten(), item, wanted.value_type, fills)
            return pa.LargeListArray.from_arrays(_offsets(array), items, type=wanted, mask=array.is_null())
        case MapOf(item=item):
            begin, end = array.offsets[0].as_py(), array.offsets[-1].as_py()
            keys, items = (one.slice(begin, end - begin) for one in (array.keys, array.items))
            offsets = pa.array(array.offsets.to_numpy() - begin)
            items = _follow(items, item, wanted.item_type, fills)
            return pa.MapArray.from_arrays(offsets, keys, items, type=wanted, mask=array.is_null())
        case StructOf() as struct:
            held = _fields(array.type)
            parts = [
                _follow(array.field(name), part, wanted.field(name).type, fills)
                if name in held
                else _lacking(struct, name, len(array), fills)
                for name, part in struct.fields.items()
            ]
            return pa.StructArray.from_arrays(parts, fields=list(wanted), mask=array.is_null())
        case _:
            return array.cast(wanted)


def _lacking(struct: StructOf, name: str, size: int, fills: bool) -> pa.Array:
    codec, info = struct.fields[name], struct.model.model_fields[name]
    if fills and has_default(info):
        return filled_with_default(info, size, [(codec.type, codec.encode)])[0]
    return pa.nulls(size, codec.type)


def _offsets(array: pa.Array) -> pa.Array:
    """The offsets of lists in what `flatten` gives, which leaves out what null lists hold."""
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    return pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int64())


def _fields(stored: pa.DataType) -> dict[str, pa.DataType]:
    return {field.name: field.type for field in stored}


def _plain(codec: Codec) -> Codec:
    return codec.inner if isinstance(codec, Nullable) else codec
