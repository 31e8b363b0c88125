"""Reads tick history: answers queries as lazy frames, and loads a world's state at a tick."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from archetype_core.errors import TickNotFound
from archetype_core.read.lens import lenses
from archetype_core.read.plan import ReadPlan, plan, plan_branches
from archetype_core.read.request import Branch, HistoryQuery, MessageQuery
from archetype_core.schema.archetype import Archetype
from archetype_core.schema.component import Component
from archetype_core.schema.message import LETTER_COLUMNS, Letters, Message
from archetype_core.schema.snapshot import ENTITY_ID, Snapshot
from archetype_core.schema.version import Missing
from archetype_core.store.port import Store
from archetype_core.store.request import BASE_FIELDS, IS_ACTIVE, Scan
from archetype_core.store.timeline import Head, Segment, Span, Timeline

if TYPE_CHECKING:
    from daft import DataFrame


_READY_ROWS = 65_536
"""Up to so many rows, a live snapshot is made whole: planning a query over it costs more than its constant columns."""


def query(store: Store, timeline: Timeline, request: HistoryQuery, world: str) -> DataFrame:
    """Tick history of a world as a lazy frame. Costs nothing until it is collected."""
    return _frame(plan(store, timeline, request, world), request, [timeline])


def query_branches(store: Store, branches: Iterable[Branch], request: HistoryQuery) -> DataFrame:
    """Several histories as one lazy frame, with the columns ``branch``, ``seed`` and ``episode`` after those of ``query``."""
    given = tuple(branches)
    return _frame(plan_branches(store, given, request), request, [one.timeline for one in given])


def _frame(plan: ReadPlan, request: HistoryQuery, timelines: Iterable[Timeline]) -> DataFrame:
    from archetype_core.read.condition import filtered
    from archetype_core.read.source import HistorySource

    tables = (Archetype.from_schema(table) for one in timelines for table in one.tables.values())
    return filtered(HistorySource(plan).read(), request.where, tables)


def letters(store: Store, timeline: Timeline, request: MessageQuery, world: str) -> Letters:
    """The messages that were sent, by tick and then in the order of sending."""
    found = query(store, timeline, HistoryQuery((Message,), request.ticks, request.recipient), world).to_arrow()
    for column, wanted in (("message__sender", request.sender), ("message__kind", request.message_kind)):
        if wanted is not None:
            found = found.filter(pc.field(column) == wanted)
    # The sort is stable, and a store keeps the order of a tick's messages.
    return Letters(found.select(LETTER_COLUMNS).take(pc.sort_indices(found.column("tick"))))


def load(store: Store, timeline: Timeline, head: Head) -> tuple[dict[Archetype, Snapshot], Snapshot | None]:
    """Load the live tables of a committed tick, and the messages sent in it."""
    span = timeline.at(head.tick)
    if span is None:
        raise TickNotFound(head.segment.name, head.tick, timeline.first, timeline.last)
    live: dict[Archetype, Snapshot] = {}
    for name in sorted(head.live):
        archetype = Archetype.from_schema(timeline.tables[name])
        rows = rows_at(store, archetype, span)
        active = rows.column(IS_ACTIVE)
        # Without tombstones the rows are used as they are, without a copy.
        live_rows = rows if pc.all(active, min_count=0).as_py() else rows.filter(active)
        live[archetype] = Snapshot.from_arrow(archetype, live_rows.drop_columns([IS_ACTIVE]))
    mail = Archetype.of(Message)
    if mail.name not in timeline.tables:
        return live, None
    sent = rows_at(store, mail, span)
    sent = sent.filter(pc.invert(sent.column(IS_ACTIVE))).drop_columns([IS_ACTIVE])
    return live, Snapshot.from_arrow(mail, sent) if sent.num_rows else None


def rows_at(store: Store, archetype: Archetype, span: Span) -> pa.Table:
    """All rows of a table at one tick, tombstones included: its own columns and ``is_active``."""
    columns = (*archetype.schema.names, IS_ACTIVE)
    scan = Scan(archetype.name, span.segment, span.first, span.last, columns)
    batches = list(store.scan(scan))
    return pa.Table.from_batches(batches, scan.schema(archetype.schema))


def active_at(store: Store, archetype: Archetype, span: Span, names: Sequence[str]) -> pa.Table:
    """Columns of the active rows of a table at one tick."""
    scan = Scan(archetype.name, span.segment, span.first, span.last, (*names, IS_ACTIVE))
    rows = pa.Table.from_batches(list(store.scan(scan)), scan.schema(archetype.schema))
    active = rows.column(IS_ACTIVE)
    kept = rows if pc.all(active, min_count=0).as_py() else rows.filter(active)
    return kept.drop_columns([IS_ACTIVE])


def live(
    tables: Mapping[Archetype, Snapshot],
    components: Sequence[type[Component]],
    segment: Segment,
    tick: int,
    missing: Missing,
) -> DataFrame:
    """Live tables as a frame with the same columns as ``query``; up to 65 536 rows as one that shows and reads without a plan."""
    import daft
    from daft import lit

    schema, answering = lenses(components, tables, missing)
    names = [ENTITY_ID, *schema.names[len(BASE_FIELDS) :]]
    found = [
        tables[one].to_arrow().select(names) if lens is None else lens.through(tables[one].to_arrow(), names)
        for one, lens in answering.items()
    ]
    own = pa.schema([schema.field(name) for name in names])
    table = pa.concat_tables([one.cast(own) for one in found]) if found else own.empty_table()
    constants = {"world_id": segment.world_id, "run_id": segment.run_id, "tick": tick, IS_ACTIVE: True}
    if table.num_rows <= _READY_ROWS:
        columns = [
            pa.repeat(pa.scalar(constants[field.name], field.type), table.num_rows)
            if field.name in constants
            else table.column(field.name)
            for field in schema
        ]
        return daft.from_arrow(pa.table(columns, schema=schema))
    # The ids of a large table would be copied for every row; Daft makes them when it runs.
    made = {
        name: lit(value).cast(daft.DataType.from_arrow_type(schema.field(name).type))
        for name, value in constants.items()
    }
    return daft.from_arrow(table).with_columns(made).select(*schema.names)
