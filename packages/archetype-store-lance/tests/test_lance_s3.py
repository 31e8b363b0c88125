"""The Lance store keeps the store contract in an object store: moto's, over HTTP on this machine."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from bucket import BUCKET, served

from archetype_contracts import Capability, StoreContract
from archetype_contracts.sample import SPOT, spots
from archetype_contracts.script import Script
from archetype_contracts.store.observation import scan_of
from archetype_core import StorageConfig, open_store
from archetype_core.journal import JournaledStore
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


def test_a_journal_hands_over_to_an_object_store(tmp_path: Path) -> None:
    """What an address opens keeps ticks on this machine, moves them to the object store, and finds them in both (S4, S5)."""
    options = {"storage_options": OPTIONS, "journal": str(tmp_path / "journal")}
    config = StorageConfig(prefix(tmp_path), backend="lance", options=options)
    script = Script()
    store = open_store(config)
    assert isinstance(store, JournaledStore)
    store.commit([script.tick(spots({1: float(tick)})) for tick in range(5)])
    store.seal()
    store.commit([script.tick(spots({1: 5.0}))])
    beneath = LanceStore(prefix(tmp_path), OPTIONS)
    assert [record.tick for record in beneath.worlds()] == [4]
    for opened in (store, open_store(config)):
        found = opened.scan(scan_of(SPOT, script.segment, 0, 5)).read_all()
        assert found.column("spot__x").to_pylist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
        opened.close()
    assert [record.tick for record in beneath.worlds()] == [5]
    beneath.close()
