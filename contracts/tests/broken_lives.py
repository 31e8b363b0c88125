"""Stores that break their lifetime, their handles or their claims."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pyarrow as pa
from store_mutants import ALL, breaks

from archetype_core.errors import UnsupportedCapability
from archetype_core.store import Capability, MemoryStore, Rows, Scan, TickCommit, WorldRecord


@breaks("S-701")
class ClosesOnce(MemoryStore):
    def close(self) -> None:
        self._open()
        super().close()


@breaks("S-702")
class NeverCloses(MemoryStore):
    def close(self) -> None:
        pass


@breaks("S-702")
class AcceptsNothingAfterClose(MemoryStore):
    def commit(self, ticks: Sequence[TickCommit]) -> None:
        if ticks:
            super().commit(ticks)


@breaks("S-703")
class ClosesEveryHandle(MemoryStore):
    closed: set[str] = set()

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.closed.discard(name)

    def close(self) -> None:
        super().close()
        self.closed.add(self.name)

    def _open(self):
        if self.name in self.closed:
            self._is_open = False
        return super()._open()


@breaks("S-704", "S-705", "S-706", machine=True)
class ForgetsOnOpening(MemoryStore):
    def __init__(self, name: str) -> None:
        MemoryStore.forget(name)
        super().__init__(name)


@breaks("S-705", "S-706", machine=True)
class FlushesOnClose(MemoryStore):
    def __init__(self, name: str) -> None:
        super().__init__("")
        self.name, self.pending = name, list[list[TickCommit]]()
        kept = MemoryStore(name)
        for world in sorted(kept._space.branches.values(), key=lambda branch: branch.segment.first_tick):
            self._space.branches[world.segment.world_id, world.segment.run_id] = world
        self._space.worlds.update(kept._space.worlds)

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        if not self.pending and ticks:
            self._space = _copied(self._space)
        super().commit(ticks)
        self.pending.append(list(ticks))

    def close(self) -> None:
        if self._is_open and self.pending:
            MemoryStore.forget(self.name)
            MemoryStore(self.name)._space.__dict__.update(branches=self._space.branches, worlds=self._space.worlds)
        super().close()


def _copied(space):
    import copy

    made = type(space)()
    made.branches = {
        key: replace(
            branch,
            ids=list(branch.ids),
            applied=list(branch.applied),
            tables={name: replace(p, ticks=list(p.ticks), rows=copy.copy(p.rows)) for name, p in branch.tables.items()},
        )
        for key, branch in space.branches.items()
    }
    keys = {world: (branch.segment.world_id, branch.segment.run_id) for world, branch in space.worlds.items()}
    made.worlds = {world: made.branches[key] for world, key in keys.items()}
    return made


@breaks("S-808", sound="S-407")
class CachesWorlds(MemoryStore):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.cached: tuple[int, tuple[WorldRecord, ...]] = (-1, ())
        self.own = 0

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        super().commit(ticks)
        self.own += 1

    def worlds(self) -> tuple[WorldRecord, ...]:
        if self.cached[0] != self.own:
            self.cached = (self.own, super().worlds())
        return self.cached[1]


@breaks("S-806")
class WritesWithoutLock(MemoryStore):
    def commit(self, ticks: Sequence[TickCommit]) -> None:
        # A tick shows with its first table, and its second comes a moment later.
        for tick in ticks:
            names = list(tick.written)
            if len(names) < 2:
                super().commit([tick])
                continue
            super().commit([replace(tick, written={names[0]: tick.written[names[0]]})])
            threading.Event().wait(0.002)
            places = self._space.branches[tick.segment.world_id, tick.segment.run_id].tables
            for name in names[1:]:
                rows = tick.written[name]
                found = places.setdefault(name, type(places[names[0]])(rows.live.archetype.schema))
                found.ticks.append(tick.tick)
                found.rows.append(rows)


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
    capabilities = ALL | {Capability.FILES}


@breaks("S-902", capabilities=frozenset({Capability.PERSISTENCE, Capability.SHARED}))
class TravelsUnclaimed(MemoryStore):
    capabilities = frozenset({Capability.PERSISTENCE, Capability.SHARED})


@breaks("S-903", capabilities=frozenset({Capability.TIME_TRAVEL, Capability.SHARED}))
class PersistsUnclaimed(MemoryStore):
    capabilities = frozenset({Capability.TIME_TRAVEL, Capability.SHARED})


@breaks("S-904", capabilities=frozenset({Capability.TIME_TRAVEL, Capability.PERSISTENCE}), sound="S-407")
class SharesUnclaimed(MemoryStore):
    capabilities = frozenset({Capability.TIME_TRAVEL, Capability.PERSISTENCE})


@breaks("S-905")
class NamesNoFiles(MemoryStore):
    def files(self, scan: Scan) -> tuple[str, ...]:
        self._open()
        return ()


@breaks("S-905")
class BlamesAnotherCapability(MemoryStore):
    def files(self, scan: Scan) -> tuple[str, ...]:
        self._open()
        raise UnsupportedCapability(repr(self), Capability.TIME_TRAVEL)


@breaks("S-011")
class KeepsTheCallersMapping(MemoryStore):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.seen: list[TickCommit] = []

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        super().commit(ticks)
        self.seen += ticks

    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        for tick in self.seen:
            mapping: Mapping[str, Rows] = tick.written
            places = self._space.branches[tick.segment.world_id, tick.segment.run_id].tables
            for name, rows in mapping.items():
                if name in places and tick.tick in places[name].ticks:
                    places[name].rows[places[name].ticks.index(tick.tick)] = rows
        return super().scan(scan)
