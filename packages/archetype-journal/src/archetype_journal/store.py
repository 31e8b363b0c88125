"""The journal as a store of its own: every tick is one transaction."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from archetype_core.config import CacheConfig
from archetype_core.errors import (
    CommitError,
    CommitUncertain,
    CorruptStore,
    OtherStore,
    StorageNotFound,
    StorageReadOnly,
    StoreClosed,
    TickNotFound,
    UnsupportedCapability,
    WorldNotFound,
)
from archetype_core.schema import Column
from archetype_core.store import (
    Capability,
    Head,
    Rows,
    Scan,
    Span,
    TickCommit,
    Timeline,
    WorldRecord,
    check_successors,
    project,
)
from archetype_journal.catalog import CatalogUpdate, SegmentEntry
from archetype_journal.contents import is_in_front, is_journal
from archetype_journal.disk import Disk
from archetype_journal.durable_database import TransactionInDoubt
from archetype_journal.handle import JournalHandle
from archetype_journal.read_only import JournalCopy, is_journal_writable
from archetype_journal.reader import SealedWrite, View
from archetype_journal.record import Place
from archetype_journal.writer import PreparedCommit

_ROWS_PER_VIEW = 65_536
"""A scan reads about this many rows from one state of the journal before it takes the next."""


@dataclass(slots=True, eq=False)
class _Request:
    """A commit that waits for its transaction."""

    prepared: PreparedCommit
    is_done: bool = False
    is_stale: bool = False
    error: BaseException | None = None


class JournalStore:
    """Keeps worlds in one directory. ``commit`` returns when its ticks are as durable as ``durability`` says.

    Columns that did not change since a tick that this handle wrote are not written again. Commits of several worlds at the
    same time share a transaction. Readers in this and other processes see every commit at once. ``read_only`` reads a copy of
    the database as it is now, and changes nothing in the directory. ``disk`` replaces the file operations beside SQLite's, for
    tests.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        durability: str = "tick",
        interval_s: float = 0.1,
        read_only: bool = False,
        disk: Disk | None = None,
    ) -> None:
        cache = CacheConfig(durability=durability, interval_s=interval_s)
        self._open(Path(path), cache, disk or Disk(), read_only=read_only)

    def _open(self, path: Path, cache: CacheConfig, disk: Disk, *, read_only: bool) -> None:
        self.path = path = path.absolute()
        self._cache = cache
        self._copy = JournalCopy(path) if read_only else None
        try:
            self._handle = JournalHandle.open(self._copy.path if self._copy else path, cache, disk)
        except BaseException:
            if self._copy:
                self._copy.close()
            raise
        self._queue: list[_Request] = []
        self._queue_lock = threading.Lock()
        self._is_open = True
        # Closes a store that nobody closed, with its last reference or at exit.
        self._finalizer = weakref.finalize(self, _finish, self._handle, self._copy)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What the journal can do: time travel, persistence, and several handles at once."""
        return frozenset({Capability.TIME_TRAVEL, Capability.PERSISTENCE, Capability.SHARED})

    @property
    def is_read_only(self) -> bool:
        """Whether commits are refused with ``StorageReadOnly``."""
        return self._copy is not None

    @property
    def queued_commits(self) -> int:
        """How many commits wait for their transaction to begin. More than a few mean that the disk is the bottleneck."""
        return len(self._queue)

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        """Commit consecutive ticks of one world in one transaction; ``TickConflict`` if they are not its next ones.

        ``CommitUncertain`` if SQLite's COMMIT itself fails, unless the disk is full. The ticks are not there then, but may be
        once the journal is opened after a crash, unless another commit came first. After any other error they never are.
        """
        self._check_open()
        self._check_writable()
        if ticks:
            self._commit(ticks)

    def _commit(self, ticks: Sequence[TickCommit]) -> PreparedCommit:
        check_successors(ticks)
        while True:
            with self._handle.database.translated_errors():
                request = _Request(self._handle.writer.prepare(ticks))
            with self._queue_lock:
                self._queue.append(request)
            # The first thread to get the lock commits for all that have queued by then.
            with self._handle.database.write_lock:
                while not request.is_done:
                    self._commit_queue()
            if request.error is not None:
                raise request.error
            if not request.is_stale:
                return request.prepared

    def _commit_queue(self) -> None:
        with self._queue_lock:
            # The oldest request of each world.
            batch = list({request.prepared.world_id: request for request in reversed(self._queue)}.values())
            self._queue = [request for request in self._queue if request not in batch]
        try:
            self._transact(batch)
        except Exception as failure:  # noqa: BLE001  # reason: raised again in the thread of each request
            if len(batch) == 1:
                batch[0].error = failure
            for request in batch if len(batch) > 1 else ():
                # One request may have caused the failure: try each alone, so that the others succeed.
                request.error = None
                try:
                    self._transact([request])
                except Exception as own:  # noqa: BLE001  # reason: as above
                    request.error = own
        finally:
            for request in batch:
                request.is_done = True

    def _transact(self, batch: Sequence[_Request]) -> None:
        self._check_open()
        written: list[_Request] = []
        handle = self._handle
        size = sum(request.prepared.row_bytes for request in batch)
        try:
            with handle.database.translated_errors(), handle.database.transaction(size) as connection:
                update = CatalogUpdate(handle.catalog, connection)
                view = View(self.path, handle.catalog, connection, update.before)
                handle.writer.forget_removed(view, update.generation)
                for request in batch:
                    request.is_stale = handle.writer.is_stale(view, update.generation, request.prepared)
                    if not request.is_stale:
                        self._write(update, view, request, written)
                update.finish()
        except TransactionInDoubt as failure:
            for request in written:
                request.error = CommitUncertain(request.prepared.world_id, request.prepared.last, str(failure))
                request.error.__cause__ = failure
        else:
            for request in written:
                handle.writer.after_commit(request.prepared)

    def _write(self, update: CatalogUpdate, view: View, request: _Request, written: list[_Request]) -> None:
        try:
            self._handle.writer.write(update, view, request.prepared)
        # Raised before any row of the request is written, so the transaction goes on with the others.
        except CommitError as failure:
            request.error = failure
        else:
            written.append(request)

    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        """Read a table over a range of ticks, a piece at a time. Decodes only the columns that the scan asks for."""
        self._check_open()
        with self._handle.reader.read() as view:
            entry = view.find_segment(scan.segment.world_id, scan.segment.run_id)
            if entry is None:
                raise TickNotFound(scan.segment.name, scan.first, None, None)
            for tick in (scan.first, scan.last):
                if not entry.first <= tick <= entry.last:
                    raise TickNotFound(scan.segment.name, tick, entry.first, entry.last)
            table_id = view.catalog.table_id(scan.table)
            table = None if table_id is None else view.catalog.table(table_id)
        if table is None:
            return pa.RecordBatchReader.from_batches(pa.schema([]), [])
        schema = scan.schema(table.schema)
        return pa.RecordBatchReader.from_batches(schema, self._batches(scan, entry.id, table.id, schema))

    def _batches(self, scan: Scan, segment: int, table_id: int, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        tick = scan.first
        cache: dict[Place, Column] = {}

        def batches_at(view: View, entry: SegmentEntry) -> list[pa.RecordBatch]:
            rows = view.rows(entry, table_id, tick, cache)
            if isinstance(rows, SealedWrite):
                rows = self._read_sealed(rows, scan.table)
            parts = [(rows.live, True), (rows.tombstones, False)] if rows else []
            return [project(part, scan, tick, active, schema) for part, active in parts if part]

        while tick <= scan.last:
            found: list[pa.RecordBatch] = []
            with self._handle.reader.read() as view:
                entry = view.segment(segment)
                while tick <= scan.last and sum(batch.num_rows for batch in found) < _ROWS_PER_VIEW:
                    try:
                        found += batches_at(view, entry)
                    except CorruptStore:
                        # A chunk file is removed when the newest state does not refer to it: look again there.
                        if not self._has_newer_generation(view):
                            raise
                        break
                    tick += 1
                    if len(cache) > 4 * len(schema):
                        cache.clear()
            yield from found

    def _has_newer_generation(self, view: View) -> bool:
        """Whether rows or files were removed since a view was taken."""
        with self._handle.reader.read() as now:
            return now.generation != view.generation

    def _read_sealed(self, write: SealedWrite, table: str) -> Rows | None:
        """The rows of a sealed write, from the store beneath. This store has none."""
        raise CommitError(
            f"{self!r} has sealed {table} at tick {write.tick} into another store: open it with JournaledStore and that store"
        )

    def head(self, world_id: str, *, at: int | None = None) -> Head:
        """What a world needs to open at its last tick, or at an earlier one. Reads the records of a few ticks."""
        self._check_open()
        while True:
            with self._handle.reader.read() as view:
                active = self._active_segment(view, world_id)
                tick = active.last if at is None else at
                lineage = list(view.lineage(active, active.last))
                found = next((one for one, last in lineage if one.first <= tick <= last), None)
                if found is None:
                    raise TickNotFound(active.segment.name, tick, lineage[-1][0].first, active.last)
                try:
                    return self._head(view, found, tick)
                except CorruptStore:
                    # The chunk file of its continuation may be removed meanwhile, because the tick is sealed now.
                    if not self._has_newer_generation(view):
                        raise

    def _head(self, view: View, entry: SegmentEntry, tick: int) -> Head:
        record = view.record(entry, tick)
        live: dict[str, int] = {}
        for name, table in view.tables(entry, tick).items():
            write = view.find_write(entry, table.id, tick)
            count = self._count_sealed(write, name) if isinstance(write, SealedWrite) else write[2].live if write else 0
            if count:
                live[name] = count
        continuation = view.continuation(entry, tick)
        return Head(entry.segment, tick, record.next_entity_id, record.applied, live, record.attempt, continuation)

    def _count_sealed(self, write: SealedWrite, table: str) -> int:
        """How many live rows a sealed write has."""
        rows = self._read_sealed(write, table)
        return rows.live.num_rows if rows else 0

    def _active_segment(self, view: View, world_id: str) -> SegmentEntry:
        active = view.active_segment(world_id)
        if active is None:
            raise WorldNotFound(world_id, sorted(view.worlds))
        return active

    def timeline(self, world_id: str) -> Timeline:
        """A world's history: its segments, oldest first, and its tables."""
        self._check_open()
        with self._handle.reader.read() as view:
            active = self._active_segment(view, world_id)
            spans = [Span(one.segment, one.first, last) for one, last in view.lineage(active, active.last)]
            tables = {name: table.schema for name, table in view.tables(active, active.last).items()}
        return Timeline(tuple(reversed(spans)), tables)

    def worlds(self) -> tuple[WorldRecord, ...]:
        """Every world with its newest run and last tick, oldest world first."""
        self._check_open()
        with self._handle.reader.read() as view:
            found = [(world_id, view.active_segment(world_id)) for world_id in view.worlds]
        return tuple(
            WorldRecord(world_id, active.segment.name, active.segment.run_id, active.last)
            for world_id, active in found
            if active is not None
        )

    def files(self, scan: Scan) -> tuple[str, ...]:
        """Raise ``UnsupportedCapability``: no other engine can read a journal's files."""
        del scan
        self._check_open()
        raise UnsupportedCapability(repr(self), Capability.FILES)

    def close(self) -> None:
        """Put everything on disk and close; idempotent. Waits for a running commit. No effect in a forked child."""
        if not self._handle.owner_file.is_in_this_process:
            return
        # Wait for a running transaction.
        with self._handle.database.write_lock:
            self._is_open = False
        self._finalizer()

    def _check_writable(self) -> None:
        if self.is_read_only:
            raise StorageReadOnly(str(self.path))

    def _check_open(self) -> None:
        if not self._is_open:
            raise StoreClosed(repr(self))
        if not self._handle.owner_file.is_in_this_process:
            raise StoreClosed(f"the forked copy of {self!r} (open the journal again in this process)")


def _finish(handle: JournalHandle, copy: JournalCopy | None) -> None:
    try:
        handle.close()
    finally:
        if copy is not None:
            copy.close()


def open_journal(uri: str, cache: CacheConfig | None = None, *, create: bool = True) -> JournalStore:
    """Open the store of an address ``journal:<path>``; ``ValueError`` without a path.

    ``StorageNotFound`` with ``create=False`` if there is no journal; then nothing is created. A journal that cannot be written
    is opened to read only, with ``create=False``, and is ``StorageReadOnly`` otherwise. ``OtherStore`` if the place is that of a
    store with a journal in front.
    """
    cache = cache or CacheConfig()
    place = uri.partition(":")[2]
    if not place:
        raise ValueError(f"{uri!r} names no directory: say where the journal is, as in journal:./history")
    if is_in_front(place) and not is_journal(place):
        raise OtherStore(uri, f"lance:{place}")
    if not create and not is_journal(place):
        raise StorageNotFound(str(Path(place).absolute()))
    read_only = is_journal(place) and not is_journal_writable(Path(place))
    if read_only and create:
        raise StorageReadOnly(str(Path(place).absolute()))
    return JournalStore(place, durability=cache.durability, interval_s=cache.interval_s, read_only=read_only)
