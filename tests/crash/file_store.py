"""A small correct store in one file, which the broken stores of ``crash_mutants`` change."""

from __future__ import annotations

import fcntl
import os
import pickle
import struct
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from archetype_core.errors import CommitError, CommitUncertain, StoreClosed, TickConflict
from archetype_core.schema import Archetype, Snapshot
from archetype_core.store import (
    Capability,
    Head,
    MemoryStore,
    Point,
    Rows,
    Scan,
    TickCommit,
    Timeline,
    WorldRecord,
    check_successors,
)

HEADER = struct.Struct("<4sQI")
MAGIC = b"tick"
LARGE = 512 * 1024


class FileStore:
    """Appends every commit as one record and syncs it; reads are answered from a copy in memory.

    A record is a header (magic, length, checksum) and a pickle. A large record is written to its own file, which is synced
    before the record that names it. A lock on the file serializes processes; the owner truncates an incomplete record.
    """

    capabilities = frozenset({Capability.TIME_TRAVEL, Capability.PERSISTENCE, Capability.SHARED})

    def __init__(self, place: Path) -> None:
        self.place = place
        self.memory = MemoryStore()
        self.lock = threading.RLock()
        self.end = 0
        """The end of the last complete record."""
        self.owners: dict[str, int] = {}
        self.is_open, self.is_broken = True, False
        with self.disk_errors():
            self.file = os.open(place / "ticks", os.O_RDWR | os.O_CREAT, 0o644)
            try:
                self.sync_directory()
                with self.file_lock():
                    self.catch_up()
            except BaseException:
                os.close(self.file)
                raise

    @contextmanager
    def disk_errors(self) -> Iterator[None]:
        """Turn an ``OSError`` into a ``CommitError``."""
        try:
            yield
        except OSError as failure:
            raise CommitError(f"{self.place}: {failure}") from failure

    @contextmanager
    def file_lock(self) -> Iterator[None]:
        """Hold the lock on the file."""
        fcntl.flock(self.file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self.file, fcntl.LOCK_UN)

    # Writing

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        self.check()
        if not ticks:
            return
        with self.lock, self.disk_errors(), self.file_lock():
            self.catch_up()
            self.check_writable()
            world_id = ticks[0].segment.world_id
            self.check_follows(ticks)
            made: list[Path] = []
            data = pickle.dumps((os.getpid(), [self.packed(tick) for tick in ticks]))
            try:
                if len(data) > LARGE:
                    data = pickle.dumps(self.write_large(data, made))
                size = self.append(data)
            except BaseException as failure:
                self.roll_back(made)
                if self.is_broken:
                    # The record may be complete, and the next handle then finds it.
                    raise CommitUncertain(world_id, ticks[-1].tick, str(failure)) from failure
                raise
            self.memory.commit(ticks)
            self.owners[world_id] = os.getpid()
            self.end += size

    def check_follows(self, ticks: Sequence[TickCommit]) -> None:
        """Refuse ticks that do not follow the head of their world."""
        check_successors(ticks)
        segment, got = ticks[0].segment, ticks[0].tick
        record = {one.world_id: one for one in self.memory.worlds()}.get(segment.world_id)
        if record is None:
            if got != segment.first_tick:
                raise TickConflict(segment.world_id, segment.first_tick, got)
            if segment.parent is not None and not self.holds(segment.parent):
                raise CommitError(f"{self.place}: {segment.parent} is not here, so it cannot be forked")
            return
        owner = self.owner(segment.world_id)
        if got != record.tick + 1:
            raise TickConflict(segment.world_id, record.tick + 1, got, owner)
        runs = [span.segment for span in self.memory.timeline(segment.world_id).spans]
        is_next_run = segment.parent == Point(segment.world_id, record.run_id, record.tick)
        if segment != runs[-1] and (not is_next_run or segment.run_id in [run.run_id for run in runs]):
            raise TickConflict(segment.world_id, got, got, owner)

    def holds(self, point: Point) -> bool:
        """Whether a tick of a run exists."""
        if all(one.world_id != point.world_id for one in self.memory.worlds()):
            return False
        spans = self.memory.timeline(point.world_id).spans
        return any(span.segment.run_id == point.run_id and span.first <= point.tick <= span.last for span in spans)

    def append(self, data: bytes) -> int:
        """Append a record to the file; return its size."""
        os.lseek(self.file, self.end, os.SEEK_SET)
        self.write(self.file, HEADER.pack(MAGIC, len(data), zlib.crc32(data)))
        self.write(self.file, data)
        self.sync(self.file)
        return HEADER.size + len(data)

    def write_large(self, data: bytes, made: list[Path]) -> tuple[str, int]:
        """Write a large record to its own file; return the file's name and checksum."""
        path = self.large_path()
        made.append(path)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            self.write(file, data)
            self.sync_large(file)
        finally:
            os.close(file)
        self.sync_directory()
        return path.name, zlib.crc32(data)

    def large_path(self) -> Path:
        """The file of the next large record; it replaces the leftover of a killed process at the same offset."""
        return self.place / f"{self.end}.large"

    def write(self, file: int, data: bytes) -> None:
        """Write all bytes, also after short writes."""
        view = memoryview(data)
        while view:
            view = view[os.write(file, view) :]

    def sync(self, file: int) -> None:
        os.fsync(file)

    def sync_large(self, file: int) -> None:
        os.fsync(file)

    def sync_directory(self) -> None:
        directory = os.open(self.place, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def roll_back(self, made: list[Path]) -> None:
        """Remove what a refused commit wrote; if that fails, the handle accepts no more commits."""
        try:
            os.ftruncate(self.file, self.end)
            os.fsync(self.file)
            for path in made:
                path.unlink(missing_ok=True)
        except OSError:
            self.is_broken = True

    def owner(self, world_id: str) -> str | None:
        return f"process {self.owners[world_id]}" if world_id in self.owners else None

    def check_writable(self) -> None:
        if self.is_broken:
            raise CommitError(f"{self.place}: an earlier commit could not be rolled back: open the store again")

    # Reading

    def catch_up(self) -> None:
        """Read new records, and truncate an incomplete one. Its writer is dead, because this process has the lock."""
        if self.is_broken:
            # The file may hold a refused commit that could not be rolled back: do not read it.
            return
        size = os.fstat(self.file).st_size
        while self.end < size:
            found = self.record(size)
            if found is None:
                self.truncate(size)
                return
            length, (owner, ticks) = found
            self.replay(owner, ticks)
            self.end += length

    def record(self, size: int) -> tuple[int, Any] | None:
        """The size and content of the next record, or None if it is incomplete."""
        header = os.pread(self.file, HEADER.size, self.end)
        if len(header) < HEADER.size:
            return None
        magic, length, checksum = HEADER.unpack(header)
        if magic != MAGIC or self.end + HEADER.size + length > size:
            return None
        data = os.pread(self.file, length, self.end + HEADER.size)
        if zlib.crc32(data) != checksum:
            return None
        body = pickle.loads(data)
        if isinstance(body[0], str):
            name, checksum = body
            large = (self.place / name).read_bytes() if (self.place / name).exists() else b""
            if zlib.crc32(large) != checksum:
                return None
            body = pickle.loads(large)
        return HEADER.size + length, body

    def truncate(self, size: int) -> None:
        os.ftruncate(self.file, self.end)
        os.fsync(self.file)

    def replay(self, owner: int, ticks: list[Any]) -> None:
        commits = [self.unpacked(tick) for tick in ticks]
        self.memory.commit(commits)
        self.owners[commits[0].segment.world_id] = owner

    def packed(self, tick: TickCommit) -> Any:
        written = {
            name: (to_ipc(rows.live), rows.tombstones and to_ipc(rows.tombstones))
            for name, rows in tick.written.items()
        }
        return (tick.segment, tick.tick, tick.next_entity_id, tick.applied, tick.attempt, tick.continuation, written)

    def unpacked(self, packed: Any) -> TickCommit:
        segment, number, next_entity_id, *beside, written = packed
        tables = {name: Rows(from_ipc(live), gone and from_ipc(gone)) for name, (live, gone) in written.items()}
        return TickCommit(segment, number, tables, next_entity_id, {}, *beside)

    def current(self) -> MemoryStore:
        """The copy in memory, with all records of other processes."""
        self.check()
        with self.lock, self.disk_errors(), self.file_lock():
            self.catch_up()
        return self.memory

    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        return self.current().scan(scan)

    def head(self, world_id: str, *, at: int | None = None) -> Head:
        return self.current().head(world_id, at=at)

    def timeline(self, world_id: str) -> Timeline:
        return self.current().timeline(world_id)

    def worlds(self) -> tuple[WorldRecord, ...]:
        return self.current().worlds()

    def files(self, scan: Scan) -> tuple[str, ...]:
        return self.current().files(scan)

    def close(self) -> None:
        with self.lock:
            if self.is_open:
                self.is_open = False
                os.close(self.file)

    def check(self) -> None:
        if not self.is_open:
            raise StoreClosed(str(self.place))


def to_ipc(rows: Snapshot) -> bytes:
    """Rows as an Arrow stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.archetype.schema) as writer:
        writer.write_table(rows.to_arrow())
    return sink.getvalue().to_pybytes()


def from_ipc(data: bytes) -> Snapshot:
    """The rows of an Arrow stream."""
    table = pa.ipc.open_stream(data).read_all()
    return Snapshot.from_arrow(Archetype.from_schema(table.schema), table)
