"""The door for whole columns: what ``spawn_table`` takes is checked here, vectorized, before it is staged (M7)."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic_core import PydanticUndefined

from archetype_core.archetype import Archetype
from archetype_core.cast import CastRefused, cast
from archetype_core.component import ComponentField, fields_of
from archetype_core.errors import SchemaMismatch, ValueRejected
from archetype_core.nested import ListOf, MapOf, Nullable, StructOf
from archetype_core.scalar import Choice, Codec, Member, Refusal, Uuid
from archetype_core.snapshot import contiguous
from archetype_core.temporal import zone_named
from archetype_core.vector import VectorOf

_UUID = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"


def conform(table: pa.Table, archetype: Archetype) -> dict[str, pa.Array]:
    """The archetype's component columns, from a table that has them under their full or their bare field names.

    Columns of the right type are taken by reference, others cast where no value changes; a missing column is filled with
    the field's default. Types, nulls, enum and literal sets are checked; validators of the component class are not run.
    """
    given = _named(table, archetype)
    columns: dict[str, pa.Array] = {}
    for kind in archetype.components:
        for field in fields_of(kind):
            columns.update(_field(kind.name, field, given, table.num_rows))
    unknown = sorted(given.keys() - columns.keys())
    if unknown:
        has = ", ".join(archetype.column_names) or "none"
        raise SchemaMismatch(archetype.name, [f"there is no column {name}; it has {has}" for name in unknown])
    return columns


def _named(table: pa.Table, archetype: Archetype) -> dict[str, pa.Array]:
    """The given columns by full name; a bare field name will do where only one component has such a field."""
    full = set(archetype.column_names)
    bare: dict[str, list[str]] = {}
    for kind in archetype.components:
        for field in kind.fields:
            bare.setdefault(field.name[len(kind.prefix) + 2 :], []).append(field.name)
    given: dict[str, pa.Array] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        known = bare.get(name, ())
        spelled = name if name in full or not known else known[0]
        if name not in full and len(known) > 1:
            raise SchemaMismatch(archetype.name, [f"column {name} could be {' or '.join(known)}: spell it out"])
        if spelled in given:
            raise SchemaMismatch(archetype.name, [f"column {spelled} is given twice"])
        given[spelled] = contiguous(column)
    return given


def _field(component: str, field: ComponentField, given: dict[str, pa.Array], count: int) -> dict[str, pa.Array]:
    name = field.columns[0].name
    if name not in given:
        return _defaults(component, field, count)
    array = given[name]
    zones = None
    if len(field.columns) == 2:
        zones = given.get(field.columns[1].name)
        if pa.types.is_timestamp(array.type) and array.type.tz is not None:
            if zones is None:
                zones = pc.if_else(array.is_valid(), array.type.tz, None).cast(pa.large_string())
            array = array.cast(pa.timestamp(array.type.unit, "UTC")).cast(pa.timestamp(array.type.unit))
    try:
        checked = {name: _checked(array, field.columns[0].type, field.codec, is_split=len(field.columns) == 2)}
        if len(field.columns) == 2:
            checked[field.columns[1].name] = _zones(zones, count)
    except (CastRefused, Refusal) as failure:
        raise ValueRejected(component, field.name, str(failure)) from failure
    except _BadRow as bad:
        raise ValueRejected(component, field.name, bad.reason, row=bad.row) from None
    return checked


class _BadRow(Exception):
    def __init__(self, row: int, reason: str) -> None:
        self.row, self.reason = row, reason
        super().__init__(reason)


def _checked(array: pa.Array, wanted: pa.DataType, codec: Codec, is_split: bool) -> pa.Array:
    try:
        array = cast(array, wanted)
    except CastRefused:
        _find(array, wanted)
        raise
    if is_split:
        if array.null_count and not isinstance(codec, Nullable):
            raise _BadRow(_first(array.is_null()), "it is null, and the field is not Optional")
    else:
        _check(array, codec, None)
    return array


def _find(array: pa.Array, wanted: pa.DataType) -> None:
    """Name the first row that cannot be cast, where the kind as such would do."""
    low, high = 0, len(array)
    try:
        cast(array.slice(0, 0), wanted)
    except CastRefused:
        return
    while high - low > 1:
        middle = (low + high) // 2
        try:
            cast(array.slice(low, middle - low), wanted)
            low = middle
        except CastRefused:
            high = middle
    try:
        cast(array.slice(low, 1), wanted)
    except CastRefused as failure:
        raise _BadRow(low, str(failure)) from failure


def _check(array: pa.Array, codec: Codec, parents: pa.Array | None) -> None:
    """Refuse nulls where the codec has none, and values outside its set; ``parents`` are the rows nested values are of."""

    def refuse(mask: pa.Array, reason: str) -> None:
        place = _first(mask)
        raise _BadRow(place if parents is None else parents[place].as_py(), reason)

    if isinstance(codec, Nullable):
        if array.null_count:
            kept = pc.indices_nonzero(array.is_valid()).cast(pa.int64())
            _check(array.take(kept), codec.inner, kept if parents is None else parents.take(kept))
            return
        codec = codec.inner
    elif array.null_count:
        refuse(array.is_null(), "it is null, and the field is not Optional")
    rows = parents
    if isinstance(codec, ListOf | MapOf | VectorOf | StructOf):
        if rows is None:
            rows = pa.array(range(len(array)), pa.int64()) if len(array) < 4096 else _numbers(len(array))
    if isinstance(codec, Choice | Member):
        known = pa.array(list(codec.stored), array.type)
        if not pc.all(member := pc.is_in(array, value_set=known), min_count=0).as_py():
            refuse(pc.invert(member), f"it is none of {', '.join(map(repr, codec.stored))}")
    elif isinstance(codec, Uuid):
        if not pc.all(fits := pc.match_substring_regex(array, _UUID), min_count=0).as_py():
            refuse(pc.invert(fits), "it is not the canonical text of a UUID")
    elif isinstance(codec, ListOf):
        _check(pc.list_flatten(array), codec.item, rows.take(pc.list_parent_indices(array)))
    elif isinstance(codec, VectorOf):
        values = pc.list_flatten(array)
        if values.null_count:
            rows = rows.take(pc.list_parent_indices(array))
            raise _BadRow(rows[_first(values.is_null())].as_py(), "it holds a null")
    elif isinstance(codec, StructOf):
        for index, inner in enumerate(codec.fields.values()):
            _check(pc.struct_field(array, [index]), inner, rows)
    elif isinstance(codec, MapOf):
        pairs = array.cast(pa.large_list(pa.struct([("key", array.type.key_type), ("value", array.type.item_type)])))
        _check(pc.struct_field(pc.list_flatten(pairs), [1]), codec.item, rows.take(pc.list_parent_indices(pairs)))


def _numbers(count: int) -> pa.Array:
    import numpy as np

    return pa.array(np.arange(count))


def _first(mask: pa.Array) -> int:
    place: int = pc.index(mask, True).as_py()
    return place


def _zones(zones: pa.Array | None, count: int) -> pa.Array:
    if zones is None:
        return pa.nulls(count, pa.large_string())
    zones = cast(zones, pa.large_string())
    for name in pc.unique(zones).to_pylist():
        if name is not None:
            zone_named(name)
    return zones


def _defaults(component: str, field: ComponentField, count: int) -> dict[str, pa.Array]:
    value = field.info.get_default(call_default_factory=False)
    factory: Any = field.info.default_factory
    if value is PydanticUndefined and factory is None:
        raise ValueRejected(component, field.name, "the column is missing, and the field has no default")
    values = [factory() for _ in range(count)] if factory is not None else [value]
    if len(field.columns) == 2:
        from archetype_core.temporal import split

        stored = [(None, None) if one is None else split(one) for one in values]
    else:
        stored = [(field.codec.encode(one),) for one in values]
    arrays = [
        pa.array(list(column), one.type) for column, one in zip(zip(*stored, strict=True), field.columns, strict=True)
    ]
    if factory is None:
        indices = pa.repeat(pa.scalar(0, pa.int64()), count)
        arrays = [array.take(indices) for array in arrays]
    return {one.name: array for one, array in zip(field.columns, arrays, strict=True)}
