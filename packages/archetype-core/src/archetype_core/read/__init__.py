"""Reading history: lazy queries, searches and differences over any store. Daft is loaded when something is asked."""

from archetype_core.read.aggregate import MAX_BINS, DensityGrid, is_number
from archetype_core.read.bm25 import Corpus, words_of
from archetype_core.read.diff import diff
from archetype_core.read.history import query, query_branches
from archetype_core.read.label import Labels
from archetype_core.read.ranking import FOUND, METRICS, SCORE, rank, rank_each, ranked
from archetype_core.read.request import (
    AggregateQuery,
    Branch,
    DensityQuery,
    HistoryQuery,
    SearchQuery,
    Ticks,
    asked,
    checked_bins,
)
from archetype_core.read.stored import aggregate_stored, density_stored, pushdown_of, search_stored, tables_at
from archetype_core.schema.version import Missing

__all__ = [
    "FOUND",
    "MAX_BINS",
    "METRICS",
    "SCORE",
    "AggregateQuery",
    "Branch",
    "Corpus",
    "DensityGrid",
    "DensityQuery",
    "HistoryQuery",
    "Labels",
    "Missing",
    "SearchQuery",
    "Ticks",
    "aggregate_stored",
    "asked",
    "checked_bins",
    "density_stored",
    "diff",
    "is_number",
    "pushdown_of",
    "query",
    "query_branches",
    "rank",
    "rank_each",
    "ranked",
    "search_stored",
    "tables_at",
    "words_of",
]
