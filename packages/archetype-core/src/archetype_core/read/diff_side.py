"""One side of a difference: the rows of a moment, component by component, read when they are needed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from archetype_core.errors import SchemaMismatch
from archetype_core.read.lens import reading
from archetype_core.read.position import Ids
from archetype_core.schema.archetype import Archetype
from archetype_core.schema.component import Component, ComponentType
from archetype_core.schema.snapshot import ENTITY_ID, contiguous
from archetype_core.schema.version import Source, Transition, version_in

Tables = Mapping[Archetype, Callable[[Sequence[str]], pa.Table]]
"""The live rows of a moment: a function per table that reads some of its columns."""

JSON = pa.binary()
"""The type in which values are compared whose types have no common one. No component column has it."""


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of one component in one table."""

    read: Callable[[Sequence[str]], pa.Table]
    types: Mapping[str, pa.DataType]
    """The columns that it offers: those of its class if the table has another version, and those that this lacks."""
    made: Mapping[str, tuple[Transition, Source]]

    @classmethod
    def of(cls, read: Callable[[Sequence[str]], pa.Table], kind: ComponentType, way: Transition | None) -> Part:
        """The part of a table, seen through the way to another version if there is one."""
        types = {one.name: one.type for one in kind.fields}
        made = {}
        for source in way.sources if way is not None else ():
            assert way is not None
            for one in source.stored.columns if source.stored is not None else ():
                types.pop(one.name, None)
            for one in source.form("null"):
                made[one.name] = (Transition(way.stored, way.cls, (source,)), source)
        types.update({one.name: one.type for _, source in made.values() for one in source.form("null")})
        return cls(read, types, made)

    def column(self, name: str, kind: pa.DataType, rows: int) -> pa.Array:
        """A column with a type that holds its values; nulls if the part has no such column."""
        if name not in self.types:
            return pa.nulls(rows, kind)
        way = self.made.get(name)
        if way is None:
            values = contiguous(self.read([name]).column(name))
        else:
            stored = way[1].stored
            needed = [ENTITY_ID] if stored is None else [one.name for one in stored.columns]
            values = contiguous(way[0].arrays(self.read(needed), "null")[name])
        if values.type == kind:
            return values
        return texts(values).cast(JSON) if kind == JSON else values.cast(kind)


@dataclass(slots=True)
class Side:
    """The rows of one moment by component. Ids are kept, columns are read anew."""

    tables: Tables
    classes: Sequence[type[Component]]
    parts: dict[str, list[Part]] = field(init=False)
    _names: list[tuple[Archetype, str]] = field(init=False)
    _ids: dict[str, Ids] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.parts, self._names = {}, []
        for archetype, read in self.tables.items():
            names = []
            for kind, way in ways_of(archetype, self.classes).items():
                name = kind.name if way is None else way.kind.name
                names.append(name)
                self.parts.setdefault(name, []).append(Part.of(read, kind, way))
            self._names.append((archetype, json.dumps(sorted(names))))

    def ids_of(self, component: str) -> Ids:
        """The entities with a component, in the order of its columns."""
        found = self._ids.get(component)
        if found is None:
            ids = [_ids(part.read) for part in self.parts.get(component, ())]
            found = self._ids[component] = ids[0] if len(ids) == 1 else np.concatenate([np.empty(0, np.int64), *ids])
        return found

    def column(self, component: str, name: str, kind: pa.DataType) -> pa.Array:
        """One column of a component, over all tables that have it."""
        parts = self.parts.get(component, [])
        if not parts:
            return pa.nulls(0, kind)
        found = [part.column(name, kind, len(_ids(part.read)) if name not in part.types else 0) for part in parts]
        return found[0] if len(found) == 1 else pa.concat_arrays(found)

    def all_ids(self) -> Ids:
        """Every entity."""
        return np.concatenate([np.empty(0, np.int64), *(_ids(read) for read in self.tables.values())])

    def archetypes(self) -> tuple[Ids, pa.Array]:
        """Every entity, and the names of its components as JSON."""
        ids, names = [np.empty(0, np.int64)], [pa.array([], pa.large_string())]
        for archetype, name in self._names:
            ids.append(_ids(self.tables[archetype]))
            names.append(pa.repeat(pa.scalar(name, pa.large_string()), len(ids[-1])))
        return np.concatenate(ids), pa.concat_arrays(names)


def _ids(read: Callable[[Sequence[str]], pa.Table]) -> Ids:
    return np.asarray(contiguous(read([ENTITY_ID]).column(0)).to_numpy(zero_copy_only=False))


def ways_of(archetype: Archetype, classes: Sequence[type[Component]]) -> dict[ComponentType, Transition | None]:
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


def texts(array: pa.Array) -> pa.Array:
    """Values as JSON, null where there is none."""
    if array.type == JSON:
        return array.cast(pa.large_string())
    if pa.types.is_integer(array.type) or pa.types.is_boolean(array.type):
        return array.cast(pa.large_string())
    if pa.types.is_floating(array.type):
        return _float_texts(array.cast(pa.float64()))
    return pa.array([None if value is None else _text(value) for value in array.to_pylist()], pa.large_string())


def _float_texts(array: pa.Array) -> pa.Array:
    """Floats as Python writes them. Arrow does so faster, except for a missing ``.0`` and for large and small values."""
    values = np.asarray(array.to_numpy(zero_copy_only=False))
    size = np.abs(values)
    is_usual = (values == 0) | (size >= 1e-4) & (size < 1e10)
    found = array.cast(pa.large_string())
    is_whole = is_usual & (values == np.rint(values))
    if is_whole.any():
        point, nothing = (pa.scalar(text, pa.large_string()) for text in (".0", ""))
        found = pc.if_else(pa.array(is_whole), pc.binary_join_element_wise(found, point, nothing), found)
    if not is_usual.all():
        others = pa.array([json.dumps(one) for one in values[~is_usual].tolist()], pa.large_string())
        found = pc.replace_with_mask(found, pa.array(~is_usual), others)
        found = found if not array.null_count else pc.if_else(array.is_valid(), found, None)
    return found


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.hex()
    return json.dumps(value, default=lambda one: one.hex() if isinstance(one, bytes) else str(one))
