"""Reads of stored tables for readers without the classes of components."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from archetype_core.argument import whole_number
from archetype_core.read.request import SearchQuery
from archetype_core.read.search import Wanted, in_history
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
        raise ValueError(
            f"the history goes from tick {timeline.first} to {timeline.last}, and has no tick {request.at}"
        )
    return in_history(store, timeline.tables, span, wanted, ())


def pushdown_of(condition: Expression, schema: pa.Schema) -> tuple[Pushdown, frozenset[str]]:
    """Return which rows a store may skip for a condition on the columns of a schema, and the columns that it names."""
    from archetype_core.read.condition import columns_of
    from archetype_core.read.pushdown import Pushdown

    return Pushdown.of(condition, schema), frozenset(columns_of(condition))
