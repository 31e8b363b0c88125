"""Stores that break lifetimes, handles or claims."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from typing import ClassVar

import pyarrow as pa
from store_mutants import ALL, breaks

from archetype_core.errors import TickConflict, UnsupportedCapability
from archetype_core.store import Capability, MemoryStore, Scan, TickCommit, WorldRecord


@breaks("S-701")
class ClosesOnce(MemoryStore):
    def close(self) -> None:
        self.worlds()  # raises StoreClosed the second time
        super().close()


@breaks("S-702")
class NeverCloses(MemoryStore):
    def close(self) -> None:
        pass


@breaks("S-702")
class AcceptsAnEmptyCommitAfterClose(MemoryStore):
    def commit(self, ticks: Sequence[TickCommit]) -> None:
        if ticks:
            super().commit(ticks)


@breaks("S-703")
class ClosesEveryHandle(MemoryStore):
    handles: ClassVar[defaultdict[str, list[MemoryStore]]] = defaultdict(list)

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.handles[name].append(self)

    def close(self) -> None:
        for handle in self.handles.pop(self.name, []):
            MemoryStore.close(handle)


@breaks("S-704", "S-705", "S-706", machine=True)
class ForgetsOnOpening(MemoryStore):
    def __init__(self, name: str) -> None:
        MemoryStore.forget(name)
        super().__init__(name)


@breaks("S-705", "S-706", machine=True)
class FlushesOnClose(MemoryStore):
    """Writes to memory of its own and stores its commits on close; every handle starts from what is stored."""

    stored: ClassVar[defaultdict[str, list[list[TickCommit]]]] = defaultdict(list)

    def __init__(self, name: str) -> None:
        super().__init__("")
        self.name = name
        self.commits: list[list[TickCommit]] = []
        self.is_changed = False
        for ticks in self.stored[name]:
            with suppress(TickConflict):
                super().commit(ticks)
                self.commits.append(ticks)

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        super().commit(ticks)
        self.commits.append(list(ticks))
        self.is_changed = True

    def close(self) -> None:
        if self.is_changed:
            self.stored[self.name] = self.commits
            self.is_changed = False
        super().close()


@breaks("S-808", sound="S-407")
class CachesWorlds(MemoryStore):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.cached: tuple[int, tuple[WorldRecord, ...]] = (-1, ())
        self.commits = 0

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        super().commit(ticks)
        self.commits += 1

    def worlds(self) -> tuple[WorldRecord, ...]:
        if self.cached[0] != self.commits:
            self.cached = (self.commits, super().worlds())
        return self.cached[1]


@breaks("S-806")
class ShowsTablesOneByOne(MemoryStore):
    """Shows the first table of every tick at once, and the others a moment later."""

    hidden: frozenset[tuple[str, int, str]] = frozenset()

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        self.hidden = frozenset(
            (tick.segment.run_id, tick.tick, table) for tick in ticks for table in list(tick.written)[1:]
        )
        try:
            super().commit(ticks)
            threading.Event().wait(0.002)
        finally:
            self.hidden = frozenset()

    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        hidden = self.hidden
        reader = super().scan(scan)
        if (scan.segment.run_id, scan.last, scan.table) in hidden:
            return pa.RecordBatchReader.from_batches(reader.schema, [])
        return reader


@breaks("S-810")
class NamesWorldsTooEarly(MemoryStore):
    named: tuple[WorldRecord, ...] = ()

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        segment = ticks[0].segment if ticks else None
        if segment is not None and all(one.world_id != segment.world_id for one in super().worlds()):
            self.named = (WorldRecord(segment.world_id, segment.name, segment.run_id, ticks[0].tick),)
            threading.Event().wait(0.002)
        super().commit(ticks)
        self.named = ()

    def worlds(self) -> tuple[WorldRecord, ...]:
        named, found = self.named, super().worlds()
        return (*found, *(one for one in named if all(one.world_id != other.world_id for other in found)))


@breaks("S-901")
class ClaimsFiles(MemoryStore):
    @property
    def capabilities(self) -> frozenset[Capability]:
        return ALL | {Capability.FILES}


@breaks("S-902", capabilities=ALL - {Capability.TIME_TRAVEL})
class TravelsWithoutClaimingIt(MemoryStore):
    @property
    def capabilities(self) -> frozenset[Capability]:
        return ALL - {Capability.TIME_TRAVEL}


@breaks("S-903", capabilities=ALL - {Capability.PERSISTENCE})
class PersistsWithoutClaimingIt(MemoryStore):
    @property
    def capabilities(self) -> frozenset[Capability]:
        return ALL - {Capability.PERSISTENCE}


@breaks("S-904", capabilities=ALL - {Capability.SHARED}, sound="S-407")
class SharesWithoutClaimingIt(MemoryStore):
    @property
    def capabilities(self) -> frozenset[Capability]:
        return ALL - {Capability.SHARED}


@breaks("S-905")
class ReturnsNoFiles(MemoryStore):
    def files(self, scan: Scan) -> tuple[str, ...]:
        return ()


@breaks("S-905")
class BlamesAnotherCapability(MemoryStore):
    def files(self, scan: Scan) -> tuple[str, ...]:
        raise UnsupportedCapability(repr(self), Capability.TIME_TRAVEL)


@breaks("S-011")
class KeepsTheCallersMapping(MemoryStore):
    """Reads the caller's mappings again for every scan."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.committed: list[TickCommit] = []

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        super().commit(ticks)
        self.committed += ticks

    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        current = MemoryStore()
        for tick in self.committed:
            current.commit([tick])
        return current.scan(scan)
