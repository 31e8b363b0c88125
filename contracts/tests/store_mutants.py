"""The list of broken stores, each with the clauses that must notice, and the base classes that they share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from archetype_core.store import Capability, MemoryStore, Rows, Scan, Segment, Store, TickCommit

ALL = frozenset({Capability.TIME_TRAVEL, Capability.PERSISTENCE, Capability.SHARED})


@dataclass(frozen=True)
class Mutant:
    make: Callable[[str], Store]
    clauses: tuple[str, ...]
    """The clauses that must notice."""
    capabilities: frozenset[Capability] = ALL
    machine: bool = False
    """Whether the state machine must notice too."""
    sound: str = "S-012"
    """A clause that the store still keeps."""

    @property
    def name(self) -> str:
        return getattr(self.make, "__name__", "?")


MUTANTS: list[Mutant] = []


def breaks(
    *clauses: str, machine: bool = False, capabilities: frozenset[Capability] = ALL, sound: str = "S-012"
) -> Callable[[type[MemoryStore]], type[MemoryStore]]:
    """Decorate a broken store with the clauses that must notice."""

    def enter(cls: type[MemoryStore]) -> type[MemoryStore]:
        MUTANTS.append(Mutant(cls, clauses, capabilities, machine, sound))
        return cls

    return enter


class ChangedScans(MemoryStore):
    """Changes the batches that a scan returns."""

    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        reader = super().scan(scan)
        batches = [self.changed(batch) for batch in reader]
        return pa.RecordBatchReader.from_batches(reader.schema, [batch for batch in batches if batch is not None])

    def changed(self, batch: pa.RecordBatch) -> pa.RecordBatch | None:
        arrays = [self.column(batch.column(name), name) for name in batch.schema.names]
        return pa.RecordBatch.from_arrays(arrays, schema=batch.schema) if arrays else batch

    def column(self, array: pa.Array, name: str) -> pa.Array:
        return array if name in ("world_id", "run_id", "is_active", "tick") else self.values(array)

    def values(self, array: pa.Array) -> pa.Array:
        return array


class ChangedCommits(MemoryStore):
    """Changes the ticks that are committed."""

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        super().commit([self.changed(tick) for tick in ticks])

    def changed(self, tick: TickCommit) -> TickCommit:
        return replace(tick, written={name: self.rows(rows) for name, rows in tick.written.items()})

    def rows(self, rows: Rows) -> Rows:
        return rows


_WRITTEN: defaultdict[str, set[tuple[str, str, int]]] = defaultdict(set)


class WriteLog(MemoryStore):
    """Knows which tables each tick wrote, over all handles of its name."""

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        super().commit(ticks)
        for tick in ticks:
            _WRITTEN[self.name].update((tick.segment.run_id, table, tick.tick) for table in tick.written)

    def wrote(self, segment: Segment, table: str, tick: int | None = None) -> bool:
        """Whether a segment wrote a table, at one tick or at any."""
        if tick is not None:
            return (segment.run_id, table, tick) in _WRITTEN[self.name]
        return any((run_id, name) == (segment.run_id, table) for run_id, name, _ in _WRITTEN[self.name])
