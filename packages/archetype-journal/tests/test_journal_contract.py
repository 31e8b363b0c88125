"""The journal keeps the store contract, all capabilities claimed that it claims."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from archetype_contracts import Capability, StoreContract
from archetype_core.store import Store
from archetype_journal import JournalStore

pytestmark = pytest.mark.thorough

_: type[Store] = JournalStore


class TestJournalStore(StoreContract):
    """One directory, one SQLite database, large columns in files."""

    examples = 60
    capabilities = frozenset({Capability.TIME_TRAVEL, Capability.PERSISTENCE, Capability.SHARED})

    @asynccontextmanager
    async def open_store(self, place: Path) -> AsyncIterator[Store]:
        """The journal in a directory."""
        store = JournalStore(place)
        try:
            yield store
        finally:
            store.close()
