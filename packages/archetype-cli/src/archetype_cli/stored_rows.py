"""Rows of a stored history, without the classes of its components: by tick and entity, a few ticks at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from archetype_cli.column import chosen_columns
from archetype_cli.condition import Condition, check_condition
from archetype_cli.exit_code import ExitCode
from archetype_cli.failure import Failure, meant
from archetype_cli.source import Selection
from archetype_core.schema import Archetype, Message
from archetype_core.store import BASE_FIELDS, IS_ACTIVE, TICK, Scan, Store, Timeline

_WINDOW_ROWS = 65_536
"""About how many rows are in memory at a time; one tick is always whole."""
_MESSAGES = Message.component_type().name


@dataclass(frozen=True)
class StoredRows:
    """What a selection reads from a world's timeline."""

    store: Store
    timeline: Timeline
    selection: Selection
    first: int
    last: int
    tables: Mapping[str, Archetype]
    schema: pa.Schema
    """The columns of the answer."""
    read_schema: pa.Schema
    """The columns that are read, which includes those of the condition."""
    condition: Condition | None = None

    @classmethod
    def of(cls, store: Store, timeline: Timeline, selection: Selection) -> StoredRows:
        """Plan a read; a `Failure` names a component or column that is not there."""
        archetypes = {name: Archetype.from_schema(schema) for name, schema in timeline.tables.items()}
        tables = _tables(archetypes, selection.components)
        read_schema = _schema(tables, selection.components)
        names = chosen_columns(selection.columns, read_schema.names)
        schema = pa.schema([read_schema.field(name) for name in names])
        first, last = selection.ticks or (timeline.last, timeline.last)
        first = timeline.first if first is None else max(first, timeline.first)
        last = timeline.last if last is None else min(last, timeline.last)
        condition = None
        if selection.where is not None:
            check_condition(selection.where, read_schema)
            condition = Condition.of(selection.where, read_schema)
            first, last = condition.pushdown.within(first, last)
        else:
            needed = dict.fromkeys([*schema.names, "entity_id", TICK])
            read_schema = pa.schema([read_schema.field(name) for name in needed])
        return cls(store, timeline, selection, first, last, tables, schema, read_schema, condition)

    def reader(self) -> pa.RecordBatchReader:
        """Stream the rows."""
        return pa.RecordBatchReader.from_batches(self.schema, self._batches())

    def _batches(self) -> Iterator[pa.RecordBatch]:
        remaining = self.selection.limit
        for table in self._windows():
            kept = table if self.condition is None else self.condition.matching(table)
            kept = kept.select(self.schema.names)
            if remaining is not None:
                kept = kept.slice(0, remaining)
                remaining -= kept.num_rows
            yield from kept.combine_chunks().to_batches()
            if remaining == 0:
                return

    def _windows(self) -> Iterator[pa.Table]:
        """Some ticks at a time, as many as make a window; the rows in order."""
        size = 1
        for span in self.timeline.between(self.first, self.last):
            tick = span.first
            while tick <= span.last:
                end = min(span.last, tick + size - 1)
                parts = [self._part(archetype, span.segment, tick, end) for archetype in self.tables.values()]
                rows = pa.concat_tables([self.read_schema.empty_table(), *parts])
                yield rows.sort_by([(TICK, "ascending"), ("entity_id", "ascending")])
                size = max(1, min(10_000, _WINDOW_ROWS * (end - tick + 1) // max(1, rows.num_rows)))
                tick = end + 1

    def _part(self, archetype: Archetype, segment: Any, first: int, last: int) -> pa.Table:
        """The rows of one table over some ticks of a segment, with the columns of the read."""
        own = {*BASE_FIELDS, *archetype.schema.names}
        names = tuple(name for name in self.read_schema.names if name in own)
        # Which messages were sent is told by rows that are not active.
        with_inactive = self.selection.include_inactive or any(one.name == _MESSAGES for one in archetype.components)
        wanted = names if IS_ACTIVE in names or with_inactive else (*names, IS_ACTIVE)
        ids = pa.array(self.selection.entity_ids, pa.int64()) if self.selection.entity_ids else None
        where = None
        if self.condition is not None:
            ids = self.condition.pushdown.among(ids)
            where = self.condition.of_rows(archetype.schema)
        scan = Scan(archetype.name, segment, first, last, wanted, ids, where)
        is_empty = ids is not None and not len(ids)
        rows = pa.Table.from_batches([] if is_empty else list(self.store.scan(scan)), scan.schema(archetype.schema))
        if not with_inactive:
            rows = rows.filter(pc.field(IS_ACTIVE))
        columns = [
            rows.column(field.name).cast(field.type) if field.name in names else pa.nulls(rows.num_rows, field.type)
            for field in self.read_schema
        ]
        return pa.Table.from_arrays(columns, schema=self.read_schema)


def component_names(archetype: Archetype) -> list[str]:
    """The names of an archetype's components."""
    return [one.name for one in archetype.components]


def _tables(archetypes: Mapping[str, Archetype], components: Sequence[str]) -> dict[str, Archetype]:
    """The tables that have all of some components; messages are only read by name."""
    known = {name: None for one in archetypes.values() for name in component_names(one)}
    for name in components:
        if name not in known:
            raise Failure(
                f"no entity of this world ever had a component {name!r}",
                meant(name, known, f"its components are {', '.join(known) or 'none yet'}"),
                ExitCode.NOT_FOUND,
            )
    return {
        table: one
        for table, one in archetypes.items()
        if set(components) <= set(component_names(one))
        and (_MESSAGES in components or _MESSAGES not in component_names(one))
    }


def _schema(tables: Mapping[str, Archetype], components: Sequence[str]) -> pa.Schema:
    """The base columns, then those of the components, by component; each with a type for the values of all versions."""
    columns: dict[str, pa.Field] = {}
    kinds = sorted(
        (kind for one in tables.values() for kind in one.components if not components or kind.name in components),
        key=lambda kind: (components.index(kind.name) if components else 0, kind.prefix, kind.name),
    )
    for kind in kinds:
        for field in kind.fields:
            nullable = field.with_nullable(True)
            known = columns.get(field.name, nullable)
            columns[field.name] = _wider(known, nullable)
    return pa.schema([*BASE_FIELDS.values(), *columns.values()])


def _wider(one: pa.Field, other: pa.Field) -> pa.Field:
    try:
        return pa.unify_schemas([pa.schema([one]), pa.schema([other])], promote_options="permissive").field(0)
    except (pa.ArrowTypeError, pa.ArrowInvalid) as failure:
        raise Failure(
            f"column {one.name} was stored as {one.type} and as {other.type}, which have no common type",
            "read other columns with --component, or read it in Python with a class that declares a conversion",
        ) from failure
