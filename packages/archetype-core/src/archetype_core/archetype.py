"""Archetypes: exact sets of component types, each with one table whose name says which."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import pyarrow as pa

from archetype_core.component import Component, ComponentType
from archetype_core.datatype import describe, restore
from archetype_core.errors import SignatureError

BASE_COLUMNS = ("world_id", "run_id", "entity_id", "tick", "is_active")

_METADATA = b"archetype"
_NAME_LENGTH = 56

Kind = type[Component] | ComponentType | Component


@dataclass(frozen=True, eq=False)
class Archetype:
    """A set of component types and the table of the entities that have exactly these; equal when the tables are.

    The table's name is made of the components' names and a hash over names and columns, so it is the same in every
    process, and a component with other fields leads to another table (M4).
    """

    components: tuple[ComponentType, ...]
    """By name."""
    name: str
    """The table's: lower case, safe in file systems."""
    schema: pa.Schema
    """``entity_id`` and the components' columns; its metadata tells any process what the components are."""

    _known: ClassVar[dict[frozenset[ComponentType], Archetype]] = {}

    @classmethod
    def of(cls, *components: Kind) -> Archetype:
        """The archetype of some components, in any order; refuses none, the same one twice, and two with one prefix."""
        kinds = tuple(map(_kind, components))
        key = frozenset(kinds)
        found = cls._known.get(key)
        if found is not None and len(key) == len(kinds):
            return found
        ordered = tuple(sorted(kinds, key=lambda kind: kind.name))
        _check(ordered)
        fields = [pa.field("entity_id", pa.int64(), nullable=False), *(one for kind in ordered for one in kind.fields)]
        form = json.dumps([_description(kind) for kind in ordered], separators=(",", ":"))
        made = cls(ordered, _name(ordered), pa.schema(fields, metadata={_METADATA: form.encode()}))
        return cls._known.setdefault(key, made)

    @classmethod
    def from_schema(cls, schema: pa.Schema) -> Archetype:
        """The archetype that a stored schema describes; needs none of the component classes."""
        form = (schema.metadata or {}).get(_METADATA)
        if form is None:
            raise SignatureError("the schema describes no archetype: its metadata is missing")
        kinds = []
        for name, fields in json.loads(form):
            columns = [pa.field(column, restore(kind), nullable=nullable) for column, kind, nullable in fields]
            kinds.append(ComponentType.of(name, columns))
        return cls.of(*kinds)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Archetype) and self.name == other.name)

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash(self.name)

    @cached_property
    def _set(self) -> frozenset[ComponentType]:
        return frozenset(self.components)

    @cached_property
    def column_names(self) -> tuple[str, ...]:
        """The component columns, in order."""
        return tuple(self.schema.names[1:])

    def __contains__(self, component: type[Component] | ComponentType) -> bool:
        return _kind(component) in self._set

    def __repr__(self) -> str:
        return f"Archetype({', '.join(kind.name for kind in self.components)})"

    def has(self, components: Iterable[type[Component] | ComponentType]) -> bool:
        """Whether all of the components are in it."""
        return all(_kind(component) in self._set for component in components)

    def plus(self, *components: type[Component] | ComponentType) -> Archetype:
        """The archetype with these too."""
        new = (kind for kind in map(_kind, components) if kind not in self._set)
        return Archetype.of(*self.components, *new)

    def minus(self, *components: type[Component] | ComponentType) -> Archetype:
        """The archetype without these; ``SignatureError`` if none would be left."""
        gone = set(map(_kind, components))
        kept = [kind for kind in self.components if kind not in gone]
        if not kept:
            raise SignatureError(f"{self!r} would lose its last component: despawn the entity instead")
        return Archetype.of(*kept)


def _kind(component: Kind) -> ComponentType:
    if isinstance(component, ComponentType):
        return component
    if isinstance(component, Component):
        return type(component).component_type()
    if isinstance(component, type) and issubclass(component, Component):
        return component.component_type()
    raise SignatureError(f"{component!r} is no component")


def _check(ordered: tuple[ComponentType, ...]) -> None:
    if not ordered:
        raise SignatureError("an entity has at least one component; none was given")
    by_prefix: dict[str, ComponentType] = {}
    columns: dict[str, ComponentType] = {}
    for kind in ordered:
        other = by_prefix.setdefault(kind.prefix, kind)
        if other is not kind:
            if other == kind:
                raise SignatureError(f"component {kind.name} is given twice")
            both = f"{other.name} ({_columns(other)}) and {kind.name} ({_columns(kind)})"
            raise SignatureError(f"{both} have one column prefix, {kind.prefix!r}: rename one of the classes")
        for field in kind.fields:
            owner = columns.setdefault(field.name, kind)
            if owner is not kind:
                raise SignatureError(f"{owner.name} and {kind.name} both have a column {field.name!r}: rename one")


def _columns(kind: ComponentType) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in kind.fields) or "no columns"


def _description(kind: ComponentType) -> list[object]:
    return [kind.name, [[field.name, describe(field.type), field.nullable] for field in kind.fields]]


def _name(ordered: tuple[ComponentType, ...]) -> str:
    digest = hashlib.sha256("\n".join(kind.key for kind in ordered).encode()).hexdigest()[:16]
    readable = re.sub(r"[^a-z0-9_]", "", "_".join(kind.prefix for kind in ordered))[:_NAME_LENGTH].strip("_")
    return f"{readable}_{digest}" if readable else f"archetype_{digest}"
