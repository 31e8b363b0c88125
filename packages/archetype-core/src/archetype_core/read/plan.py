"""The plan of a query: which ticks of which tables to scan. Made from a world's timeline, before any store is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from archetype_core.argument import MAX_ENTITY_ID, checked_id, whole_number
from archetype_core.errors import TickNotFound
from archetype_core.read.lens import Lens, lenses
from archetype_core.read.request import Branch, HistoryQuery, Ticks, branch_columns
from archetype_core.schema.archetype import Archetype
from archetype_core.schema.message import Message
from archetype_core.store.port import Store
from archetype_core.store.timeline import Span, Timeline


@dataclass(frozen=True, slots=True)
class Part:
    """Some consecutive ticks of one table in one segment."""

    table: str
    schema: pa.Schema
    span: Span
    branch: Branch | None = None
    lens: Lens | None = None
    """How its columns become those of the answer; ``None`` if they are the same."""


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """The parts of tables that answer a query, and the schema of the answer."""

    store: Store
    parts: tuple[Part, ...]
    schema: pa.Schema
    entity_ids: pa.Array | None
    include_inactive: bool
    branch_columns: tuple[pa.Field, ...] = ()
    """The columns whose values are those of a part's branch."""


def plan(store: Store, timeline: Timeline, request: HistoryQuery, world: str) -> ReadPlan:
    """The plan of a query of one world's history. ``TickNotFound`` for a tick that is named and not there."""
    schema, tables = _tables([timeline], request)
    runs = _runs(request.ticks, [timeline], world)
    parts = _parts(timeline, tables, runs, None)
    return ReadPlan(store, parts, schema, _ids(request.entity_ids), _with_inactive(request))


def plan_branches(store: Store, branches: Iterable[Branch], request: HistoryQuery) -> ReadPlan:
    """The plan of a query of several histories, whose rows say which one they are of.

    ``TickNotFound`` for a tick that is named and that none of them has; some may be shorter than others.
    """
    given = tuple(branches)
    timelines = [one.timeline for one in given]
    schema, tables = _tables(timelines, request)
    runs = _runs(request.ticks, timelines, ", ".join(one.branch for one in given))
    parts = tuple(part for one in given for part in _parts(one.timeline, tables, runs, one))
    columns = branch_columns(given)
    if twice := sorted({one.name for one in columns} & {*schema.names}):
        raise ValueError(
            f"{twice[0]} is a column of a component and of the episodes' resources: rename one of the classes"
        )
    schema = pa.schema([*schema, *columns])
    return ReadPlan(store, parts, schema, _ids(request.entity_ids), _with_inactive(request), columns)


def _tables(timelines: Sequence[Timeline], request: HistoryQuery) -> tuple[pa.Schema, Mapping[Archetype, Lens | None]]:
    """The columns of a query, and the tables that answer it."""
    archetypes = dict.fromkeys(Archetype.from_schema(table) for one in timelines for table in one.tables.values())
    return lenses(request.components, archetypes, request.missing)


def _parts(
    timeline: Timeline,
    tables: Mapping[Archetype, Lens | None],
    runs: Sequence[tuple[int | None, int | None]],
    branch: Branch | None,
) -> tuple[Part, ...]:
    return tuple(
        Part(name, table, span, branch, tables[archetype])
        for name, table in timeline.tables.items()
        if (archetype := Archetype.from_schema(table)) in tables
        for first, last in runs
        for span in timeline.between(first, last)
    )


def _with_inactive(request: HistoryQuery) -> bool:
    """Whether inactive rows belong to the answer. Messages are never active, so a query that names them wants them."""
    return request.include_inactive or Message in request.components


def _ids(entity_ids: int | Iterable[int] | None) -> pa.Array | None:
    wanted = entity_ids if entity_ids is None or isinstance(entity_ids, Iterable) else [entity_ids]
    if wanted is None:
        return None
    ids = [checked_id(one) for one in wanted]
    if odd := [one for one in ids if not -MAX_ENTITY_ID <= one <= MAX_ENTITY_ID]:
        raise ValueError(f"entity_ids holds {odd[0]}, and entity ids end at {MAX_ENTITY_ID}")
    return pa.array(ids, pa.int64())


def _runs(ticks: Ticks, timelines: Sequence[Timeline], world: str) -> list[tuple[int | None, int | None]]:
    """Ticks as closed ranges; ``(None, None)`` is all of them. A range is clipped, a named tick must be in a history."""
    if ticks is None:
        return [(None, None)]
    if isinstance(ticks, range) and ticks.step == 1:
        return [(ticks.start, ticks.stop - 1)] if len(ticks) else []
    wanted = sorted({whole_number(one, "a tick") for one in (ticks if isinstance(ticks, Iterable) else [ticks])})
    histories = [one for one in timelines if one.spans]
    runs: list[tuple[int | None, int | None]] = []
    for tick in wanted:
        if not isinstance(ticks, range) and not any(one.at(tick) for one in histories):
            first, last = (
                min((one.first for one in histories), default=None),
                max((one.last for one in histories), default=None),
            )
            raise TickNotFound(world, tick, first, last)
        if runs and runs[-1][1] == tick - 1:
            runs[-1] = (runs[-1][0], tick)
        else:
            runs.append((tick, tick))
    return runs
