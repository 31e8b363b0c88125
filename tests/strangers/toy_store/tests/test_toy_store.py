"""The toy store keeps the store contract: one class with one hook runs every clause."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from toy_archetype_store import ToyStore

from archetype_contracts import Capability, StoreContract
from archetype_core.store import Store

# A type checker verifies here that ToyStore has every verb of the port.
_: type[Store] = ToyStore


class TestToyStore(StoreContract):
    capabilities = frozenset({Capability.TIME_TRAVEL, Capability.PERSISTENCE})
    examples = 30

    @asynccontextmanager
    async def open_store(self, place: Path) -> AsyncIterator[Store]:
        store = ToyStore(place)
        yield store
        store.close()
