"""Stores that are each broken in one way, with the clause that has to notice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from archetype_core.commit import Head, Rows, Scan, Span, TickCommit, Timeline, WorldRecord
from archetype_core.errors import TickConflict, TickNotFound, UnsupportedCapability
from archetype_core.memory import MemoryStore
from archetype_core.ports import Capability, Store
from archetype_core.snapshot import Column, Snapshot

ALL = frozenset({Capability.TIME_TRAVEL, Capability.PERSISTENCE, Capability.SHARED})


@dataclass(frozen=True)
class Mutant:
    make: Callable[[str], Store]
    clauses: tuple[str, ...]
    """Every one of these notices."""
    capabilities: frozenset[Capability] = ALL
    machine: bool = False
    """The state machine notices as well."""
    sound: str = "S-012"
    """A clause that the store still keeps."""

    @property
    def name(self) -> str:
        return getattr(self.make, "__name__", "?")


MUTANTS: list[Mutant] = []


def breaks(
    *clauses: str, machine: bool = False, capabilities: frozenset[Capability] = ALL, sound: str = "S-012"
) -> Callable[[type[MemoryStore]], type[MemoryStore]]:
    """Enter a broken store and say which clauses notice."""

    def enter(cls: type[MemoryStore]) -> type[MemoryStore]:
        MUTANTS.append(Mutant(cls, clauses, capabilities, machine, sound))
        return cls

    return enter


class Rewriting(MemoryStore):
    """Answers scans with batches that were tampered with."""

    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        reader = super().scan(scan)
        batches = [self.tamper(batch) for batch in reader]
        return pa.RecordBatchReader.from_batches(reader.schema, [batch for batch in batches if batch is not None])

    def tamper(self, batch: pa.RecordBatch) -> pa.RecordBatch | None:
        arrays = [self.column(batch.column(name), name) for name in batch.schema.names]
        return pa.RecordBatch.from_arrays(arrays, schema=batch.schema) if arrays else batch

    def column(self, array: pa.Array, name: str) -> pa.Array:
        return array if name in ("world_id", "run_id", "is_active", "tick") else self.values(array)

    def values(self, array: pa.Array) -> pa.Array:
        return array


class Recommitting(MemoryStore):
    """Stores ticks that were tampered with."""

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        super().commit([self.tampered(tick) for tick in ticks])

    def tampered(self, tick: TickCommit) -> TickCommit:
        return replace(tick, written={name: self.rows(rows) for name, rows in tick.written.items()})

    def rows(self, rows: Rows) -> Rows:
        return rows


# Commits


@breaks("S-002", "S-013", machine=True)
class LostAppend(Recommitting):
    def tampered(self, tick: TickCommit) -> TickCommit:
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


@breaks("S-010", machine=True)
class ForgetsEmptyTables(Recommitting):
    def tampered(self, tick: TickCommit) -> TickCommit:
        kept = {name: rows for name, rows in tick.written.items() if rows.num_rows}
        return replace(tick, written=kept)


@breaks("S-003")
class SkipsEmptyTicks(MemoryStore):
    def commit(self, ticks: Sequence[TickCommit]) -> None:
        super().commit([tick for tick in ticks if tick.written or tick.carried])


# Conflicts


@breaks("S-101", "S-102", "S-103", "S-801", machine=True)
class SwallowsConflicts(MemoryStore):
    def commit(self, ticks: Sequence[TickCommit]) -> None:
        try:
            super().commit(ticks)
        except TickConflict:
            pass


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
        if ticks:
            with self._space.lock:
                self._check(self._space, ticks)
            threading.Event().wait(0.01)
        try:
            super().commit(ticks)
        except TickConflict:
            pass


@breaks("S-101")
class VagueConflicts(MemoryStore):
    def commit(self, ticks: Sequence[TickCommit]) -> None:
        try:
            super().commit(ticks)
        except TickConflict as exc:
            raise TickConflict(exc.world_id, exc.got, exc.got) from None


# Tables


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
class LosesLateColumns(Rewriting):
    def column(self, array: pa.Array, name: str) -> pa.Array:
        return pc.multiply(array, 0.0) if name == "wide__f999" else array


@breaks("S-204")
class CountsTicksInBytes(MemoryStore):
    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        if scan.first == scan.last and scan.first < 1000:
            scan = replace(scan, first=scan.first % 256, last=scan.last % 256)
        return super().scan(scan)


@breaks("S-205")
class ReadsFromTheStartOfBuffers(Recommitting):
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


# Values


def _floats(array: pa.Array) -> bool:
    return bool(pa.types.is_float64(array.type))


def _remade(array: pa.Array, values: np.ndarray) -> pa.Array:
    return pa.array(values, array.type, mask=np.asarray(array.is_null()))


@breaks("S-302", "S-309", machine=True)
class NullsBecomeNaN(Rewriting):
    def values(self, array: pa.Array) -> pa.Array:
        return pc.fill_null(array, float("nan")) if _floats(array) else array


@breaks("S-302")
class OneNaN(Rewriting):
    def values(self, array: pa.Array) -> pa.Array:
        if not _floats(array):
            return array
        values = np.array(pc.fill_null(array, 0.0))
        values[np.isnan(values)] = np.nan
        return _remade(array, values)


@breaks("S-302", machine=True)
class NoNegativeZero(Rewriting):
    def values(self, array: pa.Array) -> pa.Array:
        return _remade(array, np.array(pc.fill_null(array, 0.0)) + 0.0) if _floats(array) else array


@breaks("S-303")
class ShortText(Rewriting):
    def values(self, array: pa.Array) -> pa.Array:
        return pc.utf8_slice_codeunits(array, 0, 1000) if pa.types.is_large_string(array.type) else array


@breaks("S-303", machine=True)
class EmptyTextIsNull(Rewriting):
    def values(self, array: pa.Array) -> pa.Array:
        if not pa.types.is_large_string(array.type):
            return array
        return pa.array([text or None for text in array.to_pylist()], array.type)


@breaks("S-304")
class CStrings(Rewriting):
    def values(self, array: pa.Array) -> pa.Array:
        if not pa.types.is_large_binary(array.type):
            return array
        return pa.array([data and data.rstrip(b"\0") for data in array.to_pylist()], array.type)


@breaks("S-305")
class Milliseconds(Rewriting):
    def values(self, array: pa.Array) -> pa.Array:
        if not pa.types.is_timestamp(array.type) or array.type.unit != "us":
            return array
        return array.cast(pa.timestamp("ms", array.type.tz), safe=False).cast(array.type)


@breaks("S-301", "S-310")
class IntegersAreDoubles(Rewriting):
    def values(self, array: pa.Array) -> pa.Array:
        return array.cast(pa.float64(), safe=False).cast(array.type, safe=False) if array.type == pa.int64() else array


@breaks("S-306")
class DecimalsAreDoubles(Rewriting):
    def values(self, array: pa.Array) -> pa.Array:
        if not pa.types.is_decimal(array.type):
            return array
        rough = [None if value is None else round(float(value), 2) for value in array.to_pylist()]
        return pa.array([None if value is None else 0 for value in rough], pa.int64()).cast(array.type, safe=False)


@breaks("S-307")
class EmptyListsAreNull(Rewriting):
    def values(self, array: pa.Array) -> pa.Array:
        if not pa.types.is_large_list(array.type):
            return array
        return pc.if_else(pc.equal(pc.list_value_length(array), 0), pa.scalar(None, array.type), array)


@breaks("S-308")
class NoNullVectors(Rewriting):
    def values(self, array: pa.Array) -> pa.Array:
        if not pa.types.is_fixed_size_list(array.type):
            return array
        zeros = [0.0] * array.type.list_size
        return pa.array([zeros if value is None else value for value in array.to_pylist()], array.type)


# Scans


@breaks("S-401", sound="S-602")
class FixedColumnOrder(MemoryStore):
    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        return super().scan(replace(scan, columns=tuple(sorted(scan.columns))))


@breaks("S-402")
class NoRowsWithoutColumns(Rewriting):
    def tamper(self, batch: pa.RecordBatch) -> pa.RecordBatch | None:
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
class SortsByEntity(Rewriting):
    def tamper(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return batch.sort_by("entity_id") if "entity_id" in batch.schema.names else batch


@breaks("S-407", "S-411", machine=True)
class DropsTombstones(Recommitting):
    def rows(self, rows: Rows) -> Rows:
        return Rows(rows.live)


@breaks("S-407", machine=True)
class ActiveRowsOnly(Rewriting):
    def tamper(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return batch.filter(batch.column("is_active")) if "is_active" in batch.schema.names else batch


@breaks("S-408", machine=True)
class CarriesTombstones(MemoryStore):
    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        reader = super().scan(scan)
        if scan.first != scan.last or scan.first == scan.segment.first_tick or "is_active" not in scan.columns:
            return reader
        batches = list(reader)
        here = self._space.branches[scan.segment.world_id, scan.segment.run_id].tables.get(scan.table)
        if here is not None and scan.first not in here.ticks:
            late = replace(scan, first=scan.first - 1, last=scan.first - 1)
            batches += [batch for batch in self.scan(late) if not batch.column("is_active")[0].as_py()]
        return pa.RecordBatchReader.from_batches(reader.schema, batches)


@breaks("S-409", "S-504", "S-511", machine=True, sound="S-602")
class ForgetsIdleTables(MemoryStore):
    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        reader = super().scan(scan)
        tables = self._space.branches[scan.segment.world_id, scan.segment.run_id].tables
        ticks = tables[scan.table].ticks if scan.table in tables else []
        parts: list[pa.RecordBatch] = []
        for tick in range(scan.first, scan.last + 1):
            if tick in ticks:
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


# Lineage


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
class ForksFollowTheParent(MemoryStore):
    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        reader = super().scan(scan)
        branch = self._space.branches[scan.segment.world_id, scan.segment.run_id]
        parent = scan.segment.parent
        if parent is None or scan.table in branch.tables or parent.world_id == scan.segment.world_id:
            return reader
        elder = self._space.branches[parent.world_id, parent.run_id]
        names = [name for name in scan.columns if name in reader.schema.names]
        if not names or not scan.columns:
            return reader
        batches = []
        for tick in range(scan.first, scan.last + 1):
            late = super().scan(replace(scan, segment=elder.segment, first=elder.last, last=elder.last)).read_all()
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


# Heads


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
class AccumulatesApplied(Recommitting):
    def tampered(self, tick: TickCommit) -> TickCommit:
        try:
            before = self.head(tick.segment.world_id).applied
        except LookupError:
            before = ()
        return replace(tick, applied=(*before, *tick.applied))


@breaks("S-604", machine=True, sound="S-407")
class CountsWrittenTablesOnly(MemoryStore):
    def head(self, world_id: str, *, at: int | None = None) -> Head:
        head = super().head(world_id, at=at)
        tables = self._space.branches[head.segment.world_id, head.segment.run_id].tables
        live = {name: count for name, count in head.live.items() if name in tables and head.tick in tables[name].ticks}
        return replace(head, live=live)


@breaks("S-605", sound="S-407")
class NoOlderState(MemoryStore):
    def head(self, world_id: str, *, at: int | None = None) -> Head:
        found = super().head(world_id, at=at)
        return found if at is None else replace(super().head(world_id), tick=found.tick, segment=found.segment)


# Lifetime


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
    closed: set[str] = set()  # noqa: RUF012

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.closed.discard(name)

    def close(self) -> None:
        super().close()
        self.closed.add(self.name)

    def _open(self):  # noqa: ANN202
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


def _copied(space):  # noqa: ANN001, ANN202
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


# Sharing and threads


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


# Capabilities


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
