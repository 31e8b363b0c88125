"""Stores that search, and find what they should not."""

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
        branch = self._space.branches[search.segment.world_id, search.segment.run_id]
        return super().search(replace(search, tick=branch.last))


@breaks("S-908", capabilities=SEARCHING)
class RanksBeforeItFilters(Searching):
    def search(self, search: Search) -> pa.Table:
        found = super().search(replace(search, entity_ids=None))
        return found if search.entity_ids is None else found.slice(0, 1)


@breaks("S-908", "S-909", capabilities=SEARCHING)
class WorstFirst(Searching):
    def search(self, search: Search) -> pa.Table:
        found = super().search(search)
        return found.take(list(reversed(range(found.num_rows))))


@breaks("S-910", capabilities=SEARCHING)
class MakesScoresUpWhereItMayMissSome(Searching):
    def search(self, search: Search) -> pa.Table:
        found = super().search(search)
        if search.exact:
            return found
        return found.set_column(1, SCORE, found.column(SCORE).cast(pa.float32(), safe=False).cast(pa.float64()))


@breaks("S-910", capabilities=SEARCHING)
class LooksIntoAnIndexOfTheNewestTick(Searching):
    def search(self, search: Search) -> pa.Table:
        branch = self._space.branches[search.segment.world_id, search.segment.run_id]
        return super().search(search if search.exact else replace(search, tick=branch.last))


@breaks("S-910", capabilities=SEARCHING)
class LooksIntoTheIndexItHad(Searching):
    """The first answer to a question serves ever after, whatever tick is asked about."""

    def search(self, search: Search) -> pa.Table:
        if search.exact:
            return super().search(search)
        known = vars(self).setdefault("_known", {})
        key = search.column, search.metric, search.entity_ids is None
        return known.setdefault(key, super().search(search))


@breaks("S-910", capabilities=SEARCHING)
class FindsAnyEntityInAnIndex(Searching):
    def search(self, search: Search) -> pa.Table:
        return super().search(search if search.exact else replace(search, entity_ids=None))


@breaks("S-907")
class SearchesThoughItDoesNotClaimTo(Searching):
    @property
    def capabilities(self) -> frozenset[Capability]:
        return ALL
