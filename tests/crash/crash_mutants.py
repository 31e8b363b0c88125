"""File stores that are each broken in one way, with the clauses that have to notice."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from file_store import FileStore

from archetype_core.errors import CommitError
from archetype_core.store import MemoryStore, Scan, TickCommit


@dataclass(frozen=True)
class Mutant:
    store: type[FileStore]
    clauses: tuple[str, ...]
    """Every one of these notices."""
    sound: str | None
    """A clause that the store still keeps, if there is one."""
    patience_s: float


MUTANTS: list[Mutant] = []


def breaks(*clauses: str, sound: str | None = "X-016", patience_s: float = 60.0):
    """Enter a broken store and say which clauses notice."""

    def enter(cls: type[FileStore]) -> type[FileStore]:
        MUTANTS.append(Mutant(cls, clauses, sound, patience_s))
        return cls

    return enter


@breaks("X-001", "X-002", "X-003", "X-020", sound=None)
class AcknowledgesEarly(FileStore):
    """Writes a tick when the next one comes."""

    def append(self, data: bytes) -> int:
        self.late, earlier = data, getattr(self, "late", None)
        return super().append(earlier) if earlier is not None else 0

    def close(self) -> None:
        if self.is_open and getattr(self, "late", None) is not None:
            super().append(self.late)
        super().close()


@breaks("X-020", sound="X-002")
class NeverSyncs(FileStore):
    def sync(self, file: int) -> None:
        pass


@breaks("X-020", sound="X-002")
class SyncsNoNames(FileStore):
    def sync_directory(self) -> None:
        pass


@breaks("X-020", sound="X-002")
class ReferencesWhatIsNotSynced(FileStore):
    def sync_large(self, file: int) -> None:
        pass


@breaks("X-020", sound="X-002")
class ReplacesWithoutSync(FileStore):
    """Rewrites its file now and then, and drops the old one before the new one is on disk."""

    capabilities = FileStore.capabilities

    def append(self, data: bytes) -> int:
        size = super().append(data)
        self.count = getattr(self, "count", 0) + 1
        if self.count % 4 == 0:
            new = os.open(self.place / "new", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
            self.write(new, os.pread(self.file, self.end + size, 0))
            (self.place / "new").rename(self.place / "ticks")
            os.dup2(new, self.file)
            os.close(new)
        return size


@breaks("X-002", "X-003", sound="X-030")
class TwoTransactions(FileStore):
    """Makes a tick visible with its first table, and adds the others after."""

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        for tick in ticks:
            first, rest = list(tick.written.items())[:1], list(tick.written.items())[1:]
            if not rest:
                super().commit([tick])
                continue
            super().commit([replace(tick, written=dict(first))])
            with self.lock, self.told(), self.turn():
                more = replace(tick, written=dict(rest))
                self.end += self.append(self.dumped(more))
                self.add(more)

    def dumped(self, tick: TickCommit) -> bytes:
        import pickle

        return pickle.dumps((-os.getpid(), [self.packed(tick)]))

    def replay(self, owner: int, ticks: list[Any]) -> None:
        if owner >= 0:
            super().replay(owner, ticks)
        else:
            self.add(self.unpacked(ticks[0]))

    def add(self, tick: TickCommit) -> None:
        from archetype_core.store import _Places

        places = self.memory._space.branches[tick.segment.world_id, tick.segment.run_id].tables
        for name, rows in tick.written.items():
            found = places.setdefault(name, _Places(rows.live.archetype.schema))
            found.ticks.append(tick.tick)
            found.rows.append(rows)


@breaks("X-010", "X-012", "X-013", sound="X-002")
class SwallowsWriteErrors(FileStore):
    def append(self, data: bytes) -> int:
        try:
            return super().append(data)
        except OSError:
            return 0


@breaks("X-021", sound="X-002")
class SwallowsSyncErrors(FileStore):
    def sync(self, file: int) -> None:
        with suppress(OSError):
            super().sync(file)


@breaks("X-002", "X-003")
class DropsOneTooMany(FileStore):
    """Takes the record before a torn one for torn too."""

    starts: list[int]

    def catch_up(self) -> None:
        self.starts = getattr(self, "starts", [])
        super().catch_up()

    def record(self, size: int) -> tuple[int, Any] | None:
        self.starts.append(self.end)
        return super().record(size)

    def torn(self, size: int) -> None:
        before = [0, *self.starts][-2]
        os.ftruncate(self.file, before)
        os.fsync(self.file)
        self.memory, self.end, self.starts = MemoryStore(), 0, []
        self.catch_up()


@breaks("X-002", "X-003")
class DoublesOnRecovery(FileStore):
    """Shows the last tick before a torn one twice."""

    doubled: tuple[str, int] | None = None

    def replay(self, owner: int, ticks: list[Any]) -> None:
        super().replay(owner, ticks)
        self.latest = (ticks[-1][0].run_id, ticks[-1][1])

    def torn(self, size: int) -> None:
        super().torn(size)
        self.doubled = getattr(self, "latest", None)

    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        reader = super().scan(scan)
        batches = list(reader)
        if self.doubled and self.doubled[0] == scan.segment.run_id and scan.first <= self.doubled[1] <= scan.last:
            batches = [one for batch in batches for one in (batch, batch)]
        return pa.RecordBatchReader.from_batches(reader.schema, batches)


@breaks("X-001", "X-002", sound="X-030")
class ForgetsCommands(FileStore):
    def packed(self, tick: TickCommit) -> Any:
        return super().packed(replace(tick, applied=()))


@breaks("X-001", "X-002", sound=None)
class ForgetsReservedIds(FileStore):
    def packed(self, tick: TickCommit) -> Any:
        return super().packed(replace(tick, next_entity_id=max(1, tick.next_entity_id - 1)))


@breaks("X-002", "X-004", sound="X-016")
class KeepsTheTornTail(FileStore):
    """Writes on behind a torn record, where nobody will find it."""

    def torn(self, size: int) -> None:
        self.end = size


@breaks("X-010", "X-012", sound="X-002")
class LeavesRefusedTicks(FileStore):
    def undo(self, made: list[Path]) -> None:
        self.end = os.fstat(self.file).st_size


@breaks("X-010", "X-011", "X-016", sound="X-002")
class RaisesWhatItGets(FileStore):
    @contextmanager
    def told(self):
        yield


@breaks("X-013", "X-015", sound="X-002", patience_s=3.0)
class TriesForEver(FileStore):
    def write(self, file: int, data: bytes) -> None:
        while True:
            try:
                return super().write(file, data)
            except OSError:
                threading.Event().wait(0.01)


@breaks("X-011", "X-017", sound="X-002")
class Aborts(FileStore):
    @contextmanager
    def told(self):
        try:
            yield
        except OSError:
            os.abort()


@breaks("X-014", sound="X-002")
class TakesShortWritesForWhole(FileStore):
    def write(self, file: int, data: bytes) -> None:
        os.write(file, data)


@breaks("X-001", "X-002", sound="X-014")
class LeavesALockFile(FileStore):
    """Cannot be opened again after a kill."""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        try:
            os.close(os.open(place / "lock", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
        except FileExistsError:
            super().close()
            raise CommitError(f"{place} is locked") from None

    def close(self) -> None:
        (self.place / "lock").unlink(missing_ok=True)
        super().close()


@breaks("X-005", sound="X-002")
class KeepsWhatNobodyRefersTo(FileStore):
    """Gives every large file another name, and leaves those of the dead."""

    def large(self) -> Path:
        return self.place / f"{os.urandom(8).hex()}.large"


@breaks("X-030", sound="X-002")
class TakesNoTurns(FileStore):
    @contextmanager
    def turn(self):
        yield


@breaks("X-030", sound="X-002")
class NamesTheLoser(FileStore):
    def owner(self, world_id: str) -> str | None:
        return f"process {os.getpid()}"
