"""How tables that were written by several versions of a component answer one read (M8)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa

from archetype_core import telemetry
from archetype_core.schema.archetype import Archetype
from archetype_core.schema.cast import wider
from archetype_core.schema.component import Component, ComponentType, type_of_class
from archetype_core.schema.message import Message
from archetype_core.schema.version import Missing, Source, Transition, transition, unexplained, version_in
from archetype_core.store.request import BASE_FIELDS


@dataclass(frozen=True, slots=True)
class Lens:
    """One table's view of a read: which stored columns the asked ones come from, and how."""

    transitions: tuple[Transition, ...]
    schema: pa.Schema
    """The columns of the read. Those that no transition makes are read as they are stored."""
    missing: Missing

    def stored(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the stored columns that some columns of the read need."""
        found: dict[str, None] = {}
        for name in names:
            made = self._made(name)
            if made is None:
                found[name] = None
            elif (stored := made[1].stored) is not None:
                found.update(dict.fromkeys(column.name for column in stored.columns))
        return tuple(found)

    def untouched(self, table: pa.Schema) -> pa.Schema:
        """Return the part of a table's schema whose columns answer the read as they are stored, so filters may be pushed."""
        kept = {
            column.name
            for one in self.transitions
            for source in one.sources
            if source.is_kept
            for column in _of(source)
        }
        return pa.schema([column for column in table if column.name in kept and self._type(column.name) == column.type])

    def through(self, table: pa.Table, names: Sequence[str]) -> pa.Table:
        """Return columns of the read, from the stored ones that they need."""
        made: dict[str, pa.ChunkedArray] = {}
        columns = []
        for name in names:
            way = self._made(name)
            if way is None:
                columns.append(table.column(name))
                continue
            if name not in made:
                one, source = way
                made.update(Transition(one.stored, one.cls, (source,)).arrays(table, self.missing))
            column, wanted = made[name], self._type(name)
            columns.append(column if column.type == wanted else column.cast(wanted))
        return pa.Table.from_arrays(columns, schema=pa.schema([self.schema.field(name) for name in names]))

    def plain(self, name: str) -> str | None:
        """Return the stored column that has a column's values as they are, if one has."""
        made = self._made(name)
        if made is None:
            return name
        stored = made[1].stored
        if stored is None or made[1].convert is not None or stored.columns[0].type != self._type(name):
            return None
        return str(stored.columns[0].name)

    def _made(self, name: str) -> tuple[Transition, Source] | None:
        """The transition and source of a column; `None` if it is read as it is stored."""
        for one in self.transitions:
            for source in one.sources:
                if any(column.name == name for column in _of(source)):
                    return one, source
        return None

    def _type(self, name: str) -> pa.DataType:
        return self.schema.field(name).type


def lenses(
    components: Sequence[type[Component]], archetypes: Iterable[Archetype], missing: Missing
) -> tuple[pa.Schema, Mapping[Archetype, Lens | None]]:
    """Return the schema of a read, and the tables that answer it, each with its lens; `None` where no lens is needed.

    The schema has the base columns, then those of the components, wide enough for every version.
    """
    if missing not in ("null", "default"):
        raise ValueError(f"missing is 'null' or 'default', not {missing!r}")
    columns = {column.name: column for one in components for column in type_of_class(one).fields}
    found: dict[Archetype, tuple[Transition, ...]] = {}
    for archetype in archetypes:
        versions = [(one, version_in(archetype, one)) for one in components]
        is_asked = Message in components or Message not in archetype
        if not is_asked or any(version is None for _, version in versions):
            continue
        ways = [reading(version, one, missing) for one, version in versions if version is not None]
        found[archetype] = tuple(ways)
        changed = [way for way in ways if way.stored != way.kind]
        for column in (column for way in changed for source in way.sources for column in source.form(missing)):
            other = columns[column.name]
            is_nullable = other.nullable or column.nullable
            columns[column.name] = pa.field(column.name, wider(other.type, column.type), is_nullable)
    schema = pa.schema([*BASE_FIELDS.values(), *columns.values()])
    # Rows of the classes' own form need a lens only if those of another are wider.
    return schema, {
        archetype: None if _is_plain(ways, schema) else Lens(ways, schema, missing) for archetype, ways in found.items()
    }


def reading(stored: ComponentType, cls: type[Component], missing: Missing) -> Transition:
    """Return the way from a stored form to a class for a read.

    A field may have had a name that the class does not declare. Then the stored form need not lack it: it is null with a
    warning, and `SchemaMismatch` if it were to be its default.
    """
    way = transition(stored, cls, strict=False)
    if way.unexplained:
        if missing == "default":
            raise unexplained(way)
        _warn_once(way)
    return way


@lru_cache(maxsize=4096)
def _warn_once(way: Transition) -> None:
    telemetry.log.warning("%s read as null: %s", ", ".join(way.unexplained), unexplained(way))


def _of(source: Source) -> tuple[pa.Field, ...]:
    return source.field.columns


def _is_plain(ways: Iterable[Transition], schema: pa.Schema) -> bool:
    """Whether a table has exactly the columns of the read."""
    return all(
        way.stored == way.kind and all(schema.field(column.name).type == column.type for column in way.kind.fields)
        for way in ways
    )
