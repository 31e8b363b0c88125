"""The plan of a query: which ticks of which tables to scan. Made from a world's timeline, before any store is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from archetype_core.argument import MAX_ENTITY_ID, checked_id, whole_number
from archetype_core.read.lens import Lens, lenses
from archetype_core.read.request import Branch, HistoryQuery, Ticks, branch_columns
from archetype_core.schema.archetype import Archetype
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


def plan(store: Store, timeline: Timeline, request: HistoryQuery) -> ReadPlan:
    """The plan of a query of one world's history."""
    schema, tables = _tables([timeline], request)
    parts = _parts(timeline, tables, request.ticks, None)
    return ReadPlan(store, parts, schema, _ids(request.entity_ids), request.include_inactive)


def plan_branches(store: Store, branches: Iterable[Branch], request: HistoryQuery) -> ReadPlan:
    """The plan of a query of several histories, whose rows say which one they are of."""
    given = tuple(branches)
    schema, tables = _tables([one.timeline for one in given], request)
    parts = tuple(part for one in given for part in _parts(one.timeline, tables, request.ticks, one))
    columns = branch_columns(given)
    if twice := sorted({one.name for one in columns} & {*schema.names}):
        raise ValueError(
            f"{twice[0]} is a column of a component and of the episodes' resources: rename one of the classes"
        )
    schema = pa.schema([*schema, *columns])
    return ReadPlan(store, parts, schema, _ids(request.entity_ids), request.include_inactive, columns)


def _tables(timelines: Sequence[Timeline], request: HistoryQuery) -> tuple[pa.Schema, Mapping[Archetype, Lens | None]]:
    """The columns of a query, and the tables that answer it."""
    archetypes = dict.fromkeys(Archetype.from_schema(table) for one in timelines for table in one.tables.values())
    return lenses(request.components, archetypes, request.missing)


def _parts(
    timeline: Timeline, tables: Mapping[Archetype, Lens | None], ticks: Ticks, branch: Branch | None
) -> tuple[Part, ...]:
    runs = _runs(ticks)
    return tuple(
        Part(name, table, span, branch, tables[archetype])
        for name, table in timeline.tables.items()
        if (archetype := Archetype.from_schema(table)) in tables
        for first, last in runs
        for span in timeline.between(first, last)
    )


def _ids(entity_ids: int | Iterable[int] | None) -> pa.Array | None:
    wanted = entity_ids if entity_ids is None or isinstance(entity_ids, Iterable) else [entity_ids]
    if wanted is None:
        return None
    ids = [checked_id(one) for one in wanted]
    if odd := [one for one in ids if not -MAX_ENTITY_ID <= one <= MAX_ENTITY_ID]:
        raise ValueError(f"entity_ids holds {odd[0]}, and entity ids end at {MAX_ENTITY_ID}")
    return pa.array(ids, pa.int64())


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
