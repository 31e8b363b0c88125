"""Archetypes: sets of component types, and the tables that store them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from archetype_core.errors import SchemaMismatch, SignatureError
from archetype_core.schema.component import Component, ComponentType, type_of_class
from archetype_core.schema.conform import columns_of
from archetype_core.schema.datatype import describe, restore

BASE_COLUMNS = ("world_id", "run_id", "entity_id", "tick", "is_active")
"""The columns of every stored row, before those of its components."""

_METADATA = b"archetype"
_VERSION = 1
_READABLE = 60

AnyComponent = type[Component] | ComponentType | Component


def type_of(component: object) -> ComponentType:
    """Return the component type of a class, an instance, or a type itself."""
    if isinstance(component, ComponentType):
        return component
    kind = component if isinstance(component, type) else type(component)
    if issubclass(kind, Component):
        return kind.component_type()
    raise SignatureError(f"{component!r} is not a component: give a Component class, an instance or a ComponentType")


@dataclass(frozen=True, eq=False)
class Archetype:
    """A set of component types, sorted by name, and its table's name and schema. `of` returns one object per table."""

    components: tuple[ComponentType, ...]
    name: str = field(init=False)
    schema: pa.Schema = field(init=False, repr=False)
    column_names: tuple[str, ...] = field(init=False, repr=False)
    _keys: frozenset[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        components = tuple(sorted(self.components, key=lambda component: component.name))
        _check(components)
        fields = [column for component in components for column in component.fields]
        derived = {
            "components": components,
            "name": _table_name(components),
            "schema": pa.schema(
                [pa.field("entity_id", pa.int64(), nullable=False), *fields], {_METADATA: _metadata(components)}
            ),
            "column_names": tuple(column.name for column in fields),
            "_keys": frozenset(component.key for component in components),
        }
        for attribute, value in derived.items():
            object.__setattr__(self, attribute, value)

    @classmethod
    def of(cls, *components: AnyComponent) -> Archetype:
        """Return the archetype of some components, in any order; cached.

        `SignatureError` for no component, a component given twice, and two classes that share a column.
        """
        types = tuple(map(type_of, components))
        keys = tuple(component.key for component in types)
        known = _KNOWN.get(keys)
        if known is None:
            made = cls(types)
            # One object per table: archetypes compare by identity, which every tick does often.
            known = _KNOWN[keys] = _BY_TABLE.setdefault(made.name, made)
        return known

    @classmethod
    def of_classes(cls, *components: object) -> Archetype:
        """Return the archetype of component classes; ``TypeError`` for an instance, whose values would be lost."""
        return cls.of(*(one if isinstance(one, ComponentType) else type_of_class(one) for one in components))

    @classmethod
    def from_schema(cls, schema: pa.Schema) -> Archetype:
        """Return the archetype that a schema's metadata describes; its classes need not be defined."""
        raw = (schema.metadata or {}).get(_METADATA)
        if raw is None:
            raise SchemaMismatch(
                "?", ["the schema has no archetype metadata: it is not the schema of an archetype's table"]
            )
        if (known := _BY_METADATA.get(raw)) is not None:
            return known
        try:
            described = json.loads(raw)
            version = described["version"]
            if version != _VERSION:
                raise SchemaMismatch(described["table"], [f"metadata version {version} is not {_VERSION}"])
            types = [
                ComponentType.of(
                    component["name"],
                    [pa.field(name, restore(kind), nullable) for name, kind, nullable in component["columns"]],
                )
                for component in described["components"]
            ]
            made, table = cls.of(*types), described["table"]
        except (KeyError, ValueError, TypeError) as exc:
            if isinstance(exc, SchemaMismatch):
                raise
            raise SchemaMismatch("?", [f"the archetype metadata cannot be read: {exc}"]) from exc
        if made.name != table:
            raise SchemaMismatch(table, [f"its metadata describes table {made.name}"])
        _BY_METADATA[raw] = made
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return Archetype.of, self.components

    def __contains__(self, component: AnyComponent) -> bool:
        return type_of(component).key in self._keys

    def has(self, components: Iterable[AnyComponent]) -> bool:
        """Return whether it has all these components."""
        return all(component in self for component in components)

    def plus(self, *components: AnyComponent) -> Archetype:
        """Return the archetype with these components added; those that it has change nothing."""
        more = dict.fromkeys(map(type_of, components))
        return Archetype.of(*self.components, *(component for component in more if component not in self))

    def minus(self, *components: AnyComponent) -> Archetype:
        """Return the archetype without these components; `SignatureError` if none is left."""
        less = set(map(type_of, components))
        rest = [component for component in self.components if component not in less]
        if not rest:
            names = ", ".join(component.name for component in self.components)
            raise SignatureError(f"the entity would have no component without {names}: despawn it")
        return Archetype.of(*rest)

    def conform(self, data: pa.Table) -> pa.Table:
        """Return the component columns of `data`, in order and exactly typed.

        Columns may have any order, and a narrower or wider type of the same kind if every value fits. A column that has
        its type is not copied. A missing column gets the field's default; a default factory runs once per row. Without a
        zone column, datetimes are naive or in the zone of their Arrow type.

        An unknown column is a `SchemaMismatch`, a value that does not fit a `ValueRejected` with the first bad row. Of
        pydantic's checks only a field's `ge`, `gt`, `le`, `lt`, `min_length` and `max_length` apply, and none to a plain
        datetime.
        """
        names = data.column_names
        differences = [f"unknown column {name!r}" for name in dict.fromkeys(names) if name not in self.schema.names[1:]]
        differences += [f"column {name!r} is given twice" for name in dict.fromkeys(names) if names.count(name) > 1]
        if differences:
            raise SchemaMismatch(self.name, [*differences, f"the columns are {', '.join(self.column_names) or 'none'}"])
        columns = [column for component in self.components for column in columns_of(component, data)]
        return pa.Table.from_arrays(columns, schema=pa.schema(list(self.schema)[1:]))


# archetypes by the keys of their components in the order given
_KNOWN: dict[tuple[str, ...], Archetype] = {}
_BY_TABLE: dict[str, Archetype] = {}
_BY_METADATA: dict[bytes, Archetype] = {}


def _check(components: tuple[ComponentType, ...]) -> None:
    if not components:
        raise SignatureError("no component is given: an entity needs at least one")
    owners: dict[str, ComponentType] = {}
    prefixes: dict[str, ComponentType] = {}
    for component in components:
        other = prefixes.get(component.prefix)
        if other is not None:
            if other == component:
                raise SignatureError(f"{component.name} is given twice: an entity has a component once")
            raise SignatureError(
                f"{_spell(other)} and {_spell(component)} share the column prefix {component.prefix!r}: rename one of "
                "the classes (or, after a redefinition, use instances of the new class only)"
            )
        prefixes[component.prefix] = component
        for column in component.fields:
            other = owners.setdefault(column.name, component)
            if other is not component:
                raise SignatureError(
                    f"{_spell(other)} and {_spell(component)} share column {column.name!r}: rename one of the fields"
                )


def _spell(component: ComponentType) -> str:
    return f"{component.name}({', '.join(f'{column.name}: {column.type}' for column in component.fields)})"


def _table_name(components: tuple[ComponentType, ...]) -> str:
    # the digest is the identity, the rest is for readers; ASCII, because file systems fold other letters differently
    readable = "_".join(re.sub(r"[^a-z0-9]+", "_", component.prefix).strip("_") or "x" for component in components)
    digest = hashlib.sha256("\n".join(component.key for component in components).encode()).hexdigest()[:16]
    return f"{readable[:_READABLE].rstrip('_')}_{digest}"


def _metadata(components: tuple[ComponentType, ...]) -> bytes:
    described = [
        {"name": one.name, "columns": [[column.name, describe(column.type), column.nullable] for column in one.fields]}
        for one in components
    ]
    metadata = {"version": _VERSION, "table": _table_name(components), "components": described}
    return json.dumps(metadata, separators=(",", ":")).encode()
