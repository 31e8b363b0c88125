"""Stores that are each broken in one way, with the clause that has to notice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from archetype_core.store import Capability, MemoryStore, Rows, Scan, Store, TickCommit

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
