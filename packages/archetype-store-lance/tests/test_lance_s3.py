"""The Lance store keeps the store contract in an object store: moto's, over HTTP on this machine."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

import pytest
from bucket import BUCKET, served

from archetype_contracts import Capability, StoreContract
from archetype_core import CacheConfig, StorageConfig, open_store
from archetype_core.ports import Store
from archetype_store_lance import LanceStore

EVERYTHING = frozenset({Capability.TIME_TRAVEL, Capability.PERSISTENCE, Capability.SHARED, Capability.SEARCH})
OPTIONS: dict[str, str] = {}


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[None]:
    """One server for all tests of this module."""
    with served() as options:
        OPTIONS.update(options)
        yield
        OPTIONS.clear()


def prefix(place: Path) -> str:
    """An address of its own for every place."""
    return f"s3://{BUCKET}/{hashlib.sha256(str(place).encode()).hexdigest()[:16]}"


class TestLanceOnS3(StoreContract):
    """No lock and no journal: writers meet in the log."""

    capabilities = EVERYTHING
    examples = 3

    @asynccontextmanager
    async def open_store(self, place: Path) -> AsyncIterator[Store]:
        """Tables and log under a prefix."""
        store = LanceStore(prefix(place), OPTIONS)
        try:
            yield store
        finally:
            store.close()


class TestJournaledLanceOnS3(StoreContract):
    """The journal on this machine, what it hands over in the object store."""

    capabilities = EVERYTHING
    examples = 3
    cache: ClassVar[CacheConfig] = CacheConfig(rows=400, idle_s=0.01)

    @asynccontextmanager
    async def open_store(self, place: Path) -> AsyncIterator[Store]:
        """An address, with options."""
        options = {"storage_options": OPTIONS, "journal": str(place / "journal")}
        store = open_store(StorageConfig(prefix(place), backend="lance", options=options), self.cache)
        try:
            yield store
        finally:
            store.close()
