"""Search by likeness: the rows of one tick whose vector or text is closest to a query, best first, exactly unless told otherwise.

What a tick shows is ranked whole, so nothing has to be indexed, sealed or recent to be found, and past ticks answer as they
would have then. A store that claims ``SEARCH`` ranks one table; the tables' best are merged here. Asked for an answer that may
miss some (``exact=False``), a store may look into an index; what it finds are rows of that tick with their exact scores all
the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import daft
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from daft import DataFrame, lit
from daft.expressions import Expression
from daft.io.pushdowns import Pushdowns

from archetype_core.argument import whole_number
from archetype_core.errors import ComponentTypeError
from archetype_core.read.bm25 import Corpus, relevant
from archetype_core.read.history import HistorySource, Part, Question
from archetype_core.read.vector_search import nearest
from archetype_core.schema.archetype import Archetype
from archetype_core.schema.component import Component, ComponentType
from archetype_core.schema.snapshot import ENTITY_ID, Snapshot, contiguous
from archetype_core.store.request import BASE_FIELDS, IS_ACTIVE, RUN_ID, TICK, WORLD_ID, Scan, Search
from archetype_core.store.timeline import Segment, Span

if TYPE_CHECKING:
    from archetype_core.store.port import SearchStore, Store

SCORE = "score"
FOUND = pa.schema([pa.field(ENTITY_ID, pa.int64()), pa.field(SCORE, pa.float64())])
METRICS = ("cosine", "dot", "l2")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody searches for, in whichever table it is."""

    column: str
    query: tuple[float, ...] | str
    k: int
    metric: str
    where: Expression | None
    exact: bool = True

    @classmethod
    def of(
        cls,
        column: Expression | str,
        query: str | Iterable[float],
        k: int,
        metric: str,
        where: Expression | None,
        *,
        exact: bool = True,
    ) -> Wanted:
        """Check what a caller asks."""
        if whole_number(k, "k") < 1:
            raise ValueError(f"k is how many rows to find, 1 or more, not {k!r}")
        if metric not in METRICS:
            raise ValueError(f"metric is one of {', '.join(METRICS)}, not {metric!r}")
        if not isinstance(column, str | Expression):
            raise TypeError(f"a search is about a column such as Memory.embedding, not {column!r}")
        if where is not None and not isinstance(where, Expression):
            raise TypeError(f"where is a condition such as Memory.rank > 3, not {where!r}")
        name = column if isinstance(column, str) else column.name()
        asked = query if isinstance(query, str) else tuple(float(one) for one in query)
        return cls(name, asked, int(k), metric, where, exact)

    def check(self, archetypes: Iterable[Archetype]) -> None:
        """Refuse columns that no table and no component has: nothing would ever be found."""
        asked = {self.column}
        if self.where is not None:
            asked |= Pushdowns(filters=self.where).filter_required_column_names()
        asked -= {*BASE_FIELDS, *(name for one in archetypes for name in one.column_names)}
        # A component that no entity has yet is no mistake.
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
    """The best of live tables."""
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
    """The best of a past tick."""
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
            question = Question(store, (Part(name, schema, span),), whole, None, include_inactive=False)
            allowed = _allowed(HistorySource(question).read(), wanted.where, archetype)
        best = store.search(wanted.at(name, span.segment, span.last, allowed))
        columns = (ENTITY_ID, *(field.name for field in owner.fields), IS_ACTIVE)
        ids = contiguous(best.column(ENTITY_ID))
        scan = Scan(name, span.segment, span.last, span.last, columns, ids)
        rows = pa.Table.from_batches(list(store.scan(scan)) if len(ids) else [], scan.schema(schema))
        rows = rows.filter(rows.column(IS_ACTIVE))
        found.append((owner, best, rows.take(pc.index_in(ids, value_set=contiguous(rows.column(ENTITY_ID))))))
    return _merged(found, wanted, span.last)


def _defined(component: type[Component]) -> Iterator[str]:
    """The columns of all components that are defined."""
    for one in component.__subclasses__():
        # A template has no columns, its subclasses may.
        with suppress(ComponentTypeError):
            yield from [field.name for field in one.component_type().fields]
        yield from _defined(one)


def _framed(rows: Snapshot, segment: Segment, tick: int) -> DataFrame:
    constant = {
        WORLD_ID: lit(segment.world_id),
        RUN_ID: lit(segment.run_id),
        TICK: lit(tick).cast(daft.DataType.int64()),
        IS_ACTIVE: lit(True),
    }
    return daft.from_arrow(rows.to_arrow()).with_columns(constant)


def _allowed(frame: DataFrame, where: Expression, archetype: Archetype) -> pa.Array:
    """The entities that a condition holds for; none where the table lacks what it is about."""
    needed: set[str] = Pushdowns(filters=where).filter_required_column_names()
    if not needed <= {*BASE_FIELDS, *archetype.column_names}:
        return pa.array([], pa.int64())
    return contiguous(frame.where(where).select(ENTITY_ID).to_arrow().column(0)).cast(pa.int64())


def _merged(found: Sequence[tuple[ComponentType, pa.Table, pa.Table]], wanted: Wanted, tick: int) -> DataFrame:
    """The best of all tables, with the columns of the component, the tick and the score."""
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
    # Two classes of one name, after a redefinition, may differ in their fields.
    whole = pa.concat_tables(parts, promote_options="default")
    order = pc.sort_indices(whole, sort_keys=[(SCORE, "descending"), (ENTITY_ID, "ascending")])
    return daft.from_arrow(whole.take(order[: wanted.k]).combine_chunks())


def ranked(store: Store, search: Search) -> pa.Table:
    """What any store that scans answers: a look at one column of what the tick shows."""
    columns = (ENTITY_ID, search.column, IS_ACTIVE)
    scan = Scan(search.table, search.segment, search.tick, search.tick, columns, search.entity_ids)
    if isinstance(search.query, str):
        rows = store.scan(scan).read_all()
        return _ranked(rows, search) if rows.num_rows else FOUND.empty_table()
    # How good a vector is does not depend on the others, so only the best of each part are kept.
    best = FOUND.empty_table()
    for batch in store.scan(scan):
        if batch.num_rows:
            found = pa.concat_tables([best, _ranked(pa.Table.from_batches([batch]), search)])
            best = _best(found.column(0).to_numpy(), found.column(1).to_numpy(), search.k)
    return best


def _ranked(rows: pa.Table, search: Search) -> pa.Table:
    active = rows.column(IS_ACTIVE)
    if active.null_count or not pc.all(active).as_py():
        rows = rows.filter(active)
    return rank(contiguous(rows.column(0)), contiguous(rows.column(1)), search)


def rank(ids: pa.Array, values: pa.Array, search: Search, corpus: Corpus | None = None) -> pa.Table:
    """The best of some rows: their entities and scores, best first, equals by entity.

    Where the rows are not all of a table's, ``corpus`` tells what texts are scored among.
    """
    if search.entity_ids is not None:
        chosen = pc.indices_nonzero(pc.is_in(ids, value_set=search.entity_ids))
        ids, values = ids.take(chosen), values.take(chosen)
    kind = values.type
    if isinstance(search.query, str):
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise TypeError(f"{search.column} holds {kind}, which words cannot be searched in")
        rows, scores = relevant(values, search.query, corpus)
    else:
        if not (pa.types.is_fixed_size_list(kind) and pa.types.is_floating(kind.value_type)):
            raise TypeError(f"{search.column} holds {kind}, which vectors cannot be searched in")
        if len(search.query) != kind.list_size:
            raise ValueError(
                f"{search.column} holds vectors of {kind.list_size} values, the query has {len(search.query)}"
            )
        rows, scores = nearest(values, search.query, search.metric, search.k)
    return _best(np.asarray(ids.to_numpy(zero_copy_only=False))[rows], scores, search.k)


def _best(entities: np.ndarray[Any, Any], scores: np.ndarray[Any, Any], k: int) -> pa.Table:
    # NaN is like nothing.
    kept = np.flatnonzero(~np.isnan(scores))
    if len(kept) > k:
        bar = np.partition(scores[kept], len(kept) - k)[len(kept) - k]
        kept = kept[scores[kept] >= bar]
    order = kept[np.lexsort((entities[kept], -scores[kept]))][:k]
    return pa.Table.from_arrays([pa.array(entities[order]), pa.array(scores[order])], schema=FOUND)
