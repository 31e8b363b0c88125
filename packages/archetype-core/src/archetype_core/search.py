"""Search by likeness: the rows of one tick whose vector or text is closest to a query, exactly, best first.

What a tick shows is ranked whole, so nothing has to be indexed, sealed or recent to be found, and past ticks answer as they
would have then. A store that claims ``SEARCH`` ranks one table; the tables' best are merged here.
"""

from __future__ import annotations

import math
import operator
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import daft
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from daft import DataFrame, lit
from daft.expressions import Expression
from daft.io.pushdowns import Pushdowns

from archetype_core.archetype import Archetype
from archetype_core.commit import BASE_FIELDS, IS_ACTIVE, RUN_ID, TICK, WORLD_ID, Scan, Segment, Span
from archetype_core.component import ComponentType
from archetype_core.history import HistorySource, Part, Question
from archetype_core.snapshot import ENTITY_ID, Snapshot, contiguous

if TYPE_CHECKING:
    from archetype_core.ports import SearchStore, Store

SCORE = "score"
FOUND = pa.schema([pa.field(ENTITY_ID, pa.int64()), pa.field(SCORE, pa.float64())])
METRICS = ("cosine", "dot", "l2")
_BATCH_ROWS = 16_384
# Of BM25: how soon more of a word stops mattering, and how much long texts are held back.
_SATURATION, _LENGTH = 1.2, 0.75
_WORD = r"[\p{L}\p{N}_]+"


@dataclass(frozen=True, slots=True)
class Search:
    """A request for the active rows of one table at one tick that are most like a query.

    ``query`` is a vector for a column of vectors, ranked by ``metric``, or words for a column of text, ranked by BM25 over
    the texts of that table at that tick; a text without any of the words is not found, nor is a null.
    """

    table: str
    segment: Segment
    tick: int
    column: str
    query: tuple[float, ...] | str
    k: int
    metric: str = "cosine"
    entity_ids: pa.Array | None = None
    """The only entities to rank, ``None`` for all."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody searches for, in whichever table it is."""

    column: str
    query: tuple[float, ...] | str
    k: int
    metric: str
    where: Expression | None

    @classmethod
    def of(
        cls, column: Expression | str, query: str | Iterable[float], k: int, metric: str, where: Expression | None
    ) -> Wanted:
        """Check what a caller asks."""
        if operator.index(k) < 1:
            raise ValueError(f"k is how many rows to find, 1 or more, not {k!r}")
        if metric not in METRICS:
            raise ValueError(f"metric is one of {', '.join(METRICS)}, not {metric!r}")
        name = column if isinstance(column, str) else column.name()
        asked = query if isinstance(query, str) else tuple(float(one) for one in query)
        return cls(name, asked, operator.index(k), metric, where)

    def owner(self, archetype: Archetype) -> ComponentType | None:
        """The component of an archetype that has the column."""
        for component in archetype.components:
            if any(field.name == self.column for field in component.fields):
                return component
        return None

    def at(self, table: str, segment: Segment, tick: int, entity_ids: pa.Array | None) -> Search:
        """The request for one table."""
        return Search(table, segment, tick, self.column, self.query, self.k, self.metric, entity_ids)


def among(live: Mapping[Archetype, Snapshot], wanted: Wanted, segment: Segment, tick: int) -> DataFrame:
    """The best of live tables."""
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
        if not best.num_rows:
            continue
        columns = (ENTITY_ID, *(field.name for field in owner.fields), IS_ACTIVE)
        ids = contiguous(best.column(ENTITY_ID))
        scan = Scan(name, span.segment, span.last, span.last, columns, ids)
        rows = pa.Table.from_batches(list(store.scan(scan)), scan.schema(schema))
        rows = rows.filter(rows.column(IS_ACTIVE))
        found.append((owner, best, rows.take(pc.index_in(ids, value_set=contiguous(rows.column(ENTITY_ID))))))
    return _merged(found, wanted, span.last)


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
    rows = store.scan(scan).read_all()
    if not rows.num_rows:
        return FOUND.empty_table()
    rows = rows.filter(rows.column(IS_ACTIVE))
    return rank(contiguous(rows.column(0)), contiguous(rows.column(1)), search)


def rank(ids: pa.Array, values: pa.Array, search: Search) -> pa.Table:
    """The best of some rows: their entities and scores, best first, equals by entity."""
    if search.entity_ids is not None:
        chosen = pc.indices_nonzero(pc.is_in(ids, value_set=search.entity_ids))
        ids, values = ids.take(chosen), values.take(chosen)
    valid = pc.indices_nonzero(values.is_valid())
    if len(valid) < len(ids):
        ids, values = ids.take(valid), values.take(valid)
    if isinstance(search.query, str):
        if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
            raise TypeError(f"{search.column} holds {values.type}, which words cannot be searched in")
        scores = _text_scores(values, search.query)
    else:
        scores = _vector_scores(values, search)
    entities = np.asarray(ids.to_numpy(zero_copy_only=False))
    # NaN is like nothing.
    kept = np.flatnonzero(~np.isnan(scores))
    order = kept[np.lexsort((entities[kept], -scores[kept]))][: search.k]
    return pa.Table.from_arrays([pa.array(entities[order]), pa.array(scores[order])], schema=FOUND)


def _vector_scores(values: pa.Array, search: Search) -> np.ndarray[Any, np.dtype[np.float64]]:
    kind = values.type
    if not (pa.types.is_fixed_size_list(kind) and pa.types.is_floating(kind.value_type)):
        raise TypeError(f"{search.column} holds {kind}, which vectors cannot be searched in")
    if len(search.query) != kind.list_size:
        raise ValueError(f"{search.column} holds vectors of {kind.list_size} values, the query has {len(search.query)}")
    query = np.asarray(search.query, np.float64)
    scores = np.empty(len(values), np.float64)
    # A part at a time, so that only that is there in double precision.
    for begin in range(0, len(values), _BATCH_ROWS):
        part = values.slice(begin, _BATCH_ROWS)
        matrix = part.flatten().to_numpy(zero_copy_only=False).reshape(len(part), kind.list_size).astype(np.float64)
        with np.errstate(all="ignore"):
            if search.metric == "l2":
                found = -np.sqrt(((matrix - query) ** 2).sum(axis=1))
            else:
                found = (matrix * query).sum(axis=1)
                if search.metric == "cosine":
                    found = found / (np.sqrt((matrix**2).sum(axis=1)) * math.sqrt(float(query @ query)))
        scores[begin : begin + len(part)] = found
    return scores


def _text_scores(values: pa.Array, query: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    texts = pc.utf8_lower(values)
    words = list(dict.fromkeys(_words(pc.utf8_lower(pa.scalar(query)).as_py())))
    scores = np.full(len(texts), np.nan)
    if not words or not len(texts):
        return scores
    lengths = pc.count_substring_regex(texts, _WORD).to_numpy(zero_copy_only=False).astype(np.float64)
    usual = max(1.0, float(lengths.mean()))
    counts: dict[str, dict[int, int]] = {word: {} for word in words}
    maybe = np.zeros(len(texts), bool)
    for word in words:
        maybe |= pc.match_substring(texts, word).to_numpy(zero_copy_only=False)
    for index in np.flatnonzero(maybe):
        found = Counter(_words(texts[int(index)].as_py()))
        for word in words:
            if found[word]:
                counts[word][int(index)] = found[word]
    for within in counts.values():
        rarity = math.log1p((len(texts) - len(within) + 0.5) / (len(within) + 0.5))
        for place, count in within.items():
            held = _SATURATION * (1 - _LENGTH + _LENGTH * lengths[place] / usual)
            before = 0.0 if math.isnan(scores[place]) else scores[place]
            scores[place] = before + rarity * count * (_SATURATION + 1) / (count + held)
    return scores


def _words(text: str) -> Iterator[str]:
    return (found.group() for found in re.finditer(r"\w+", text))
