"""The columns of many updates at once: named, cast and checked before they are staged (M7)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from archetype_core.argument import nearest
from archetype_core.engine.arrays import column_name
from archetype_core.engine.column_value import to_arrow
from archetype_core.engine.mutation_log import ColumnValues, UpdatedTable
from archetype_core.engine.selection import Places
from archetype_core.engine.settle import fields_of_columns
from archetype_core.errors import SchemaMismatch, SignatureError, ValueRejected
from archetype_core.schema.archetype import BASE_COLUMNS, Archetype
from archetype_core.schema.component import ComponentType, types_with_column
from archetype_core.schema.fit import Misfit, fit, fit_moment
from archetype_core.schema.snapshot import ENTITY_ID

Given = dict[str, Any]
"""Values by column name: one for each entity, or one for all."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What an ``update_table`` stages: checked columns of their own memory, by the archetypes of the entities."""

    parts: tuple[UpdatedTable, ...] = ()

    @property
    def num_rows(self) -> int:
        """The number of entities."""
        return sum(len(part.entity_ids) for part in self.parts)

    @property
    def column_names(self) -> list[str]:
        """The columns that are written."""
        return list(dict.fromkeys(name for part in self.parts for given in part.values.values() for name in given))

    def to_arrow(self) -> pa.Table:
        """The changes as a table that ``update_table`` takes: ``entity_id`` and the columns."""
        tables = [
            pa.table({ENTITY_ID: part.entity_ids, **{k: a for given in part.values.values() for k, a in given.items()}})
            for part in self.parts
        ]
        nobody = pa.table({ENTITY_ID: pa.array([], pa.int64())})
        return pa.concat_tables(tables, promote_options="permissive") if tables else nobody


def named(data: Any) -> Given:
    """The columns of a mapping, an Arrow table or a DataFrame, by name."""
    if isinstance(data, Mapping):
        columns: Given = {}
        for key, value in data.items():
            name = column_name(key)
            if name in columns:
                raise SchemaMismatch("(given columns)", [f"column {name} is given twice"])
            columns[name] = value
        return columns
    if hasattr(data, "to_arrow"):
        data = data.to_arrow()
    if isinstance(data, pa.Table | pa.RecordBatch) or hasattr(data, "__arrow_c_stream__"):
        table = pa.table(data)
        if len(set(table.column_names)) < len(table.column_names):
            raise SchemaMismatch("(given columns)", [f"columns are given twice: {', '.join(table.column_names)}"])
        return {name: table.column(name) for name in table.column_names}
    raise TypeError(f"columns are given as a mapping, an Arrow table or a DataFrame, not {data!r}")


def check_columns(given: Given) -> None:
    """Raise ``SchemaMismatch`` for a column that no component has."""
    for name in given:
        if not types_with_column(name):
            raise _unknown(name, ())


def grouped(given: Given, places: Places) -> Changes:
    """The checked columns of some entities, by archetype.

    ``SignatureError`` for a component that an entity lacks, ``SchemaMismatch`` for an unknown column, ``ValueRejected``
    with the row for a value that the column cannot hold.
    """
    arrays: dict[tuple[ComponentType, str], dict[str, pa.Array]] = {}
    parts = []
    for archetype, positions in places.groups():
        owners = {column.name: kind for kind in archetype.components for column in kind.fields}
        values: ColumnValues = {}
        for name in given:
            kind = owners.get(name)
            if kind is None:
                raise _lacking(name, archetype, int(places.ids[positions[0]]))
            cast = arrays.get((kind, name))
            if cast is None:
                cast = arrays[kind, name] = _cast(name, given, kind, archetype, len(places.ids))
            whole = len(positions) == len(places.ids)
            part = cast if whole else {one: array.take(pa.array(positions)) for one, array in cast.items()}
            values.setdefault(kind, {}).update(part)
        parts.append(UpdatedTable(pa.array(places.ids[positions]), values))
    return Changes(tuple(parts))


def _lacking(name: str, archetype: Archetype, entity_id: int) -> Exception:
    owner = next(iter(types_with_column(name)), None)
    if owner is None:
        return _unknown(name, archetype.column_names)
    return SignatureError(
        f"entity {entity_id} has no {owner.name}: update changes components it has, add_components adds new ones"
    )


def _unknown(name: str, known: Iterable[str]) -> SchemaMismatch:
    if name in BASE_COLUMNS:
        return SchemaMismatch("(given columns)", [f"column {name}: only the engine writes it, leave it out"])
    hint = nearest(name, known) or ": name it in full, such as Position.c.x or position__x"
    return SchemaMismatch("(given columns)", [f"no component has a column {name}{hint}"])


def _cast(name: str, given: Given, kind: ComponentType, archetype: Archetype, count: int) -> dict[str, pa.Array]:
    fields = fields_of_columns(archetype)
    field = fields[name]
    try:
        if field.at is None:
            return {name: fit(to_arrow([given[name]], field.type, field.codec, count), field.codec)}
        if name != field.at:
            if field.at not in given:
                raise Misfit(None, f"it is the zone of {field.at}: give both")
            return {}
        assert field.zone is not None
        at, zone = to_arrow([given[name]], field.type, field.codec, count), None
        if pa.types.is_struct(at.type):
            at, zone = at.flatten()
        elif field.zone in given:
            zone = to_arrow([given[field.zone]], fields[field.zone].type, fields[field.zone].codec, count)
        arrays = fit_moment(at, zone, nullable=field.nullable)
        return dict(zip((field.at, field.zone), arrays, strict=True))
    except Misfit as misfit:
        raise ValueRejected(kind.name, name[len(kind.prefix) + 2 :], str(misfit), row=misfit.row) from None
