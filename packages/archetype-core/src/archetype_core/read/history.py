"""Reads of history: one lazy door over any store, and the way a world's live state comes back from it.

A store only ever answers a ``Scan`` with Arrow batches. This module turns a question about a world into scans of its
timeline, and wraps them once as a Daft source, so that columns, filters and limits are pushed down to the store.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import daft
import pyarrow as pa
import pyarrow.compute as pc
from daft import DataFrame, col, lit
from daft.expressions import Expression, ExpressionsProjection
from daft.io.pushdowns import Pushdowns
from daft.io.source import DataSource, DataSourceTask
from daft.recordbatch import RecordBatch

from archetype_core.argument import checked_id, whole_number
from archetype_core.errors import TickNotFound
from archetype_core.read.pushdown import Pushdown
from archetype_core.schema.archetype import Archetype
from archetype_core.schema.component import Component, ComponentType
from archetype_core.schema.message import Message
from archetype_core.schema.snapshot import ENTITY_ID, Snapshot
from archetype_core.store.port import Store
from archetype_core.store.request import BASE_FIELDS, IS_ACTIVE, Scan
from archetype_core.store.timeline import Head, Span, Timeline

Ticks = int | range | Iterable[int] | None

_BATCH_ROWS = 65_536


BRANCH_FIELDS = (
    pa.field("branch", pa.large_string(), nullable=False),
    pa.field("seed", pa.int64(), nullable=False),
    pa.field("episode", pa.int64(), nullable=False),
)


@dataclass(frozen=True, slots=True)
class Branch:
    """One of several histories that are read together, and what tells its rows from the others'."""

    timeline: Timeline
    branch: str
    seed: int
    episode: int


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of one table in one segment."""

    table: str
    schema: pa.Schema
    span: Span
    branch: Branch | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """What a history source reads: parts of tables, as one schema."""

    store: Store
    parts: tuple[Part, ...]
    schema: pa.Schema
    entity_ids: pa.Array | None
    include_inactive: bool


def query(
    store: Store,
    timeline: Timeline,
    components: Sequence[type[Component]],
    *,
    ticks: Ticks = None,
    entity_ids: int | Iterable[int] | None = None,
    where: Expression | None = None,
    include_inactive: bool = False,
) -> DataFrame:
    """History as a lazy frame: base columns and those of ``components``, over every table that has them all."""
    kinds = _kinds(components)
    parts = _parts(timeline, kinds, ticks, None)
    frame = HistorySource(Question(store, parts, _schema(kinds), _ids(entity_ids), include_inactive)).read()
    return frame if where is None else frame.where(where)


def query_branches(
    store: Store,
    branches: Iterable[Branch],
    components: Sequence[type[Component]],
    *,
    ticks: Ticks = None,
    entity_ids: int | Iterable[int] | None = None,
    where: Expression | None = None,
    include_inactive: bool = False,
) -> DataFrame:
    """Several histories as one lazy frame, with the columns ``branch``, ``seed`` and ``episode`` behind those of ``query``."""
    kinds = _kinds(components)
    parts = tuple(part for one in branches for part in _parts(one.timeline, kinds, ticks, one))
    schema = pa.schema([*_schema(kinds), *BRANCH_FIELDS])
    frame = HistorySource(Question(store, parts, schema, _ids(entity_ids), include_inactive)).read()
    return frame if where is None else frame.where(where)


def _kinds(components: Sequence[type[Component]]) -> tuple[ComponentType, ...]:
    given: Sequence[object] = components
    if odd := [one for one in given if not isinstance(one, type) or not issubclass(one, Component)]:
        raise TypeError(f"a query takes component classes, not {odd[0]!r}")
    return tuple(component.component_type() for component in components)


def _parts(
    timeline: Timeline, kinds: tuple[ComponentType, ...], ticks: Ticks, branch: Branch | None
) -> tuple[Part, ...]:
    runs = _runs(ticks)
    return tuple(
        Part(name, table, span, branch)
        for name, table in timeline.tables.items()
        if _answers(Archetype.from_schema(table), kinds)
        for first, last in runs
        for span in timeline.between(first, last)
    )


def _ids(entity_ids: int | Iterable[int] | None) -> pa.Array | None:
    wanted = entity_ids if entity_ids is None or isinstance(entity_ids, Iterable) else [entity_ids]
    return None if wanted is None else pa.array([checked_id(one) for one in wanted], pa.int64())


def load(store: Store, timeline: Timeline, head: Head) -> tuple[dict[Archetype, Snapshot], Snapshot | None]:
    """The live tables at a committed tick, and the messages sent in it."""
    span = timeline.at(head.tick)
    if span is None:
        raise TickNotFound(head.segment.name, head.tick, timeline.first, timeline.last)
    live: dict[Archetype, Snapshot] = {}
    for name in sorted(head.live):
        archetype = Archetype.from_schema(timeline.tables[name])
        rows = rows_at(store, archetype, span)
        active = rows.column(IS_ACTIVE)
        # Without tombstones the rows are taken as they are, memory included.
        live_rows = rows if pc.all(active, min_count=0).as_py() else rows.filter(active)
        live[archetype] = Snapshot.from_arrow(archetype, live_rows.drop_columns([IS_ACTIVE]))
    mail = Archetype.of(Message)
    if mail.name not in timeline.tables:
        return live, None
    sent = rows_at(store, mail, span)
    sent = sent.filter(pc.invert(sent.column(IS_ACTIVE))).drop_columns([IS_ACTIVE])
    return live, Snapshot.from_arrow(mail, sent) if sent.num_rows else None


def rows_at(store: Store, archetype: Archetype, span: Span) -> pa.Table:
    """Everything that a table shows at one tick: its own columns and ``is_active``."""
    columns = (*archetype.schema.names, IS_ACTIVE)
    scan = Scan(archetype.name, span.segment, span.first, span.last, columns)
    batches = list(store.scan(scan))
    return pa.Table.from_batches(batches, scan.schema(archetype.schema))


class HistorySource(DataSource):
    """A Daft source over a store's history."""

    def __init__(self, question: Question) -> None:
        self._question = question
        self._schema = _daft_schema(question.schema)

    @property
    def name(self) -> str:
        return "archetype history"

    @property
    def schema(self) -> Any:
        return self._schema

    async def get_tasks(self, pushdowns: Pushdowns) -> AsyncIterator[DataSourceTask]:
        for part in self._question.parts:
            yield HistoryTask(self._question, part, pushdowns)


class HistoryTask(DataSourceTask):
    """One part of a history source, read with what Daft pushed down."""

    def __init__(self, question: Question, part: Part, pushdowns: Pushdowns) -> None:
        self._question = question
        self._part = part
        self._filter = pushdowns.filters
        self._hint = Pushdown() if pushdowns.filters is None else Pushdown.of(pushdowns.filters, part.schema)
        self._limit = pushdowns.limit
        names = question.schema.names
        # Daft filters what it gets once more, so the columns of a filter are part of the answer, asked for or not. And it
        # finds columns by place: they have to come in the source's order, whatever order was asked for.
        wanted = {
            *(names if pushdowns.columns is None else pushdowns.columns),
            *pushdowns.filter_required_column_names(),
        }
        self._columns = tuple(name for name in names if name in wanted)
        self._constants = tuple(field for field in BRANCH_FIELDS if part.branch and field.name in wanted)
        told = {field.name for field in self._constants}
        needed = dict.fromkeys(name for name in self._columns if name not in told)
        if not question.include_inactive:
            needed[IS_ACTIVE] = None
        # A batch without columns has no number of rows.
        self._needed = tuple(needed) or (ENTITY_ID,)

    @property
    def schema(self) -> Any:
        return _daft_schema(pa.schema([self._question.schema.field(name) for name in self._columns]))

    async def read(self) -> AsyncIterator[RecordBatch]:
        given = 0
        for read in self._tables():
            table = read
            for field in self._constants:
                value = pa.scalar(getattr(self._part.branch, field.name), field.type)
                table = table.append_column(field, pa.repeat(value, table.num_rows))
            batch = RecordBatch.from_arrow_table(table)
            if self._filter is not None:
                batch = batch.filter(ExpressionsProjection([self._filter]))
            batch = batch.eval_expression_list(ExpressionsProjection([col(name) for name in self._columns]))
            given += len(batch)
            yield batch
            if self._limit is not None and given >= self._limit:
                return

    def _tables(self) -> Iterable[pa.Table]:
        """The answer in pieces of a size that pays for the crossing into Daft."""
        question, part = self._question, self._part
        span = part.span
        first, last = self._hint.within(span.first, span.last)
        if first > last:
            return
        ids = self._hint.among(question.entity_ids)
        scan = Scan(part.table, span.segment, first, last, self._needed, ids, self._hint.rows)
        schema = scan.schema(part.schema)
        waiting: list[pa.RecordBatch] = []
        rows = 0
        for batch in question.store.scan(scan):
            if not question.include_inactive:
                active = batch.column(scan.columns.index(IS_ACTIVE))
                kept = batch.filter(active) if active.false_count else batch
            else:
                kept = batch
            if kept.num_rows:
                waiting.append(kept)
                rows += kept.num_rows
            if rows >= _BATCH_ROWS:
                yield pa.Table.from_batches(waiting, schema).combine_chunks()
                waiting, rows = [], 0
        if waiting:
            yield pa.Table.from_batches(waiting, schema).combine_chunks()


def _schema(kinds: Sequence[ComponentType]) -> pa.Schema:
    return pa.schema([*BASE_FIELDS.values(), *(field for kind in kinds for field in kind.fields)])


def _daft_schema(schema: pa.Schema) -> Any:
    return daft.Schema.from_pyarrow_schema(schema)


def _answers(archetype: Archetype, kinds: Sequence[ComponentType]) -> bool:
    """Whether a table has the components; messages are no entities, and only come when they are asked for."""
    message = Message.component_type()
    return archetype.has(kinds) and (message in kinds or message not in archetype)


def _runs(ticks: Ticks) -> list[tuple[int | None, int | None]]:
    """Ticks as closed ranges: all of them, one, a ``range``, or any set."""
    if ticks is None:
        return [(None, None)]
    if not isinstance(ticks, Iterable):
        tick = whole_number(ticks, "a tick")
        return [(tick, tick)]
    if isinstance(ticks, range) and ticks.step == 1:
        return [(ticks.start, ticks.stop - 1)] if len(ticks) else []
    runs: list[tuple[int | None, int | None]] = []
    for tick in sorted({whole_number(one, "a tick") for one in ticks}):
        if runs and runs[-1][1] == tick - 1:
            runs[-1] = (runs[-1][0], tick)
        else:
            runs.append((tick, tick))
    return runs


def live(
    tables: Mapping[Archetype, Snapshot], components: Sequence[type[Component]], world_id: str, run_id: str, tick: int
) -> DataFrame:
    """Live tables as a frame of the same columns that ``query`` gives."""
    kinds = tuple(component.component_type() for component in components)
    schema = _schema(kinds)
    found = [
        rows.to_arrow().select([ENTITY_ID, *schema.names[len(BASE_FIELDS) :]])
        for one, rows in tables.items()
        if one.has(kinds)
    ]
    own = pa.schema([schema.field(ENTITY_ID), *(field for kind in kinds for field in kind.fields)])
    table = pa.concat_tables([one.cast(own) for one in found]) if found else own.empty_table()
    constants = {"world_id": lit(world_id), "run_id": lit(run_id), "tick": lit(tick).cast(daft.DataType.int64())}
    return daft.from_arrow(table).with_columns({**constants, IS_ACTIVE: lit(True)}).select(*schema.names)
