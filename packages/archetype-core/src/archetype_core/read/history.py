"""Reads tick history: plans which parts of which tables answer a query, and loads a world's state at a tick."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from archetype_core.argument import checked_id, whole_number
from archetype_core.errors import TickNotFound
from archetype_core.read.plan import Part, ReadPlan
from archetype_core.read.request import BRANCH_FIELDS, Branch, HistoryQuery, Ticks
from archetype_core.schema.archetype import Archetype
from archetype_core.schema.component import Component, ComponentType
from archetype_core.schema.message import Message
from archetype_core.schema.snapshot import ENTITY_ID, Snapshot
from archetype_core.store.port import Store
from archetype_core.store.request import BASE_FIELDS, IS_ACTIVE, Scan
from archetype_core.store.timeline import Head, Span, Timeline

if TYPE_CHECKING:
    from daft import DataFrame


def query(store: Store, timeline: Timeline, request: HistoryQuery) -> DataFrame:
    """Tick history as a lazy frame. Costs nothing until it is collected."""
    kinds = _kinds(request.components)
    return _frame(store, request, _parts(timeline, kinds, request.ticks, None), _schema(kinds))


def query_branches(store: Store, branches: Iterable[Branch], request: HistoryQuery) -> DataFrame:
    """Several histories as one lazy frame, with the columns ``branch``, ``seed`` and ``episode`` after those of ``query``."""
    kinds = _kinds(request.components)
    parts = tuple(part for one in branches for part in _parts(one.timeline, kinds, request.ticks, one))
    return _frame(store, request, parts, pa.schema([*_schema(kinds), *BRANCH_FIELDS]))


def _frame(store: Store, request: HistoryQuery, parts: tuple[Part, ...], schema: pa.Schema) -> DataFrame:
    from archetype_core.read.source import HistorySource

    plan = ReadPlan(store, parts, schema, _ids(request.entity_ids), request.include_inactive)
    frame = HistorySource(plan).read()
    return frame if request.where is None else frame.where(request.where)


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


def _schema(kinds: Sequence[ComponentType]) -> pa.Schema:
    return pa.schema([*BASE_FIELDS.values(), *(field for kind in kinds for field in kind.fields)])


def _answers(archetype: Archetype, kinds: Sequence[ComponentType]) -> bool:
    """Whether a table has the components. Messages are not entities: their table answers only a query for ``Message``."""
    message = Message.component_type()
    return archetype.has(kinds) and (message in kinds or message not in archetype)


def _runs(ticks: Ticks) -> list[tuple[int | None, int | None]]:
    """Ticks as closed ranges; ``(None, None)`` is all of them."""
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
    """Live tables as a frame with the same columns as ``query``."""
    import daft
    from daft import lit

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
