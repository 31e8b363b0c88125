"""A store in one file, small enough to be right: what the broken ones beside it get wrong, it gets right."""

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

from archetype_core.errors import CommitError, StoreClosed, TickConflict
from archetype_core.schema import Archetype, Snapshot
from archetype_core.store import Capability, Head, MemoryStore, Rows, Scan, TickCommit, Timeline, WorldRecord

HEADER = struct.Struct("<4sQI")
MAGIC = b"tick"
LARGE = 512 * 1024


class FileStore:
    """Appends every commit as one record and syncs it; a copy in memory answers.

    A record is a header (magic, length, checksum) and a pickle. Large ones are in files that are synced before the record
    that names them. Processes take turns by a lock on the file; whoever has it cuts off what a dead one left torn.
    """

    capabilities = frozenset({Capability.TIME_TRAVEL, Capability.PERSISTENCE, Capability.SHARED})

    def __init__(self, place: Path) -> None:
        self.place = place
        self.memory = MemoryStore()
        self.lock = threading.RLock()
        self.end = 0
        """Where the last whole record ends."""
        self.owners: dict[str, int] = {}
        self.is_open, self.is_broken = True, False
        with self.told():
            self.file = os.open(place / "ticks", os.O_RDWR | os.O_CREAT, 0o644)
            try:
                self.sync_directory()
                with self.turn():
                    self.catch_up()
            except BaseException:
                os.close(self.file)
                raise

    @contextmanager
    def told(self) -> Iterator[None]:
        """The disk's errors as ours."""
        try:
            yield
        except OSError as failure:
            raise CommitError(f"{self.place}: {failure}") from failure

    @contextmanager
    def turn(self) -> Iterator[None]:
        """The lock on the file, and what others wrote since."""
        fcntl.flock(self.file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self.file, fcntl.LOCK_UN)

    # Writing.

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        self.check()
        if not ticks:
            return
        with self.lock, self.told(), self.turn():
            self.catch_up()
            self.check_writable()
            world_id = ticks[0].segment.world_id
            try:
                MemoryStore._check(self.memory._space, ticks)
            except TickConflict as found:
                raise TickConflict(world_id, found.expected, found.got, self.owner(world_id)) from None
            made: list[Path] = []
            data = pickle.dumps((os.getpid(), [self.packed(tick) for tick in ticks]))
            try:
                if len(data) > LARGE:
                    data = pickle.dumps(self.spilled(data, made))
                size = self.append(data)
            except BaseException:
                self.undo(made)
                raise
            self.memory.commit(ticks)
            self.owners[world_id] = os.getpid()
            self.end += size

    def append(self, data: bytes) -> int:
        os.lseek(self.file, self.end, os.SEEK_SET)
        self.write(self.file, HEADER.pack(MAGIC, len(data), zlib.crc32(data)))
        self.write(self.file, data)
        self.sync(self.file)
        return HEADER.size + len(data)

    def spilled(self, data: bytes, made: list[Path]) -> tuple[str, int]:
        """Put a large record into a file of its own; what it is called and its checksum."""
        path = self.large()
        made.append(path)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            self.write(file, data)
            self.sync_large(file)
        finally:
            os.close(file)
        self.sync_directory()
        return path.name, zlib.crc32(data)

    def large(self) -> Path:
        """Where the next record's file goes: over one that a dead process may have left for the same place."""
        return self.place / f"{self.end}.large"

    def write(self, file: int, data: bytes) -> None:
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

    def undo(self, made: list[Path]) -> None:
        """Cut off what a refused commit wrote; if even that fails, this handle writes no more."""
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
            raise CommitError(f"{self.place}: an earlier commit could not be undone; open the store again")

    # Reading.

    def catch_up(self) -> None:
        """Read the records since the last, and cut off a torn one: its writer is dead, or the lock would be taken."""
        if self.is_broken:
            # What it could not undo was refused, so it is not there for this handle.
            return
        size = os.fstat(self.file).st_size
        while self.end < size:
            found = self.record(size)
            if found is None:
                self.torn(size)
                return
            length, (owner, ticks) = found
            self.replay(owner, ticks)
            self.end += length

    def record(self, size: int) -> tuple[int, Any] | None:
        """The next record, or nothing if it is torn."""
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

    def torn(self, size: int) -> None:
        os.ftruncate(self.file, self.end)
        os.fsync(self.file)

    def replay(self, owner: int, ticks: list[Any]) -> None:
        commits = [self.unpacked(tick) for tick in ticks]
        self.memory.commit(commits)
        self.owners[commits[0].segment.world_id] = owner

    def packed(self, tick: TickCommit) -> Any:
        written = {
            name: (bare(rows.live), rows.tombstones and bare(rows.tombstones)) for name, rows in tick.written.items()
        }
        return (tick.segment, tick.tick, tick.next_entity_id, tick.applied, written)

    def unpacked(self, packed: Any) -> TickCommit:
        segment, number, next_entity_id, applied, written = packed
        tables = {name: Rows(whole(live), gone and whole(gone)) for name, (live, gone) in written.items()}
        return TickCommit(segment, number, tables, next_entity_id, applied=applied)

    def current(self) -> MemoryStore:
        self.check()
        with self.lock, self.told(), self.turn():
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


def bare(rows: Snapshot) -> bytes:
    """Rows as an Arrow stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.archetype.schema) as writer:
        writer.write_table(rows.to_arrow())
    return sink.getvalue().to_pybytes()


def whole(data: bytes) -> Snapshot:
    """What ``bare`` was given."""
    table = pa.ipc.open_stream(data).read_all()
    return Snapshot.from_arrow(Archetype.from_schema(table.schema), table)
