"""Reads of stored tables for readers without the classes of components."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from archetype_core.argument import whole_number
from archetype_core.read.aggregate import DensityGrid, Moment, aggregated, clipped, dense
from archetype_core.read.diff_side import Tables
from archetype_core.read.history import active_at
from archetype_core.read.request import AggregateQuery, DensityQuery, SearchQuery
from archetype_core.read.search import Wanted, in_history
from archetype_core.schema.archetype import Archetype
from archetype_core.store.port import Store
from archetype_core.store.timeline import Timeline

if TYPE_CHECKING:
    from daft import DataFrame
    from daft.expressions import Expression

    from archetype_core.read.pushdown import Pushdown


def search_stored(store: Store, timeline: Timeline, request: SearchQuery) -> DataFrame:
    """The entities of a stored tick, by default the last, that are most like a query; best first.

    ``UnknownColumn`` if no table has the column, ``TypeError`` or ``ValueError`` for a request that cannot be.
    """
    wanted = Wanted.of(request)
    span = timeline.at(timeline.last if request.at is None else whole_number(request.at, "at"))
    if span is None:
        raise _no_tick(timeline, request.at)
    return in_history(store, timeline.tables, span, wanted, ())


def tables_at(store: Store, timeline: Timeline, tick: int) -> Tables:
    """Return what reads columns of each table that is live at a tick of a timeline."""
    span = timeline.at(tick)
    assert span is not None
    head = store.head(timeline.spans[-1].segment.world_id, at=tick)
    archetypes = [Archetype.from_schema(timeline.tables[name]) for name in sorted(head.live)]
    return {one: partial(active_at, store, one, span) for one in archetypes}


def aggregate_stored(store: Store, timelines: Mapping[str, Timeline], request: AggregateQuery) -> pa.Table:
    """Numbers about columns of stored worlds, given by id, as ``aggregate`` has them.

    Raises as ``search_stored`` does.
    """
    moments = [
        Moment(world_id, tick, tables_at(store, timeline, tick))
        for world_id, timeline in timelines.items()
        for tick in _ticks(timeline, request.at)
    ]
    return aggregated(moments, (), request)


def density_stored(store: Store, timeline: Timeline, request: DensityQuery) -> DensityGrid:
    """The density of two columns at a stored tick. Raises as ``search_stored`` does."""
    (tick,) = _ticks(timeline, request.at)
    return dense(Moment(timeline.spans[-1].segment.world_id, tick, tables_at(store, timeline, tick)), (), request)


def _ticks(timeline: Timeline, at: int | range | None) -> Sequence[int]:
    if isinstance(at, range):
        return [one for one in clipped(at, timeline.first, timeline.last) if timeline.at(one) is not None]
    tick = timeline.last if at is None else whole_number(at, "at")
    if timeline.at(tick) is None:
        raise _no_tick(timeline, tick)
    return [tick]


def _no_tick(timeline: Timeline, tick: int | None) -> ValueError:
    return ValueError(f"the history goes from tick {timeline.first} to {timeline.last}, and has no tick {tick}")


def pushdown_of(condition: Expression, schema: pa.Schema) -> tuple[Pushdown, frozenset[str]]:
    """Return which rows a store may skip for a condition on the columns of a schema, and the columns that it names."""
    from archetype_core.read.condition import columns_of
    from archetype_core.read.pushdown import Pushdown

    return Pushdown.of(condition, schema), frozenset(columns_of(condition))
