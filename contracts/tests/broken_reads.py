"""Stores that break scans, lineage or heads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
from store_mutants import ChangedCommits, ChangedScans, WriteLog, breaks

from archetype_core.errors import TickNotFound
from archetype_core.store import Head, MemoryStore, Rows, Scan, Span, TickCommit, Timeline


@breaks("S-401", sound="S-602")
class FixedColumnOrder(MemoryStore):
    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        return super().scan(replace(scan, columns=tuple(sorted(scan.columns))))


@breaks("S-402")
class NoRowsWithoutColumns(ChangedScans):
    def changed(self, batch: pa.RecordBatch) -> pa.RecordBatch | None:
        return batch if batch.num_columns else None


@breaks("S-405", "S-404", machine=True, sound="S-602")
class OneTickEarly(MemoryStore):
    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        reader = super().scan(scan)
        if scan.first == scan.segment.first_tick:
            return reader
        early = replace(scan, first=scan.first - 1, last=scan.last - 1)
        batches = list(super().scan(early))
        names = reader.schema.names
        if "tick" in names:
            place = names.index("tick")
            batches = [
                batch.set_column(place, reader.schema.field(place), pc.add(batch.column(place), 1)) for batch in batches
            ]
        return pa.RecordBatchReader.from_batches(reader.schema, batches)


@breaks("S-406")
class SortsByEntity(ChangedScans):
    def changed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return batch.sort_by("entity_id") if "entity_id" in batch.schema.names else batch


@breaks("S-407", "S-411", machine=True)
class DropsTombstones(ChangedCommits):
    def rows(self, rows: Rows) -> Rows:
        return Rows(rows.live)


@breaks("S-407", machine=True)
class ActiveRowsOnly(ChangedScans):
    def changed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return batch.filter(batch.column("is_active")) if "is_active" in batch.schema.names else batch


@breaks("S-408", machine=True)
class CarriesTombstones(WriteLog):
    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        reader = super().scan(scan)
        if scan.first != scan.last or scan.first == scan.segment.first_tick or "is_active" not in scan.columns:
            return reader
        batches = list(reader)
        if self.wrote(scan.segment, scan.table) and not self.wrote(scan.segment, scan.table, scan.first):
            late = replace(scan, first=scan.first - 1, last=scan.first - 1)
            batches += [batch for batch in self.scan(late) if not batch.column("is_active")[0].as_py()]
        return pa.RecordBatchReader.from_batches(reader.schema, batches)


@breaks("S-409", "S-504", "S-511", machine=True, sound="S-602")
class ForgetsCarriedTables(WriteLog):
    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        reader = super().scan(scan)
        parts: list[pa.RecordBatch] = []
        for tick in range(scan.first, scan.last + 1):
            if self.wrote(scan.segment, scan.table, tick):
                parts += super().scan(replace(scan, first=tick, last=tick))
        return pa.RecordBatchReader.from_batches(reader.schema, parts)


@breaks("S-410", "S-411", machine=True)
class IgnoresEntityIds(MemoryStore):
    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        return super().scan(replace(scan, entity_ids=None))


@breaks("S-412")
class FiltersAfterProjecting(MemoryStore):
    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        if scan.where is None:
            return super().scan(scan)
        table = super().scan(replace(scan, where=None)).read_all()
        missing = "spot__x" not in table.column_names
        kept = table.slice(0, 0) if missing else table.filter(scan.where)
        return kept.to_reader()


@breaks("S-419")
class DropsNaN(MemoryStore):
    """Filters floats as Arrow does, for which no comparison with NaN holds; in Daft some do."""

    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        table = super().scan(scan).read_all()
        for name in table.column_names if scan.where is not None else ():
            if pa.types.is_float64(table.schema.field(name).type):
                table = table.filter(pc.fill_null(pc.invert(pc.is_nan(table.column(name))), True))
        return table.to_reader()


@breaks("S-413", "S-414", machine=True)
class EmptyOutsideHistory(MemoryStore):
    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        try:
            return super().scan(scan)
        except TickNotFound:
            return pa.RecordBatchReader.from_batches(pa.schema([]), [])


@breaks("S-415")
class UnknownTableFails(MemoryStore):
    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        if scan.table not in self.timeline(scan.segment.world_id).tables:
            raise KeyError(scan.table)
        return super().scan(scan)


@breaks("S-417")
class ScansTheLatest(MemoryStore):
    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        reader = super().scan(scan)
        newest = scan.last == self.head(scan.segment.world_id).tick

        def late() -> Iterator[pa.RecordBatch]:
            tick = self.head(scan.segment.world_id).tick
            yield from super(ScansTheLatest, self).scan(replace(scan, first=tick, last=tick) if newest else scan)

        return pa.RecordBatchReader.from_batches(reader.schema, late())


@breaks("S-501")
class SharedTables(MemoryStore):
    def timeline(self, world_id: str) -> Timeline:
        found = super().timeline(world_id)
        others = (super(SharedTables, self).timeline(record.world_id).tables for record in self.worlds())
        return Timeline(found.spans, {name: schema for tables in others for name, schema in tables.items()})


@breaks("S-501", machine=True, sound="S-003")
class MixedWorlds(MemoryStore):
    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        reader = super().scan(scan)
        batches = list(reader)
        for world in self.worlds():
            segment = self.head(world.world_id).segment
            if world.world_id != scan.segment.world_id and segment.first_tick <= scan.first and scan.last <= world.tick:
                batches += [
                    batch for batch in super().scan(replace(scan, segment=segment)) if batch.schema == reader.schema
                ]
        return pa.RecordBatchReader.from_batches(reader.schema, batches)


@breaks("S-502")
class WorldsByName(MemoryStore):
    def head(self, world_id: str, *, at: int | None = None) -> Head:
        names = {record.world_id: record.name for record in self.worlds()}
        same = [other for other, name in names.items() if name == names.get(world_id)]
        return super().head(same[0] if same else world_id, at=at)


@breaks("S-503", machine=True)
class ForksSeeTheParentsFuture(MemoryStore):
    def timeline(self, world_id: str) -> Timeline:
        found = super().timeline(world_id)
        last = {record.run_id: record.tick for record in self.worlds()}
        spans = (Span(span.segment, span.first, last.get(span.segment.run_id, span.last)) for span in found.spans)
        return Timeline(tuple(spans), found.tables)


@breaks("S-505", machine=True)
class ForksFollowTheParent(WriteLog):
    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        reader = super().scan(scan)
        parent = scan.segment.parent
        if parent is None or self.wrote(scan.segment, scan.table) or parent.world_id == scan.segment.world_id:
            return reader
        spans = self.timeline(parent.world_id).spans
        source = next(span for span in spans if span.segment.run_id == parent.run_id)
        names = [name for name in scan.columns if name in reader.schema.names]
        if not names or not scan.columns:
            return reader
        batches = []
        for tick in range(scan.first, scan.last + 1):
            newest = replace(scan, segment=source.segment, first=source.last, last=source.last)
            late = super().scan(newest).read_all()
            if "is_active" in late.column_names:
                late = late.filter(late.column("is_active"))
            for name, value in (("tick", tick), ("world_id", scan.segment.world_id), ("run_id", scan.segment.run_id)):
                if name in late.column_names:
                    place = late.column_names.index(name)
                    field = late.schema.field(place)
                    late = late.set_column(place, field, pa.array([value] * late.num_rows, field.type))
            batches += late.to_batches()
        return pa.RecordBatchReader.from_batches(reader.schema, batches)


@breaks("S-508")
class ForgetsGrandparents(MemoryStore):
    def timeline(self, world_id: str) -> Timeline:
        found = super().timeline(world_id)
        return Timeline(found.spans[-2:], found.tables)


@breaks("S-601", machine=True, sound="S-407")
class StaleHead(MemoryStore):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.heads: dict[str, Head] = {}

    def head(self, world_id: str, *, at: int | None = None) -> Head:
        return (
            super().head(world_id, at=at) if at is not None else self.heads.setdefault(world_id, super().head(world_id))
        )


@breaks("S-602", machine=True)
class CountsIds(MemoryStore):
    def head(self, world_id: str, *, at: int | None = None) -> Head:
        head = super().head(world_id, at=at)
        return replace(head, next_entity_id=sum(head.live.values()) + 1)


@breaks("S-603", machine=True)
class LosesApplied(MemoryStore):
    def head(self, world_id: str, *, at: int | None = None) -> Head:
        return replace(super().head(world_id, at=at), applied=())


@breaks("S-603", sound="S-407")
class AccumulatesApplied(ChangedCommits):
    def changed(self, tick: TickCommit) -> TickCommit:
        try:
            before = self.head(tick.segment.world_id).applied
        except LookupError:
            before = ()
        return replace(tick, applied=(*before, *tick.applied))


@breaks("S-604", machine=True, sound="S-407")
class CountsWrittenTablesOnly(WriteLog):
    def head(self, world_id: str, *, at: int | None = None) -> Head:
        head = super().head(world_id, at=at)
        written = {name: rows for name, rows in head.live.items() if self.wrote(head.segment, name, head.tick)}
        return replace(head, live=written)


@breaks("S-605", sound="S-407")
class NoOlderState(MemoryStore):
    def head(self, world_id: str, *, at: int | None = None) -> Head:
        found = super().head(world_id, at=at)
        return found if at is None else replace(super().head(world_id), tick=found.tick, segment=found.segment)
