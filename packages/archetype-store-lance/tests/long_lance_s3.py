"""A journal in front of an object store keeps the store contract; takes minutes, `nox -s contracts-long` runs it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

from test_lance_s3 import EVERYTHING, OPTIONS, empty, prefix, server  # noqa: F401  # reason: pytest finds fixtures by name

from archetype_contracts import StoreContract
from archetype_core import CacheConfig, StorageConfig, open_store
from archetype_core.store import Store


class TestJournaledLanceOnS3(StoreContract):
    """The journal is on this machine, sealed ticks are in the object store."""

    capabilities = EVERYTHING
    examples = 3
    cache: ClassVar[CacheConfig] = CacheConfig(rows=400, idle_s=0.01)

    @asynccontextmanager
    async def open_store(self, place: Path) -> AsyncIterator[Store]:
        """An address with options."""
        options = {"storage_options": OPTIONS, "journal": str(place / "journal")}
        store = open_store(StorageConfig(prefix(place), backend="lance", options=options), self.cache)
        try:
            yield store
        finally:
            store.close()
