"""A store of a third party: it counts what passes through it to another store."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from archetype_core import Capability, Head, MemoryStore, Scan, Store, TickCommit, Timeline, World, WorldRecord


class CountingStore:
    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.ticks = 0

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self.inner.capabilities - {Capability.SEARCH}

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        self.inner.commit(ticks)
        self.ticks += len(ticks)

    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        return self.inner.scan(scan)

    def head(self, world_id: str, *, at: int | None = None) -> Head:
        return self.inner.head(world_id, at=at)

    def timeline(self, world_id: str) -> Timeline:
        return self.inner.timeline(world_id)

    def worlds(self) -> tuple[WorldRecord, ...]:
        return self.inner.worlds()

    def files(self, scan: Scan) -> tuple[str, ...]:
        return self.inner.files(scan)

    def close(self) -> None:
        self.inner.close()


store = CountingStore(MemoryStore())
conforms: Store = store
world = World(store)
rows: int = sum(batch.num_rows for batch in store.scan(Scan("table", world.segment, 0, 0, ("tick",))))
