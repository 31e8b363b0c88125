"""Search: the entities of one tick whose vector or text is most like a query, best first.

All rows of the tick are ranked, so a row is found whether or not it is indexed or sealed, and a past tick answers as it did
then. A store that claims ``SEARCH`` ranks one table; the best of all tables are merged here. With ``exact=False`` a store may
use an index: it can miss some of the best, and every row found still has its exact score.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from archetype_core.argument import whole_number
from archetype_core.errors import ComponentTypeError
from archetype_core.read.plan import Part, ReadPlan
from archetype_core.read.ranking import FOUND, METRICS, SCORE, rank
from archetype_core.read.request import SearchQuery
from archetype_core.schema.archetype import Archetype
from archetype_core.schema.component import Component, ComponentType
from archetype_core.schema.snapshot import ENTITY_ID, Snapshot, contiguous
from archetype_core.store.port import SearchStore
from archetype_core.store.request import BASE_FIELDS, IS_ACTIVE, RUN_ID, TICK, WORLD_ID, Scan, Search
from archetype_core.store.timeline import Segment, Span

if TYPE_CHECKING:
    from daft import DataFrame
    from daft.expressions import Expression


@dataclass(frozen=True, slots=True)
class Wanted:
    """A checked search request, for any table."""

    column: str
    query: tuple[float, ...] | str
    k: int
    metric: str
    where: Expression | None
    exact: bool = True

    @classmethod
    def of(cls, request: SearchQuery) -> Wanted:
        """The request, checked; a column may be given by its name or as ``Memory.c.embedding``."""
        from daft.expressions import Expression

        if whole_number(request.k, "k") < 1:
            raise ValueError(f"k is how many rows to find, 1 or more, not {request.k!r}")
        if request.metric not in METRICS:
            raise ValueError(f"metric is one of {', '.join(METRICS)}, not {request.metric!r}")
        column, where = request.column, request.where
        if not isinstance(column, str | Expression):
            raise TypeError(f"column is a column to search, such as Memory.c.embedding, not {column!r}")
        if where is not None and not isinstance(where, Expression):
            raise TypeError(f"where is a condition such as Memory.c.rank > 3, not {where!r}")
        name = column if isinstance(column, str) else column.name()
        query = request.query if isinstance(request.query, str) else tuple(float(one) for one in request.query)
        return cls(name, query, int(request.k), request.metric, where, request.exact)

    def check(self, archetypes: Iterable[Archetype]) -> None:
        """Refuse columns that neither a table nor a defined component has: nothing could ever match."""
        asked = {self.column}
        if self.where is not None:
            from daft.io.pushdowns import Pushdowns

            asked |= Pushdowns(filters=self.where).filter_required_column_names()
        asked -= {*BASE_FIELDS, *(name for one in archetypes for name in one.column_names)}
        # A component that no entity has yet is not an error.
        if asked and (unknown := asked - set(_defined(Component))):
            raise ValueError(f"no component has a column {', '.join(map(repr, sorted(unknown)))}")

    def owner(self, archetype: Archetype) -> ComponentType | None:
        """The component of an archetype that has the column."""
        for component in archetype.components:
            if any(field.name == self.column for field in component.fields):
                return component
        return None

    def at(self, table: str, segment: Segment, tick: int, entity_ids: pa.Array | None) -> Search:
        """The request for one table."""
        return Search(table, segment, tick, self.column, self.query, self.k, self.metric, entity_ids, self.exact)


def among(live: Mapping[Archetype, Snapshot], wanted: Wanted, segment: Segment, tick: int) -> DataFrame:
    """The best rows of live tables."""
    wanted.check(live)
    found = []
    for archetype, rows in live.items():
        owner = wanted.owner(archetype)
        if owner is None:
            continue
        allowed = None if wanted.where is None else _allowed(_framed(rows, segment, tick), wanted.where, archetype)
        search = wanted.at(archetype.name, segment, tick, allowed)
        best = rank(rows.entity_ids, rows.columns[wanted.column].arrow, search)
        positions = pc.index_in(best.column(ENTITY_ID), value_set=rows.entity_ids)
        found.append((owner, best, rows.to_arrow().take(positions)))
    return _merged(found, wanted, tick)


def in_history(store: SearchStore, tables: Mapping[str, pa.Schema], span: Span, wanted: Wanted) -> DataFrame:
    """The best rows of a past tick."""
    from archetype_core.read.source import HistorySource

    wanted.check(Archetype.from_schema(schema) for schema in tables.values())
    found = []
    for name, schema in tables.items():
        archetype = Archetype.from_schema(schema)
        owner = wanted.owner(archetype)
        if owner is None:
            continue
        allowed = None
        if wanted.where is not None:
            whole = pa.schema([*BASE_FIELDS.values(), *(field for field in schema if field.name != ENTITY_ID)])
            plan = ReadPlan(store, (Part(name, schema, span),), whole, None, include_inactive=False)
            allowed = _allowed(HistorySource(plan).read(), wanted.where, archetype)
        best = store.search(wanted.at(name, span.segment, span.last, allowed))
        columns = (ENTITY_ID, *(field.name for field in owner.fields), IS_ACTIVE)
        ids = contiguous(best.column(ENTITY_ID))
        scan = Scan(name, span.segment, span.last, span.last, columns, ids)
        rows = pa.Table.from_batches(list(store.scan(scan)) if len(ids) else [], scan.schema(schema))
        rows = rows.filter(rows.column(IS_ACTIVE))
        found.append((owner, best, rows.take(pc.index_in(ids, value_set=contiguous(rows.column(ENTITY_ID))))))
    return _merged(found, wanted, span.last)


def _defined(component: type[Component]) -> Iterator[str]:
    """The columns of all defined components."""
    for one in component.__subclasses__():
        # A generic template has no columns; its subclasses may.
        with suppress(ComponentTypeError):
            yield from [field.name for field in one.component_type().fields]
        yield from _defined(one)


def _framed(rows: Snapshot, segment: Segment, tick: int) -> DataFrame:
    import daft
    from daft import lit

    constant = {
        WORLD_ID: lit(segment.world_id),
        RUN_ID: lit(segment.run_id),
        TICK: lit(tick).cast(daft.DataType.int64()),
        IS_ACTIVE: lit(True),
    }
    return daft.from_arrow(rows.to_arrow()).with_columns(constant)


def _allowed(frame: DataFrame, where: Expression, archetype: Archetype) -> pa.Array:
    """The entities that match a condition; none where the table lacks one of its columns."""
    from daft.io.pushdowns import Pushdowns

    needed: set[str] = Pushdowns(filters=where).filter_required_column_names()
    if not needed <= {*BASE_FIELDS, *archetype.column_names}:
        return pa.array([], pa.int64())
    return contiguous(frame.where(where).select(ENTITY_ID).to_arrow().column(0)).cast(pa.int64())


def _merged(found: Sequence[tuple[ComponentType, pa.Table, pa.Table]], wanted: Wanted, tick: int) -> DataFrame:
    """The best rows of all tables: the component's columns, the tick and the score."""
    import daft

    parts = [
        pa.Table.from_arrays(
            [
                best.column(ENTITY_ID),
                pa.chunked_array([pa.repeat(pa.scalar(tick, pa.int64()), best.num_rows)]),
                *(rows.column(field.name) for field in owner.fields),
                best.column(SCORE),
            ],
            names=[ENTITY_ID, TICK, *(field.name for field in owner.fields), SCORE],
        )
        for owner, best, rows in found
    ]
    if not parts:
        return daft.from_arrow(pa.schema([FOUND.field(0), BASE_FIELDS[TICK], FOUND.field(1)]).empty_table())
    # A class that was redefined can have other fields under the same name.
    whole = pa.concat_tables(parts, promote_options="default")
    order = pc.sort_indices(whole, sort_keys=[(SCORE, "descending"), (ENTITY_ID, "ascending")])
    return daft.from_arrow(whole.take(order[: wanted.k]).combine_chunks())
