"""The memory store keeps the whole store contract, with and without a name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from archetype_contracts import Capability, StoreContract
from archetype_core.store import MemoryStore, Store

_: type[Store] = MemoryStore


class TestMemoryStore(StoreContract):
    capabilities = frozenset({Capability.TIME_TRAVEL, Capability.PERSISTENCE, Capability.SHARED})

    @asynccontextmanager
    async def open_store(self, place: Path) -> AsyncIterator[Store]:
        store = MemoryStore(str(place))
        yield store
        store.close()


class TestUnnamedMemoryStore(StoreContract):
    capabilities = frozenset({Capability.TIME_TRAVEL})

    @asynccontextmanager
    async def open_store(self, place: Path) -> AsyncIterator[Store]:
        store = MemoryStore()
        yield store
        store.close()
