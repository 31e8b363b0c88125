"""Stores that break searches."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
from store_mutants import ALL, breaks

from archetype_core.read import SCORE, ranked
from archetype_core.store import Capability, MemoryStore, Search

SEARCHING = ALL | {Capability.SEARCH}


class Searching(MemoryStore):
    @property
    def capabilities(self) -> frozenset[Capability]:
        return SEARCHING

    def search(self, search: Search) -> pa.Table:
        return ranked(self, search)


@breaks("S-908", "S-909", capabilities=SEARCHING)
class SearchesTheNewestTick(Searching):
    def search(self, search: Search) -> pa.Table:
        return super().search(replace(search, tick=self.head(search.segment.world_id).tick))


@breaks("S-908", capabilities=SEARCHING)
class RanksBeforeFiltering(Searching):
    def search(self, search: Search) -> pa.Table:
        found = super().search(replace(search, entity_ids=None))
        return found if search.entity_ids is None else found.slice(0, 1)


@breaks("S-908", "S-909", capabilities=SEARCHING)
class WorstFirst(Searching):
    def search(self, search: Search) -> pa.Table:
        found = super().search(search)
        return found.take(list(reversed(range(found.num_rows))))


@breaks("S-910", capabilities=SEARCHING)
class RoundsApproximateScores(Searching):
    def search(self, search: Search) -> pa.Table:
        found = super().search(search)
        if search.exact:
            return found
        return found.set_column(1, SCORE, found.column(SCORE).cast(pa.float32(), safe=False).cast(pa.float64()))


@breaks("S-910", capabilities=SEARCHING)
class UsesTheIndexOfTheNewestTick(Searching):
    def search(self, search: Search) -> pa.Table:
        newest = self.head(search.segment.world_id).tick
        return super().search(search if search.exact else replace(search, tick=newest))


@breaks("S-910", capabilities=SEARCHING)
class NeverUpdatesItsIndex(Searching):
    """Returns the first answer to a question for every later tick."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.answers: dict[tuple[str, str, bool], pa.Table] = {}

    def search(self, search: Search) -> pa.Table:
        if search.exact:
            return super().search(search)
        key = search.column, search.metric, search.entity_ids is None
        return self.answers.setdefault(key, super().search(search))


@breaks("S-910", capabilities=SEARCHING)
class IndexIgnoresEntityIds(Searching):
    def search(self, search: Search) -> pa.Table:
        return super().search(search if search.exact else replace(search, entity_ids=None))


@breaks("S-907")
class SearchesWithoutClaimingIt(Searching):
    @property
    def capabilities(self) -> frozenset[Capability]:
        return ALL
