"""How rows of an older or newer form of a component become rows of its class (M8).

Pure: it compares a stored form with a class, and turns Arrow columns of the one into columns of the other.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from archetype_core.errors import SchemaMismatch
from archetype_core.schema.archetype import Archetype
from archetype_core.schema.component import (
    ZONE_SUFFIX,
    Component,
    ComponentField,
    ComponentType,
    declared_fields,
    evolution_of,
    is_moment,
    type_of_class,
)
from archetype_core.schema.conform import defaults, field_columns, has_default
from archetype_core.schema.evolution import Converter, Evolution
from archetype_core.schema.fit import fit
from archetype_core.schema.message import Message
from archetype_core.schema.nested_version import fields_added, follow, follows, type_of
from archetype_core.schema.scalar import Refusal
from archetype_core.schema.snapshot import contiguous
from archetype_core.schema.version_report import StoredField, report, unfit_value

Missing = Literal["null", "default"]
"""What a read gives for a field that a stored form lacks: null, or the field's default."""


@dataclass(frozen=True)
class Source:
    """Where the values of a class's field come from: a stored field, through a converter or a cast, or its default."""

    field: ComponentField
    stored: StoredField | None = None
    convert: Converter | None = None

    @property
    def is_kept(self) -> bool:
        """Whether the stored columns are the wanted ones, under the same names."""
        if self.stored is None or self.convert is not None:
            return False
        return [one.name for one in self.stored.columns] == [one.name for one in self.field.columns]

    def form(self, missing: Missing) -> tuple[pa.Field, ...]:
        """Return the columns that it gives to a read: as wide as stored or wanted, nullable if a value may be missing."""
        wanted = self.field.columns
        if self.stored is None:
            is_filled = missing == "default" and has_default(self.field.info)
            return wanted if is_filled else tuple(column.with_nullable(True) for column in wanted)
        if self.convert is not None:
            return wanted
        return tuple(
            pa.field(mine.name, kind, theirs.nullable or mine.nullable)
            for theirs, mine, kind in zip(self.stored.columns, wanted, self._types(), strict=True)
        )

    def columns(self, table: pa.Table, missing: Missing) -> list[pa.ChunkedArray]:
        """Return the values for rows of the stored form; a `Refusal` gives the reason why there are none."""
        form = self.form(missing)
        if self.stored is None:
            if missing == "default" and has_default(self.field.info):
                return defaults(self.field, table.num_rows)
            return [pa.chunked_array([pa.nulls(table.num_rows, column.type)]) for column in form]
        given = [table.column(column.name) for column in self.stored.columns]
        if self.convert is None:
            if is_moment(self.field.codec):
                return given
            return [follow(given[0], self.field.codec, fills=missing == "default")]
        return converted(self.field, self.convert, given)

    def _types(self) -> list[pa.DataType]:
        """The types of its columns, if they are read as they are stored."""
        assert self.stored is not None
        if is_moment(self.field.codec):
            return [one.type for one in self.field.columns]
        return [type_of(self.stored.columns[0].type, self.field.codec)]


@dataclass(frozen=True, eq=False)
class Transition:
    """The way from a stored form to a class, field by field."""

    stored: ComponentType
    cls: type[Component]
    sources: tuple[Source, ...]
    dropped: tuple[str, ...] = ()
    """Stored fields that the class does not have."""
    unexplained: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    """Fields whose old names are not stored either, each with the undeclared stored fields that may be it."""

    @property
    def kind(self) -> ComponentType:
        """The form that it leads to."""
        return self.cls.component_type()

    @functools.cached_property
    def changes(self) -> tuple[str, ...]:
        """What it does, in words, for a log."""
        words = []
        for source in self.sources:
            name, stored = source.field.name, source.stored
            if stored is None:
                words.append(f"{name} added")
            elif source.convert is not None:
                words.append(f"{name} converted from {stored.name}")
            elif stored.name != name:
                words.append(f"{stored.name} renamed to {name}")
            elif [one.type for one in stored.columns] != [one.type for one in source.field.columns]:
                added = ", ".join(fields_added(stored.columns[0].type, source.field.codec))
                words.append(f"{added} added in {name}" if added else f"{name} widened")
        words += [f"{name} dropped" for name in self.dropped]
        return tuple(words) or ("its values stay",)

    def arrays(
        self, table: pa.Table, missing: Missing = "default", entity_ids: pa.Array | None = None
    ) -> dict[str, pa.ChunkedArray]:
        """Return the class's columns for rows of the stored form; `SchemaMismatch` if a value cannot be carried over."""
        found: dict[str, pa.ChunkedArray] = {}
        for source in self.sources:
            try:
                columns = source.columns(table, missing)
            except Refusal as refusal:
                raise _unfit(self.cls, source.field, refusal, entity_ids) from refusal
            # A converter is the user's code and may raise anything.
            except Exception as failure:
                raise unfit_value(self.cls, source.field, f"{type(failure).__name__}: {failure}") from failure
            found.update(zip((column.name for column in source.field.columns), columns, strict=True))
        return found


def changed_columns(transition: Transition, table: pa.Table, entity_ids: pa.Array) -> dict[str, pa.ChunkedArray]:
    """Return the columns of a class that rows of a stored form do not have yet; `SchemaMismatch` if a value does not fit.

    A field whose values no longer fit, such as a removed enum member, goes through its converter if it has one.
    """
    found = transition.arrays(table, entity_ids=entity_ids)
    convert = evolution_of(transition.cls).convert
    for source in transition.sources:
        names = [column.name for column in source.field.columns]
        if source.stored is None or source.convert is not None:
            continue
        try:
            if not is_moment(source.field.codec):
                fit(found[names[0]], source.field.codec)
        except Refusal as refusal:
            if (converter := convert.get(source.field.name)) is None:
                raise _unfit(transition.cls, source.field, refusal, entity_ids) from refusal
            again = replace(transition, sources=(replace(source, convert=converter),))
            found.update(again.arrays(table, entity_ids=entity_ids))
        else:
            for old, new in zip(source.stored.columns, source.field.columns, strict=True):
                if source.is_kept and old.type == new.type:
                    del found[new.name]
    return found


@functools.lru_cache(maxsize=4096)
def transition(stored: ComponentType, cls: type[Component], *, strict: bool) -> Transition:
    """Return the way from a stored form to a class.

    A strict one is for rows that evolve: `SchemaMismatch` unless every difference is allowed by itself or declared. One
    that is not strict is for reads: fields that the class lacks are left out, and narrower fields give their wider values.
    """
    fields, evolution = declared_fields(cls), evolution_of(cls)
    known = {one.name: one for one in stored_fields(stored, {field.name for field in fields})}
    renamed = {
        field.name: known[old]
        for field in fields
        if field.name not in known
        for old in evolution.old_names(field.name)[::-1]
        if old in known
    }
    taken = {one.name for one in renamed.values()}
    sources: list[Source] = []
    added: list[str] = []
    retyped: list[str] = []
    for field in fields:
        found = renamed.get(field.name) or (known.get(field.name) if field.name not in taken else None)
        convert = evolution.convert.get(field.name)
        if found is None:
            sources.append(Source(field))
            if not has_default(field.info):
                added.append(field.name)
            continue
        if convert is not None and (found.name != field.name or not _same(found.columns, field.columns)):
            sources.append(Source(field, found, convert))
            continue
        sources.append(Source(field, found))
        if not _fits(found.columns, field, strict=strict):
            retyped.append(field.name)
    used = {source.stored.name for source in sources if source.stored is not None}
    dropped = tuple(name for name in known if name not in used)
    undeclared = [name for name in dropped if name not in evolution.drop]
    untold = {
        source.field.name: old
        for source in sources
        if source.stored is None and evolution.old_names(source.field.name)
        if (old := tuple(name for name in undeclared if _may_be(known[name], source.field, evolution)))
    }
    if retyped or (strict and (added or undeclared)):
        raise report(
            stored,
            cls,
            list(known.values()),
            added=added,
            removed=undeclared if strict else (),
            retyped=retyped,
            unexplained=untold,
        )
    return Transition(stored, cls, tuple(sources), dropped, untold)


def unexplained(way: Transition) -> SchemaMismatch:
    """Return the error of a read whose fields may have had a name that the class does not declare."""
    fields = {field.name for field in declared_fields(way.cls)}
    known, dropped = list(stored_fields(way.stored, fields)), evolution_of(way.cls).drop
    removed = [name for name in way.dropped if name not in dropped]
    return report(way.stored, way.cls, known, removed=removed, unexplained=way.unexplained)


def _may_be(stored: StoredField, field: ComponentField, evolution: Evolution) -> bool:
    """Whether a stored field can be an earlier one of a field."""
    return field.name in evolution.convert or _fits(stored.columns, field, strict=False)


def claims(cls: type[Component], stored: ComponentType) -> bool:
    """Return whether rows of a stored form are earlier or later rows of a class: the same form, or a name that it claims.

    A class claims its own name and its declared previous names, except forms that it refuses.
    """
    kind, message = cls.component_type(), Message.component_type()
    if kind == stored:
        return True
    evolution = evolution_of(cls)
    if stored.name not in (kind.name, *evolution.previous_names) or message in (kind, stored):
        return False
    names = {one.name for one in stored_fields(stored, ())}
    return all(set(refused) != names for refused in evolution.refuse)


def is_alike(stored: ComponentType, cls: type[Component]) -> bool:
    """Return whether a class has exactly the fields of a stored form, at least one, whatever their names as components."""
    kind = cls.component_type()

    def form(one: ComponentType) -> set[tuple[str, pa.DataType, bool]]:
        return {(column.name[len(one.prefix) :], column.type, column.nullable) for column in one.fields}

    return bool(stored.fields) and form(stored) == form(kind)


def version_in(archetype: Archetype, cls: type[Component]) -> ComponentType | None:
    """Return the form in which an archetype has a component, for a read of a class: the class's own, or another version."""
    kind = type_of_class(cls)
    if kind in archetype:
        return kind
    names = (kind.name, *evolution_of(cls).previous_names)
    found = [one for one in archetype.components if one.name in names and claims(cls, one)]
    # The name of the class comes before its previous ones.
    return min(found, key=lambda one: one.name != kind.name) if found else None


def projected(stored: ComponentType, cls: type[Component], rows: pa.Table) -> pa.Table:
    """Return the columns of a class for rows of another version, with defaults for fields that these lack.

    `SchemaMismatch` for such a field without a default, and for a field of another type.
    """
    way = transition(stored, cls, strict=False)
    if way.unexplained:
        raise unexplained(way)
    if any(source.stored is None and not has_default(source.field.info) for source in way.sources):
        way = transition(stored, cls, strict=True)  # which raises, and says all that is to be written
    return pa.table(way.arrays(rows))


def stored_fields(stored: ComponentType, names: Iterable[str]) -> Iterator[StoredField]:
    """Yield the fields of a stored form. A time and its zone are one field, unless `names` has the zone as its own."""
    names = set(names)
    by_name = {column.name: column for column in stored.fields}
    start = len(stored.prefix) + 2
    for column in stored.fields:
        zone = by_name.get(column.name + ZONE_SUFFIX)
        is_moment = column.type == pa.timestamp("us") and zone is not None and zone.type == pa.large_string()
        if is_moment and (column.name + ZONE_SUFFIX)[start:] not in names:
            yield StoredField(column.name[start:], (column, by_name[column.name + ZONE_SUFFIX]))
        elif not (
            column.name.endswith(ZONE_SUFFIX)
            and column.name[start:] not in names
            and (time := by_name.get(column.name[: -len(ZONE_SUFFIX)])) is not None
            and time.type == pa.timestamp("us")
        ):
            yield StoredField(column.name[start:], (column,))


def converted(field: ComponentField, convert: Converter, given: Sequence[pa.ChunkedArray]) -> list[pa.ChunkedArray]:
    """Return a field's columns as a converter makes them from the old ones."""
    columns = [contiguous(one) for one in given]
    old = columns[0]
    if len(columns) == 2:
        old = pa.StructArray.from_arrays(columns, ["at", "zone"], mask=columns[0].is_null())
    made = convert(old)
    size = len(old)
    if hasattr(made, "__array__") and not isinstance(made, pa.Array | pa.ChunkedArray):
        made = pa.array(made)
    if not isinstance(made, pa.Array | pa.ChunkedArray):
        made = list(made)
    if len(made) != size:
        raise Refusal(f"its converter gave {len(made)} values for {size} rows")
    if isinstance(made, list):
        return [
            pa.chunked_array([pa.array([encode(value) for value in made], column.type)])
            for column, (_, _, encode) in zip(field.columns, field.encoders(), strict=True)
        ]
    names = [column.name for column in field.columns]
    if is_moment(field.codec) and pa.types.is_struct(made.type):
        return field_columns(field, pa.table([pc.struct_field(made, "at"), pc.struct_field(made, "zone")], names))
    return field_columns(field, pa.table([made], names[:1]))


def _unfit(
    cls: type[Component], field: ComponentField, refusal: Refusal, entity_ids: pa.Array | None
) -> SchemaMismatch:
    row = getattr(refusal, "row", None)
    entity = None if row is None or entity_ids is None else entity_ids[row].as_py()
    return unfit_value(cls, field, str(refusal), entity)


def _same(stored: Sequence[pa.Field], wanted: Sequence[pa.Field]) -> bool:
    """Whether all values of stored columns are values of the wanted ones, without a cast."""
    return len(stored) == len(wanted) and all(
        theirs.type == mine.type and (mine.nullable or not theirs.nullable)
        for theirs, mine in zip(stored, wanted, strict=True)
    )


def _fits(stored: Sequence[pa.Field], field: ComponentField, *, strict: bool) -> bool:
    """Whether the values of stored columns become those of a field without a converter."""
    if len(stored) != len(field.columns):
        return False
    if strict and any(
        theirs.nullable and not mine.nullable for theirs, mine in zip(stored, field.columns, strict=True)
    ):
        return False
    return is_moment(field.codec) or follows(stored[0].type, field.codec, strict=strict)
