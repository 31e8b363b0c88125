"""Ranks the rows of one table at one tick: a search that any store can answer with a scan.

Scores are exact: vectors by their metric, texts by BM25 over the texts of that table at that tick.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from archetype_core.read.bm25 import Corpus, relevant
from archetype_core.read.vector_search import nearest, nearest_each
from archetype_core.schema.snapshot import ENTITY_ID, contiguous
from archetype_core.store.port import Store
from archetype_core.store.request import IS_ACTIVE, Scan, Search

SCORE = "score"
FOUND = pa.schema([pa.field(ENTITY_ID, pa.int64()), pa.field(SCORE, pa.float64())])
METRICS = ("cosine", "dot", "l2")


def ranked(store: Store, search: Search) -> pa.Table:
    """Answer a search by scanning one column of the tick. Works on any store."""
    columns = (ENTITY_ID, search.column, IS_ACTIVE)
    scan = Scan(search.table, search.segment, search.tick, search.tick, columns, search.entity_ids)
    if isinstance(search.query, str):
        rows = store.scan(scan).read_all()
        return _ranked(rows, search) if rows.num_rows else FOUND.empty_table()
    # A vector's score does not depend on other rows, so only the best of each batch are kept.
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


def rank_each(ids: pa.Array, values: pa.Array, searches: Sequence[Search]) -> list[pa.Table]:
    """What ``rank`` gives for several vectors, which differ in nothing but the vector, in one pass over the rows."""
    first = searches[0]
    if len(searches) == 1 or isinstance(first.query, str):
        return [rank(ids, values, one) for one in searches]
    if first.entity_ids is not None:
        chosen = pc.indices_nonzero(pc.is_in(ids, value_set=first.entity_ids))
        ids, values = ids.take(chosen), values.take(chosen)
    for one in searches:
        _check_vector(one, values.type)
    entities = np.asarray(ids.to_numpy(zero_copy_only=False))
    found = []
    for blocks in nearest_each(values, [[*map(float, one.query)] for one in searches], first.metric, first.k):
        parts = [_best(entities[rows], scores, first.k) for rows, scores in blocks]
        best = pa.concat_tables([FOUND.empty_table(), *parts])
        found.append(_best(best.column(0).to_numpy(), best.column(1).to_numpy(), first.k))
    return found


def rank(ids: pa.Array, values: pa.Array, search: Search, corpus: Corpus | None = None) -> pa.Table:
    """The best ``k`` of some rows: entity ids and scores, best first, ties by entity id.

    Pass ``corpus`` if the rows are only a part of the table: BM25 needs the statistics of all its texts.
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
        _check_vector(search, kind)
        rows, scores = nearest(values, search.query, search.metric, search.k)
    return _best(np.asarray(ids.to_numpy(zero_copy_only=False))[rows], scores, search.k)


def _check_vector(search: Search, kind: pa.DataType) -> None:
    if not (pa.types.is_fixed_size_list(kind) and pa.types.is_floating(kind.value_type)):
        raise TypeError(f"{search.column} holds {kind}, which vectors cannot be searched in")
    if len(search.query) != kind.list_size:
        raise ValueError(f"{search.column} holds vectors of {kind.list_size} values, the query has {len(search.query)}")


def _best(entities: np.ndarray[Any, Any], scores: np.ndarray[Any, Any], k: int) -> pa.Table:
    # A NaN score never matches.
    kept = np.flatnonzero(~np.isnan(scores))
    if len(kept) > k:
        bar = np.partition(scores[kept], len(kept) - k)[len(kept) - k]
        kept = kept[scores[kept] >= bar]
    order = kept[np.lexsort((entities[kept], -scores[kept]))][:k]
    return pa.Table.from_arrays([pa.array(entities[order]), pa.array(scores[order])], schema=FOUND)
