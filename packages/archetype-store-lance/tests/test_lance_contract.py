"""The Lance store keeps the store contract, by itself and behind its journal."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from small_limits import SMALL

from archetype_contracts import Capability, StoreContract
from archetype_core import CacheConfig
from archetype_core.store import SearchStore, Store, TickCommit
from archetype_journal import JournaledStore
from archetype_store_lance import LanceStore, open_lance

_: type[SearchStore] = LanceStore

EVERYTHING = frozenset({Capability.TIME_TRAVEL, Capability.PERSISTENCE, Capability.SHARED, Capability.SEARCH})


class TestLanceStore(StoreContract):
    """A commit is an insert per table and a file of the log."""

    capabilities = EVERYTHING
    examples = 10

    @asynccontextmanager
    async def open_store(self, place: Path) -> AsyncIterator[Store]:
        """Tables and log in a directory."""
        store = LanceStore(place)
        try:
            yield store
        finally:
            store.close()


class TestJournaledLance(StoreContract):
    """The store of an address; it seals after every commit or two, so most reads combine journal and tables."""

    capabilities = EVERYTHING
    examples = 10

    @asynccontextmanager
    async def open_store(self, place: Path) -> AsyncIterator[Store]:
        """A directory with its journal."""
        store = open_lance(f"lance:{place}", CacheConfig(rows=40, idle_s=0.01))
        try:
            yield store
        finally:
            store.close()


class _Compacting(LanceStore):
    """Does the compaction that is due after every commit, and all of it after every fifth."""

    commits = 0

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        super().commit(ticks)
        self.commits += 1
        self.compact(whole=self.commits % 5 == 0)


class _Sealing(JournaledStore):
    """Seals after every commit, so that the store beneath answers all reads."""

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        super().commit(ticks)
        self.seal()


class TestSealedLance(StoreContract):
    """Lance answers all reads, over merged fragments and row indexes; commits come through the journal."""

    capabilities = EVERYTHING
    examples = 10

    @asynccontextmanager
    async def open_store(self, place: Path) -> AsyncIterator[Store]:
        """Tables and journal in two directories."""
        beneath = _Compacting(place / "beneath", limits=SMALL)
        store = _Sealing(beneath, place / "journal", CacheConfig(rows=3, idle_s=60.0))
        try:
            yield store
        finally:
            store.close()
