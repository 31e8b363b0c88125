"""Search: the entities of one tick whose vector or text is most like a query, best first.

All rows of the tick are ranked, so a row is found whether or not it is indexed or sealed, and a past tick answers as it did
then. A store that claims ``SEARCH`` ranks one table, and rows of any other are scanned and ranked here; the best of all tables
are merged. With ``exact=False`` a store may use an index: it can miss some of the best, and every row found still has its exact
score.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from archetype_core.argument import whole_number
from archetype_core.read.lens import Lens, lenses
from archetype_core.read.plan import Part, ReadPlan
from archetype_core.read.ranking import FOUND, METRICS, SCORE, rank_each, ranked
from archetype_core.read.request import SearchQuery, asked
from archetype_core.schema.archetype import Archetype
from archetype_core.schema.component import Component, ComponentType, types_with_column
from archetype_core.schema.snapshot import ENTITY_ID, Snapshot, contiguous
from archetype_core.store.port import Capability, SearchStore, Store
from archetype_core.store.request import BASE_FIELDS, IS_ACTIVE, RUN_ID, TICK, WORLD_ID, Scan, Search
from archetype_core.store.timeline import Segment, Span

if TYPE_CHECKING:
    from daft import DataFrame
    from daft.expressions import Expression


QUERY = pa.field("query", pa.int64())


@dataclass(frozen=True, slots=True)
class Wanted:
    """A checked search request, for any table."""

    column: str
    queries: tuple[tuple[float, ...], ...] | tuple[str]
    """The one query, or all of a batch."""
    k: int
    metric: str
    where: Expression | None
    is_batch: bool = False
    exact: bool = True
    needed: frozenset[str] = frozenset()
    """The component columns that the condition names, and the searched one."""

    @classmethod
    def of(cls, request: SearchQuery) -> Wanted:
        """The request, checked; a column may be given by its name or as ``Memory.c.embedding``."""
        from daft.expressions import Expression

        from archetype_core.read.condition import columns_of

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
        query: Any = asked(request.query)
        is_batch = bool(query) and isinstance(query, tuple) and isinstance(query[0], tuple)
        needed = frozenset({name, *(() if where is None else columns_of(where))} - BASE_FIELDS.keys())
        queries = query if is_batch else (query,)
        return cls(name, queries, int(request.k), request.metric, where, is_batch, request.exact, needed)

    def at(self, table: str, segment: Segment, tick: int, entity_ids: pa.Array | None) -> list[Search]:
        """The requests for one table, one for each query."""
        return [
            Search(table, segment, tick, self.column, one, self.k, self.metric, entity_ids, self.exact)
            for one in self.queries
        ]


@dataclass(frozen=True, slots=True)
class _Reading:
    """How a table that can answer is read: its columns for conditions, and those of the answer."""

    archetype: Archetype
    schema: pa.Schema
    lens: Lens | None
    given: tuple[str, ...]
    """The columns of the component that is searched."""

    def through(self, table: pa.Table, names: Sequence[str]) -> pa.Table:
        """Return columns of the reading, from the stored ones."""
        return table.select(names) if self.lens is None else self.lens.through(table, names)

    def stored(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the stored columns that these need."""
        return tuple(names) if self.lens is None else self.lens.stored(names)


def _readings(
    archetypes: Iterable[Archetype], wanted: Wanted, named: Sequence[type[Component]]
) -> dict[Archetype, _Reading]:
    """The tables that can answer. A column is that of a class, in all versions, or else as some tables store it.

    `UnknownColumn` if neither a class nor a table has it: nothing could ever match.
    """
    from archetype_core.read.condition import unknown

    known = tuple(archetypes)
    classes = {name: found for name in sorted(wanted.needed) if (found := _class_of(name, known, named)) is not None}
    stored = {name for one in known for name in one.column_names}
    if absent := wanted.needed - classes.keys() - stored:
        raise unknown(min(absent), [*BASE_FIELDS, *sorted(stored - {ENTITY_ID})], known)
    schema, answering = lenses(tuple(dict.fromkeys(classes.values())), known, "null")
    made = {}
    for archetype, lens in answering.items():
        if not wanted.needed - classes.keys() <= set(archetype.column_names):
            continue
        whole = pa.schema([*schema, *(field for field in archetype.schema if field.name not in schema.names)])
        owner = (
            classes[wanted.column].component_type() if wanted.column in classes else _owner(archetype, wanted.column)
        )
        given = tuple(field.name for field in owner.fields)
        made[archetype] = _Reading(archetype, whole, lens and replace(lens, schema=whole), given)
    return made


def _class_of(column: str, archetypes: Sequence[Archetype], named: Sequence[type[Component]]) -> type[Component] | None:
    """The class whose column it is: one that the world names, or that a table is stored like, or the latest."""
    kinds = types_with_column(column)
    for one in named:
        if one.component_type() in kinds:
            return one
    stored = [kind for kind in kinds if any(kind in one for one in archetypes)]
    return next((kind.cls for kind in (*stored, *kinds)), None)


def _owner(archetype: Archetype, column: str) -> ComponentType:
    return next(one for one in archetype.components if any(field.name == column for field in one.fields))


def among(
    live: Mapping[Archetype, Snapshot], wanted: Wanted, segment: Segment, tick: int, named: Sequence[type[Component]]
) -> DataFrame:
    """The best rows of live tables."""
    found: list[list[tuple[pa.Table, pa.Table]]] = [[] for _ in wanted.queries]
    for archetype, reading in _readings(live, wanted, named).items():
        rows = live[archetype]
        table = rows.to_arrow()
        allowed = None
        if wanted.where is not None:
            names = [name for name in reading.schema.names if name == ENTITY_ID or name not in BASE_FIELDS]
            allowed = _allowed(_framed(reading.through(table, names), segment, tick), wanted.where)
        values = contiguous(reading.through(table, [wanted.column]).column(0))
        bests = rank_each(rows.entity_ids, values, wanted.at(archetype.name, segment, tick, allowed))
        for best, into in zip(bests, found, strict=True):
            positions = pc.index_in(best.column(ENTITY_ID), value_set=rows.entity_ids)
            into.append((best, reading.through(table.take(positions), reading.given)))
    return _answer(found, wanted, tick)


def in_history(
    store: Store, tables: Mapping[str, pa.Schema], span: Span, wanted: Wanted, named: Sequence[type[Component]]
) -> DataFrame:
    """The best rows of a past tick."""
    from archetype_core.read.source import HistorySource

    found: list[list[tuple[pa.Table, pa.Table]]] = [[] for _ in wanted.queries]
    readings = _readings(map(Archetype.from_schema, tables.values()), wanted, named)
    for name, schema in tables.items():
        reading = readings.get(Archetype.from_schema(schema))
        if reading is None:
            continue
        part = Part(name, schema, span, lens=reading.lens)
        allowed = None
        if wanted.where is not None:
            plan = ReadPlan(store, (part,), reading.schema, None, include_inactive=False)
            allowed = _allowed(HistorySource(plan).read(), wanted.where)
        searches = wanted.at(name, span.segment, span.last, allowed)
        column = wanted.column if reading.lens is None else reading.lens.plain(wanted.column)
        if column is None or wanted.is_batch:
            # No stored column has the values to search, so the store cannot rank them; or it would rank each query alone.
            rows = _rows(store, part, reading, allowed)
            values = contiguous(reading.through(rows, [wanted.column]).column(0))
            bests = rank_each(contiguous(rows.column(ENTITY_ID)), values, searches)
        else:
            bests = [_best(store, replace(searches[0], column=column))]
            rows = _rows(store, part, reading, contiguous(bests[0].column(ENTITY_ID)))
        for best, into in zip(bests, found, strict=True):
            positions = pc.index_in(contiguous(best.column(ENTITY_ID)), value_set=contiguous(rows.column(ENTITY_ID)))
            into.append((best, reading.through(rows.take(positions), reading.given)))
    return _answer(found, wanted, span.last)


def _best(store: Store, search: Search) -> pa.Table:
    """The best rows of one table, ranked by the store if it can."""
    if Capability.SEARCH in store.capabilities and isinstance(store, SearchStore):
        return store.search(search)
    return ranked(store, search)


def _rows(store: Store, part: Part, reading: _Reading, entity_ids: pa.Array | None) -> pa.Table:
    """The stored columns of some active rows that the answer needs."""
    columns = tuple(dict.fromkeys([ENTITY_ID, *reading.stored(reading.given), IS_ACTIVE]))
    span = part.span
    scan = Scan(part.table, span.segment, span.last, span.last, columns, entity_ids)
    is_empty = entity_ids is not None and not len(entity_ids)
    rows = pa.Table.from_batches([] if is_empty else list(store.scan(scan)), scan.schema(part.schema))
    return rows.filter(rows.column(IS_ACTIVE))


def _framed(table: pa.Table, segment: Segment, tick: int) -> DataFrame:
    import daft
    from daft import lit

    constant = {
        WORLD_ID: lit(segment.world_id),
        RUN_ID: lit(segment.run_id),
        TICK: lit(tick).cast(daft.DataType.int64()),
        IS_ACTIVE: lit(True),
    }
    return daft.from_arrow(table).with_columns(constant)


def _allowed(frame: DataFrame, where: Expression) -> pa.Array:
    """The entities that match a condition."""
    return contiguous(frame.where(where).select(ENTITY_ID).to_arrow().column(0)).cast(pa.int64())


def _answer(found: Sequence[Sequence[tuple[pa.Table, pa.Table]]], wanted: Wanted, tick: int) -> DataFrame:
    """The best rows for each query; those of a batch have its number in a first column."""
    import daft

    tables = [_merged(one, wanted, tick) for one in found]
    if wanted.is_batch:
        tables = [one.add_column(0, QUERY, pa.repeat(number, one.num_rows)) for number, one in enumerate(tables)]
    return daft.from_arrow(pa.concat_tables(tables).combine_chunks())


def _merged(found: Sequence[tuple[pa.Table, pa.Table]], wanted: Wanted, tick: int) -> pa.Table:
    """The best rows of all tables: the component's columns, the tick and the score."""
    parts = [
        pa.Table.from_arrays(
            [
                best.column(ENTITY_ID),
                pa.chunked_array([pa.repeat(pa.scalar(tick, pa.int64()), best.num_rows)]),
                *rows.columns,
                best.column(SCORE),
            ],
            names=[ENTITY_ID, TICK, *rows.column_names, SCORE],
        )
        for best, rows in found
    ]
    if not parts:
        return pa.schema([FOUND.field(0), BASE_FIELDS[TICK], FOUND.field(1)]).empty_table()
    # Without a class, tables can have other fields under the same name.
    whole = pa.concat_tables(parts, promote_options="default")
    order = pc.sort_indices(whole, sort_keys=[(SCORE, "descending"), (ENTITY_ID, "ascending")])
    return whole.take(order[: wanted.k])
