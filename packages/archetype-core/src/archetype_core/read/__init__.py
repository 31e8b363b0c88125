"""Reading history: lazy queries, searches and differences over any store. Importing it brings Daft along."""

from archetype_core.read.bm25 import Corpus, words_of
from archetype_core.read.diff import diff
from archetype_core.read.history import Branch, Ticks, query_branches
from archetype_core.read.search import FOUND, METRICS, SCORE, rank, ranked

__all__ = [
    "FOUND",
    "METRICS",
    "SCORE",
    "Branch",
    "Corpus",
    "Ticks",
    "diff",
    "query_branches",
    "rank",
    "ranked",
    "words_of",
]
