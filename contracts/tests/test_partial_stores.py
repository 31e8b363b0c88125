"""Stores with fewer or more capabilities than the memory store keep the contract too."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from archetype_contracts import Capability, StoreContract
from archetype_core.errors import UnsupportedCapability
from archetype_core.read import ranked
from archetype_core.store import Head, MemoryStore, Scan, Search, Store, TickCommit

pytestmark = pytest.mark.thorough


class NewestOnly(MemoryStore):
    """Answers only for the newest tick of a world."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        return frozenset()

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        parent = ticks[0].segment.parent if ticks else None
        newest = {record.world_id: record.tick for record in self.worlds()}
        if (
            parent is not None
            and parent.tick < newest.get(parent.world_id, 0)
            and ticks[0].segment.world_id not in newest
        ):
            raise UnsupportedCapability(repr(self), Capability.TIME_TRAVEL)
        super().commit(ticks)

    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        reader = super().scan(scan)
        if scan.first < super().head(scan.segment.world_id).tick:
            raise UnsupportedCapability(repr(self), Capability.TIME_TRAVEL)
        return reader

    def head(self, world_id: str, *, at: int | None = None) -> Head:
        found = super().head(world_id, at=at)
        if at is not None and at < super().head(world_id).tick:
            raise UnsupportedCapability(repr(self), Capability.TIME_TRAVEL)
        return found


class EveryCapability(MemoryStore):
    """Claims every capability: it writes the answer of a scan to files, and ranks searches."""

    def __init__(self, place: Path) -> None:
        super().__init__(str(place))
        self.place = place

    @property
    def capabilities(self) -> frozenset[Capability]:
        return frozenset(Capability)

    def files(self, scan: Scan) -> tuple[str, ...]:
        paths = []
        for index, batch in enumerate(self.scan(scan)):
            paths.append(str(self.place / f"{index}.parquet"))
            pq.write_table(pa.Table.from_batches([batch]), paths[-1])
        return tuple(paths)

    def search(self, search: Search) -> pa.Table:
        return ranked(self, search)


class TestNewestOnly(StoreContract):
    capabilities = frozenset()

    @asynccontextmanager
    async def open_store(self, place: Path) -> AsyncIterator[Store]:
        store = NewestOnly()
        yield store
        store.close()


class TestEveryCapability(StoreContract):
    capabilities = frozenset(Capability)
    examples = 20

    @asynccontextmanager
    async def open_store(self, place: Path) -> AsyncIterator[Store]:
        store = EveryCapability(place)
        yield store
        store.close()
