"""Stores that break commits, conflicts or tables."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
from store_mutants import ChangedCommits, ChangedScans, breaks

from archetype_core.errors import TickConflict
from archetype_core.schema import Column, Snapshot
from archetype_core.store import MemoryStore, Rows, Scan, TickCommit, Timeline, check_successors


@breaks("S-002", "S-013", machine=True)
class LostAppend(ChangedCommits):
    def changed(self, tick: TickCommit) -> TickCommit:
        names = list(tick.written)
        kept = names[:-1] if len(names) > 1 else names
        return replace(tick, written={name: tick.written[name] for name in kept})


@breaks("S-005", "S-007", "S-008", "S-013", machine=True)
class TornTick(MemoryStore):
    def commit(self, ticks: Sequence[TickCommit]) -> None:
        for tick in ticks:
            written: dict[str, Rows] = {}
            try:
                for name in tick.written:
                    written[name] = tick.written[name]
            finally:
                super().commit([replace(tick, written=written)])


@breaks("S-006", "S-009", "S-013", "S-807", machine=True)
class TickByTick(MemoryStore):
    def commit(self, ticks: Sequence[TickCommit]) -> None:
        for tick in ticks:
            super().commit([tick])


@breaks("S-014")
class ReadsRowsTooLate(MemoryStore):
    def commit(self, ticks: Sequence[TickCommit]) -> None:
        # Reads all mappings first, but reads the rows while it commits tick by tick.
        copies = [replace(tick, written=dict(tick.written)) for tick in ticks]
        if copies:
            check_successors(copies)
        for tick in copies:
            super().commit([tick])


@breaks("S-010", machine=True)
class ForgetsEmptyTables(ChangedCommits):
    def changed(self, tick: TickCommit) -> TickCommit:
        kept = {name: rows for name, rows in tick.written.items() if rows.num_rows}
        return replace(tick, written=kept)


@breaks("S-003")
class SkipsEmptyTicks(MemoryStore):
    def commit(self, ticks: Sequence[TickCommit]) -> None:
        super().commit([tick for tick in ticks if tick.written or tick.carried])


@breaks("S-101", "S-102", "S-103", "S-801", machine=True)
class SwallowsConflicts(MemoryStore):
    def commit(self, ticks: Sequence[TickCommit]) -> None:
        with suppress(TickConflict):
            super().commit(ticks)


@breaks("S-103")
class RenumbersTicks(MemoryStore):
    def commit(self, ticks: Sequence[TickCommit]) -> None:
        last = [record.tick for record in self.worlds() if ticks and record.world_id == ticks[0].segment.world_id]
        if last and ticks[0].tick > last[0]:
            ticks = [replace(tick, tick=last[0] + 1 + index) for index, tick in enumerate(ticks)]
        super().commit(ticks)


@breaks("S-109")
class RevivesRuns(MemoryStore):
    def commit(self, ticks: Sequence[TickCommit]) -> None:
        try:
            super().commit(ticks)
        except TickConflict as exc:
            head = self.head(exc.world_id).segment
            if exc.expected != exc.got or head == ticks[0].segment:
                raise
            super().commit([replace(tick, segment=head) for tick in ticks])


@breaks("S-801", "S-802")
class ChecksOutsideTheLock(MemoryStore):
    def commit(self, ticks: Sequence[TickCommit]) -> None:
        heads = {record.world_id: record.tick for record in self.worlds()}
        head = heads.get(ticks[0].segment.world_id) if ticks else None
        if head is not None and ticks[0].tick != head + 1:
            raise TickConflict(ticks[0].segment.world_id, head + 1, ticks[0].tick)
        threading.Event().wait(0.01)
        # Another thread may have committed since the check; its conflict is lost.
        with suppress(TickConflict):
            super().commit(ticks)


@breaks("S-101")
class VagueConflicts(MemoryStore):
    def commit(self, ticks: Sequence[TickCommit]) -> None:
        try:
            super().commit(ticks)
        except TickConflict as exc:
            raise TickConflict(exc.world_id, exc.got, exc.got) from None


@breaks("S-201")
class LosesMetadata(MemoryStore):
    def timeline(self, world_id: str) -> Timeline:
        found = super().timeline(world_id)
        return Timeline(found.spans, {name: schema.remove_metadata() for name, schema in found.tables.items()})


@breaks("S-202")
class MergesTags(MemoryStore):
    def commit(self, ticks: Sequence[TickCommit]) -> None:
        super().commit(
            [replace(tick, written={self._alias(name): rows for name, rows in tick.written.items()}) for tick in ticks]
        )

    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        return super().scan(replace(scan, table=self._alias(scan.table)))

    @staticmethod
    def _alias(name: str) -> str:
        return "tags" if name.startswith(("marked", "frozen")) else name


@breaks("S-203")
class LosesLateColumns(ChangedScans):
    def column(self, array: pa.Array, name: str) -> pa.Array:
        return pc.multiply(array, 0.0) if name == "wide__f999" else array


@breaks("S-204")
class CountsTicksInBytes(MemoryStore):
    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        if scan.first == scan.last and scan.first < 1000:
            scan = replace(scan, first=scan.first % 256, last=scan.last % 256)
        return super().scan(scan)


@breaks("S-205")
class ReadsFromTheStartOfBuffers(ChangedCommits):
    def rows(self, rows: Rows) -> Rows:
        return Rows(self._whole(rows.live), self._whole(rows.tombstones) if rows.tombstones else None)

    def _whole(self, snapshot: Snapshot) -> Snapshot:
        moved = {name: Column(self._begin(column.arrow)) for name, column in snapshot.columns.items()}
        return Snapshot(snapshot.archetype, moved, snapshot.num_rows)

    @staticmethod
    def _begin(array: pa.Array) -> pa.Array:
        if array.offset == 0 or array.type.num_fields:
            return array
        return pa.Array.from_buffers(array.type, len(array), array.buffers())
