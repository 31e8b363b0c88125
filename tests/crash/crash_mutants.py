"""File stores that are each broken in one way, with the clauses that must notice."""

from __future__ import annotations

import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from file_store import HEADER, FileStore

from archetype_core.errors import CommitError, TickConflict
from archetype_core.store import MemoryStore, Scan, TickCommit


@dataclass(frozen=True)
class Mutant:
    store: type[FileStore]
    clauses: tuple[str, ...]
    """The clauses that must notice."""
    sound: str | None
    """A clause that the store still keeps, if any."""
    patience_s: float


MUTANTS: list[Mutant] = []


def breaks(
    *clauses: str, sound: str | None = "X-016", patience_s: float = 60.0
) -> Callable[[type[FileStore]], type[FileStore]]:
    """Decorate a broken store with the clauses that must notice."""

    def enter(cls: type[FileStore]) -> type[FileStore]:
        MUTANTS.append(Mutant(cls, clauses, sound, patience_s))
        return cls

    return enter


@breaks("X-001", "X-002", "X-003", "X-020", sound=None)
class AcknowledgesEarly(FileStore):
    """Writes a tick only when the next one is committed."""

    waiting: bytes | None = None

    def append(self, data: bytes) -> int:
        earlier, self.waiting = self.waiting, data
        return 0 if earlier is None else super().append(earlier)

    def close(self) -> None:
        if self.is_open and self.waiting is not None:
            super().append(self.waiting)
        super().close()


@breaks("X-020", sound="X-002")
class NeverSyncs(FileStore):
    def sync(self, file: int) -> None:
        pass


@breaks("X-020", sound="X-002")
class NeverSyncsDirectories(FileStore):
    def sync_directory(self) -> None:
        pass


@breaks("X-020", sound="X-002")
class NeverSyncsLargeFiles(FileStore):
    def sync_large(self, file: int) -> None:
        pass


@breaks("X-020", sound="X-002")
class ReplacesWithoutSync(FileStore):
    """Rewrites its file after every fourth record, and replaces the old file before the new one is synced."""

    count = 0

    def append(self, data: bytes) -> int:
        size = super().append(data)
        self.count += 1
        if self.count % 4 == 0:
            new = os.open(self.place / "new", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
            self.write(new, os.pread(self.file, self.end + size, 0))
            (self.place / "new").rename(self.place / "ticks")
            os.dup2(new, self.file)
            os.close(new)
        return size


@breaks("X-002", "X-003", sound="X-030")
class TwoTransactions(FileStore):
    """Writes the first table of a tick in one record, and the whole tick again in a second record."""

    def __init__(self, place: Path) -> None:
        self.commits: list[TickCommit] = []
        super().__init__(place)

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        for tick in ticks:
            first = replace(tick, written=dict(list(tick.written.items())[:1]))
            super().commit([first])
            self.commits.append(first)
            if len(tick.written) > 1:
                with self.lock, self.disk_errors(), self.file_lock():
                    # A negative process id marks a record that replaces a tick.
                    self.end += self.append(pickle.dumps((-os.getpid(), [self.packed(tick)])))
                    self.replace(tick)

    def replay(self, owner: int, ticks: list[Any]) -> None:
        if owner < 0:
            self.replace(self.unpacked(ticks[0]))
        else:
            super().replay(owner, ticks)
            self.commits += [self.unpacked(tick) for tick in ticks]

    def replace(self, tick: TickCommit) -> None:
        """Replace a tick in memory."""
        same = (tick.segment, tick.tick)
        self.commits = [tick if (one.segment, one.tick) == same else one for one in self.commits]
        memory = MemoryStore()
        for one in self.commits:
            memory.commit([one])
        self.memory = memory


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
class TruncatesTooMuch(FileStore):
    """Also truncates the complete record before an incomplete one."""

    def __init__(self, place: Path) -> None:
        self.starts: list[int] = []
        super().__init__(place)

    def record(self, size: int) -> tuple[int, Any] | None:
        self.starts.append(self.end)
        return super().record(size)

    def truncate(self, size: int) -> None:
        before = [0, *self.starts][-2]
        os.ftruncate(self.file, before)
        os.fsync(self.file)
        self.memory, self.end, self.starts = MemoryStore(), 0, []
        self.catch_up()


@breaks("X-002", "X-003")
class DoublesOnRecovery(FileStore):
    """Shows the last tick before an incomplete record twice."""

    latest: tuple[str, int] | None = None
    doubled: tuple[str, int] | None = None

    def replay(self, owner: int, ticks: list[Any]) -> None:
        super().replay(owner, ticks)
        self.latest = (ticks[-1][0].run_id, ticks[-1][1])

    def truncate(self, size: int) -> None:
        super().truncate(size)
        self.doubled = self.latest

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


@breaks("X-001", "X-002", sound="X-030")
class ForgetsAttempts(FileStore):
    def packed(self, tick: TickCommit) -> Any:
        return super().packed(replace(tick, attempt=""))


@breaks("X-001", "X-002", sound="X-030")
class ForgetsContinuations(FileStore):
    def packed(self, tick: TickCommit) -> Any:
        return super().packed(replace(tick, continuation=b""))


@breaks("X-020", sound="X-002")
class NeverSyncsLongContinuations(FileStore):
    """Writes a long continuation to a file of its own."""

    def packed(self, tick: TickCommit) -> Any:
        if len(tick.continuation) > 1000:
            name = f"{tick.segment.run_id}-{tick.tick}"
            (self.place / name).write_bytes(tick.continuation)
            tick = replace(tick, continuation=b"in file " + name.encode())
        return super().packed(tick)

    def unpacked(self, packed: Any) -> TickCommit:
        tick = super().unpacked(packed)
        before, is_elsewhere, name = tick.continuation.partition(b"in file ")
        path = self.place / name.decode() if is_elsewhere and not before else None
        if path is not None:
            tick = replace(tick, continuation=path.read_bytes() if path.exists() else b"")
        return tick


@breaks("X-018", sound="X-002")
class CallsUncertainCommitsRefused(FileStore):
    """Leaves the record of a refused tick in the file until the next commit overwrites it."""

    def roll_back(self, made: list[Path]) -> None:
        pass


@breaks("X-010", "X-018", "X-021", sound="X-002")
class KeepsTwoVersions(FileStore):
    """Keeps the record of a tick whose sync failed, accepts the tick again, and shows the first version once reopened."""

    def append(self, data: bytes) -> int:
        end = self.end + HEADER.size + len(data)
        try:
            return super().append(data)
        except OSError:
            if os.fstat(self.file).st_size == end:
                self.end = end
            raise

    def replay(self, owner: int, ticks: list[Any]) -> None:
        with suppress(TickConflict):
            super().replay(owner, ticks)


@breaks("X-002", "X-004", sound="X-016")
class AppendsAfterATornRecord(FileStore):
    """Appends after an incomplete record, where no reader finds it."""

    def truncate(self, size: int) -> None:
        self.end = size


@breaks("X-010", "X-012", sound="X-002")
class KeepsRefusedTicks(FileStore):
    def roll_back(self, made: list[Path]) -> None:
        self.end = os.fstat(self.file).st_size


@breaks("X-010", "X-011", "X-016", sound="X-002")
class RaisesOSErrors(FileStore):
    @contextmanager
    def disk_errors(self) -> Iterator[None]:
        yield


@breaks("X-013", "X-015", sound="X-002", patience_s=3.0)
class RetriesForever(FileStore):
    def write(self, file: int, data: bytes) -> None:
        while True:
            try:
                return super().write(file, data)
            except OSError:
                threading.Event().wait(0.01)


@breaks("X-011", "X-017", sound="X-002")
class AbortsOnErrors(FileStore):
    @contextmanager
    def disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            os.abort()


@breaks("X-014", sound="X-002")
class IgnoresShortWrites(FileStore):
    def write(self, file: int, data: bytes) -> None:
        os.write(file, data)


@breaks("X-001", "X-002", sound="X-014")
class LeavesALockFile(FileStore):
    """Keeps a lock file, so it cannot be opened again after a kill."""

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
class KeepsUnreferencedFiles(FileStore):
    """Gives every large file a new name, and never removes those of killed processes."""

    def large_path(self) -> Path:
        return self.place / f"{os.urandom(8).hex()}.large"


@breaks("X-030", sound="X-002")
class NeverLocks(FileStore):
    """Commits without the lock, and so slowly that two processes always overlap."""

    @contextmanager
    def file_lock(self) -> Iterator[None]:
        yield

    def append(self, data: bytes) -> int:
        time.sleep(0.02)
        return super().append(data)


@breaks("X-030", sound="X-002")
class NamesTheLoser(FileStore):
    def owner(self, world_id: str) -> str | None:
        return f"process {os.getpid()}"
