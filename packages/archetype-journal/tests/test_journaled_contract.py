"""A journal in front of a store keeps the store contract, whatever lies above or below the line between them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from archetype_contracts import Capability, StoreContract
from archetype_core import MemoryStore
from archetype_core.config import CacheConfig
from archetype_core.store import Store, TickCommit
from archetype_journal import JournaledStore, JournalStore

pytestmark = pytest.mark.thorough

_: type[Store] = JournaledStore

EVERYTHING = frozenset({Capability.TIME_TRAVEL, Capability.PERSISTENCE, Capability.SHARED})


class TestJournalOverMemory(StoreContract):
    """A hand-over after every commit or two, so that most reads cross the line."""

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
    """Nothing is handed over to a store that forgets, so this is the journal alone, which is held to more programs."""

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
    """Hands over after every commit, so that all reads are answered from beneath."""

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        super().commit(ticks)
        self.seal()


class TestJournalOverJournal(StoreContract):
    """All reads are answered by the store beneath, another journal."""

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
