"""Entities that are spawned as a table: its columns named, cast and checked, and the rows that result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from archetype_core.engine.table_update import named
from archetype_core.errors import SchemaMismatch, SignatureError
from archetype_core.schema import message
from archetype_core.schema.archetype import Archetype
from archetype_core.schema.component import Component, ComponentType
from archetype_core.schema.snapshot import ENTITY_ID, Column, Snapshot, contiguous, owned


def conformed(data: Any, archetype: Archetype) -> pa.Table:
    """A table, DataFrame or mapping as a table with exactly the archetype's columns; bare field names are completed."""
    given = _to_arrow(data)
    table = archetype.conform(_named(given, archetype))
    # A table of tag components has rows and no columns.
    return table if archetype.column_names else given.select([])


def spawned_columns(
    data: Any, components: Sequence[type[Component] | ComponentType], *, copy: bool
) -> tuple[Archetype, dict[str, Column], int]:
    """The checked columns of entities that are spawned as a table."""
    archetype = storable(Archetype.of_classes(*components))
    table = conformed(data, archetype)
    columns = {
        name: Column(owned(table.column(name)) if copy else contiguous(table.column(name)))
        for name in archetype.column_names
    }
    return archetype, columns, table.num_rows


def spawned_part(archetype: Archetype, columns: Mapping[str, Column], ids: range) -> Snapshot:
    """The rows of entities that are spawned as a table, with their ids."""
    return Snapshot(archetype, {ENTITY_ID: Column(_consecutive(ids)), **columns}, len(ids))


def storable(archetype: Archetype) -> Archetype:
    """Return an archetype that entities can have; ``SignatureError`` for the engine's own."""
    if message.Message.component_type() in archetype:
        raise SignatureError("Message is the engine's own component and no entity can have it: use send()")
    return archetype


def _consecutive(ids: range) -> pa.Array:
    return pa.array(np.arange(ids.start, ids.stop, dtype=np.int64))


def _to_arrow(data: Any) -> pa.Table:
    if isinstance(data, pa.Table):
        return data
    if isinstance(data, pa.RecordBatch):
        return pa.Table.from_batches([data])
    if isinstance(data, Mapping):
        columns = {name: _column(name, values) for name, values in named(data).items()}
        try:
            return pa.table(columns)
        except pa.ArrowInvalid as failure:
            raise SchemaMismatch("(given columns)", [str(failure)]) from None
    if hasattr(data, "to_arrow"):
        return data.to_arrow()
    if hasattr(data, "__arrow_c_stream__"):
        return pa.table(data)
    raise TypeError(f"spawn_table takes an Arrow table, a DataFrame or a mapping of columns, not {type(data).__name__}")


def _column(name: str, values: Any) -> pa.Array | pa.ChunkedArray:
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values
    if isinstance(values, str | bytes) or not (hasattr(values, "__iter__") or hasattr(values, "__arrow_c_array__")):
        what = "text" if isinstance(values, str) else "value"
        difference = f"column {name} is a single {what}, {values!r}: pass a list with a value for each entity"
        raise SchemaMismatch("(given columns)", [difference])
    try:
        return pa.array(values)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as failure:
        raise SchemaMismatch("(given columns)", [f"column {name}: {failure}"]) from None


def _named(table: pa.Table, archetype: Archetype) -> pa.Table:
    """The table with bare field names completed, where only one component has that field."""
    bare: dict[str, list[str]] = {}
    for kind in archetype.components:
        for name in (column.name for column in kind.fields):
            bare.setdefault(name[len(kind.prefix) + 2 :], []).append(name)
    for name in table.column_names:
        if len(known := bare.get(name, ())) > 1:
            raise SchemaMismatch(archetype.name, [f"column {name} could be {' or '.join(known)}: use the full name"])
    full = set(archetype.column_names)
    names = [name if name in full else bare.get(name, [name])[0] for name in table.column_names]
    return table.rename_columns(names)
