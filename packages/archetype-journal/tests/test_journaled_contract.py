"""A journal in front of a store keeps the store contract, whether ticks are sealed or not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from archetype_contracts import Capability, StoreContract
from archetype_core import MemoryStore
from archetype_core.config import CacheConfig
from archetype_core.store import SealingStore, Store, TickCommit
from archetype_journal import JournaledStore, JournalStore

pytestmark = pytest.mark.thorough

_: type[SealingStore] = JournaledStore

EVERYTHING = frozenset({Capability.TIME_TRAVEL, Capability.PERSISTENCE, Capability.SHARED})


class TestJournalOverMemory(StoreContract):
    """Seals after every commit or two, so that most reads need both the journal and the store."""

    capabilities = EVERYTHING

    @asynccontextmanager
    async def open_store(self, place: Path) -> AsyncIterator[Store]:
        """A journal beside a named memory store."""
        store = JournaledStore(MemoryStore(str(place)), place, CacheConfig(rows=1, idle_s=0.01))
        try:
            yield store
        finally:
            store.close()


class TestJournalOverForgetfulMemory(StoreContract):
    """Seals nothing into a store without persistence, so this is the journal alone, with more programs."""

    capabilities = EVERYTHING
    examples = 10

    @asynccontextmanager
    async def open_store(self, place: Path) -> AsyncIterator[Store]:
        """A journal before a memory store that ends with its handle."""
        store = JournaledStore(MemoryStore(), place)
        try:
            yield store
        finally:
            store.close()


class _Eager(JournaledStore):
    """Seals after every commit, so that the store beneath answers all reads."""

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        super().commit(ticks)
        self.seal()


class TestJournalOverJournal(StoreContract):
    """The store beneath, another journal, answers all reads."""

    capabilities = EVERYTHING
    examples = 40

    @asynccontextmanager
    async def open_store(self, place: Path) -> AsyncIterator[Store]:
        """Two directories."""
        store = _Eager(JournalStore(place / "beneath"), place / "journal", CacheConfig(rows=3, idle_s=60.0))
        try:
            yield store
        finally:
            store.close()
