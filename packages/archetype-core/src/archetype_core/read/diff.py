"""The difference of two ticks or branches, as a DataFrame of added, removed and changed rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from archetype_core.errors import SchemaMismatch
from archetype_core.read.lens import reading
from archetype_core.schema.archetype import Archetype
from archetype_core.schema.cast import widens, wider
from archetype_core.schema.component import Component, ComponentType
from archetype_core.schema.snapshot import ENTITY_ID, Snapshot, contiguous
from archetype_core.schema.version import Transition, version_in

if TYPE_CHECKING:
    from daft import DataFrame

SCHEMA = pa.schema(
    [
        ("op", pa.large_string()),
        ("entity_id", pa.int64()),
        ("column", pa.large_string()),
        ("before", pa.large_string()),
        ("after", pa.large_string()),
    ]
)

# No component column has this type.
_JSON = pa.binary()

Tables = Mapping[Archetype, Snapshot]


def diff(before: Tables, after: Tables, classes: Iterable[type[Component]] = ()) -> DataFrame:
    """One row per difference: ``op`` is ``added``, ``removed`` or ``changed``; values are JSON, null where there is none.

    An entity that was added, removed or moved to another archetype has one row with a null ``column`` and its component
    names; each column that differs has another row. Values are compared bit by bit: NaN equals itself, 0.0 differs from -0.0.

    Rows of all versions of ``classes`` are compared as the class has them, with renamed and converted fields (M8); what it
    has no field for is compared as well. Versions of other components are matched by name.
    """
    import daft

    named = tuple(classes)
    was, now = _Side.of(before, named), _Side.of(after, named)
    parts = [_component_rows(was.components, now.components)]
    there_before, there_after = pa.array(list(was.components), pa.int64()), pa.array(list(now.components), pa.int64())
    for name in dict.fromkeys([*was.parts, *now.parts]):
        old, new = was.parts.get(name, []), now.parts.get(name, [])
        types = _types([*old, *new])
        left, right = _gathered(old, types), _gathered(new, types)
        parts += [_column_rows(column, left, right, there_before, there_after) for column in types]
    table = pa.concat_tables(parts).sort_by([(ENTITY_ID, "ascending"), ("column", "ascending")])
    return daft.from_arrow(table)


@dataclass(frozen=True, slots=True)
class _Side:
    """The rows of one moment: each entity's component names, and each component's entity ids and columns."""

    components: dict[int, str]
    parts: dict[str, list[pa.Table]]

    @classmethod
    def of(cls, tables: Tables, classes: Sequence[type[Component]]) -> _Side:
        components: dict[int, str] = {}
        parts: dict[str, list[pa.Table]] = {}
        for archetype, rows in tables.items():
            table = rows.to_arrow()
            ways = _ways(archetype, classes)
            names = [kind.name if way is None else way.kind.name for kind, way in ways.items()]
            components.update(dict.fromkeys(rows.entity_ids.to_pylist(), json.dumps(sorted(names))))
            for name, (kind, way) in zip(names, ways.items(), strict=True):
                columns = {ENTITY_ID: table.column(ENTITY_ID)}
                columns.update({field.name: table.column(field.name) for field in kind.fields})
                if way is not None:
                    for source in way.sources:
                        for field in source.stored.columns if source.stored is not None else ():
                            columns.pop(field.name, None)
                    columns.update(way.arrays(table, "null"))
                parts.setdefault(name, []).append(pa.table(columns))
        return cls(components, parts)


def _ways(archetype: Archetype, classes: Sequence[type[Component]]) -> dict[ComponentType, Transition | None]:
    """The components of a table, each with the way to the class that it is read as, if that is not its own."""
    own = {one.component_type() for one in classes}
    ways: dict[ComponentType, Transition | None] = dict.fromkeys(archetype.components)
    for one in classes:
        version = version_in(archetype, one)
        if version is None or version in own or ways[version] is not None:
            continue
        # Values that the class cannot have without a converter are compared as they are stored.
        with suppress(SchemaMismatch):
            ways[version] = reading(version, one, "null")
    return ways


def _component_rows(was: Mapping[int, str], now: Mapping[int, str]) -> pa.Table:
    rows = []
    for entity_id in was.keys() | now.keys():
        old, new = was.get(entity_id), now.get(entity_id)
        if old != new:
            op = "added" if old is None else "removed" if new is None else "changed"
            rows.append((op, entity_id, None, old, new))
    return _table(rows)


def _types(versions: Iterable[pa.Table]) -> dict[str, pa.DataType]:
    """The columns of all versions of a component, each with a type that holds the values of all versions."""
    types: dict[str, pa.DataType] = {}
    for field in (field for table in versions for field in table.schema if field.name != ENTITY_ID):
        known = types.get(field.name, field.type)
        # Values of types that neither holds are compared as JSON.
        is_kin = widens(known, field.type) or widens(field.type, known)
        types[field.name] = wider(known, field.type) if is_kin else _JSON
    return types


def _gathered(tables: Sequence[pa.Table], types: Mapping[str, pa.DataType]) -> pa.Table:
    """All rows of one component, in any version, ordered by entity id."""
    schema = pa.schema([(ENTITY_ID, pa.int64()), *types.items()])
    found = [
        pa.Table.from_arrays(
            [table.column(ENTITY_ID), *(_as(table, column, kind) for column, kind in types.items())], schema=schema
        )
        for table in tables
    ]
    return (pa.concat_tables(found) if found else schema.empty_table()).sort_by(ENTITY_ID)


def _as(table: pa.Table, column: str, kind: pa.DataType) -> pa.ChunkedArray:
    if column not in table.column_names:
        return pa.chunked_array([pa.nulls(table.num_rows, kind)])
    values = table.column(column)
    if values.type == kind:
        return values
    if kind == _JSON:
        return pa.chunked_array([pa.array(_texts(values), pa.large_string()).cast(_JSON)])
    return values.cast(kind)


def _column_rows(name: str, old: pa.Table, new: pa.Table, was: pa.Array, now: pa.Array) -> pa.Table:
    old_ids, new_ids = old.column(ENTITY_ID), new.column(ENTITY_ID)
    in_new, in_old = pc.index_in(old_ids, value_set=new_ids), pc.index_in(new_ids, value_set=old_ids)
    both = pc.is_valid(in_new)
    left = contiguous(old.column(name).filter(both))
    right = contiguous(new.column(name).take(in_new.filter(both)))
    differs = pa.array(~same(left, right))
    ids = contiguous(old_ids.filter(both)).filter(differs)
    rows = [
        ("changed", *row)
        for row in zip(ids.to_pylist(), _texts(left.filter(differs)), _texts(right.filter(differs)), strict=True)
    ]
    gone, come = pc.is_null(in_new), pc.is_null(in_old)
    stays, was_there = set(now.to_pylist()), set(was.to_pylist())
    lost = zip(old_ids.filter(gone).to_pylist(), _texts(old.column(name).filter(gone)), strict=True)
    rows += [("changed" if one in stays else "removed", one, text, None) for one, text in lost]
    gained = zip(new_ids.filter(come).to_pylist(), _texts(new.column(name).filter(come)), strict=True)
    rows += [("changed" if one in was_there else "added", one, None, text) for one, text in gained]
    return _table([(op, one, name, before, after) for op, one, before, after in rows])


def same(left: pa.Array, right: pa.Array) -> np.ndarray[Any, Any]:
    """A mask of the rows in which two arrays of one type hold the same bits."""
    if not len(left) or all(
        a is b or (a is not None and b is not None and a.address == b.address) for a, b in _buffers(left, right)
    ):
        return np.ones(len(left), bool)
    kind = left.type
    if pa.types.is_floating(kind):
        bits = {16: pa.uint16(), 32: pa.uint32(), 64: pa.uint64()}[kind.bit_width]
        left, right = left.view(bits), right.view(bits)
    if pa.types.is_nested(kind):
        pairs = zip(_texts(left), _texts(right), strict=True)
        return np.fromiter((a == b for a, b in pairs), bool, len(left))
    equal = pc.fill_null(pc.equal(left, right), False).to_numpy(zero_copy_only=False)
    nulls = pc.and_(left.is_null(), right.is_null()).to_numpy(zero_copy_only=False)
    return np.asarray(equal | nulls, bool)


def _buffers(left: pa.Array, right: pa.Array) -> list[tuple[Any, Any]]:
    if left.offset != right.offset:
        return [(None, left)]
    return list(zip(left.buffers(), right.buffers(), strict=True))


def _texts(array: pa.Array | pa.ChunkedArray) -> list[str | None]:
    if array.type == _JSON:
        return [None if value is None else value.decode() for value in array.to_pylist()]
    return [None if value is None else _text(value) for value in array.to_pylist()]


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.hex()
    return json.dumps(value, default=lambda one: one.hex() if isinstance(one, bytes) else str(one))


def _table(rows: list[tuple[Any, ...]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(SCHEMA)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)
