"""A store that is a journal and nothing else: light, durable, every tick one transaction."""

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
    CorruptStore,
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
from archetype_journal.catalog import Entry, SegmentEntry
from archetype_journal.open_journal import OpenJournal
from archetype_journal.reader import Beneath, View
from archetype_journal.record import Place
from archetype_journal.writer import Prepared

_PIECE_ROWS = 65_536
"""A scan looks at one state of the journal for about this many rows, then gives it up."""


@dataclass(slots=True, eq=False)
class _Request:
    """A commit that waits for its transaction."""

    ticks: Sequence[TickCommit]
    prepared: Prepared
    is_done: bool = False
    is_stale: bool = False
    error: BaseException | None = None


class JournalStore:
    """Keeps worlds in one directory. ``commit`` returns when the ticks are as durable as ``durability`` says.

    Columns that did not change since a tick that this handle wrote are referred to, not written again. Worlds that commit at
    the same time share a transaction. Readers in this and other processes see every commit at once.
    """

    def __init__(self, path: str | Path, *, durability: str = "tick", interval_s: float = 0.1) -> None:
        self._begin(Path(path), CacheConfig(durability=durability, interval_s=interval_s))

    def _begin(self, path: Path, cache: CacheConfig) -> None:
        self.path = path = path.absolute()
        self._cache = cache
        self._handle = OpenJournal.open(path, cache)
        self._waiting: list[_Request] = []
        self._waiting_lock = threading.Lock()
        self._is_open = True
        # A store that nobody closed is closed with the last reference to it, or with the process.
        self._end = weakref.finalize(self, self._handle.close)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    @property
    def capabilities(self) -> frozenset[Capability]:
        return frozenset({Capability.TIME_TRAVEL, Capability.PERSISTENCE, Capability.SHARED})

    # Writing.

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        self._check_open()
        if ticks:
            self._commit(ticks)

    def _commit(self, ticks: Sequence[TickCommit]) -> Prepared:
        check_successors(ticks)
        while True:
            with self._handle.database.told():
                request = _Request(ticks, self._handle.writer.prepare(ticks))
            with self._waiting_lock:
                self._waiting.append(request)
            # Whoever comes first commits for all who wait by then.
            with self._handle.database.writing:
                while not request.is_done:
                    self._commit_waiting()
            if request.error is not None:
                raise request.error
            if not request.is_stale:
                return request.prepared

    def _commit_waiting(self) -> None:
        with self._waiting_lock:
            batch = list({request.prepared.world_id: request for request in reversed(self._waiting)}.values())
            self._waiting = [request for request in self._waiting if request not in batch]
        try:
            self._transact(batch)
        except Exception as failure:  # noqa: BLE001  # reason: whoever waited is told, each in the thread that asked
            if len(batch) == 1:
                batch[0].error = failure
            for request in batch if len(batch) > 1 else ():
                # One of them may be to blame: the others are not to suffer for it.
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
        stored: list[_Request] = []
        handle = self._handle
        size = sum(request.prepared.size for request in batch)
        with handle.database.told(), handle.database.transaction(size) as connection:
            entry = Entry(handle.catalog, connection)
            view = View(self.path, handle.catalog, connection, entry.before)
            handle.writer.forget(view, entry.generation)
            for request in batch:
                request.is_stale = handle.writer.is_stale(view, entry.generation, request.prepared)
                if not request.is_stale:
                    self._store(entry, view, request, stored)
            entry.finish()
        for request in stored:
            handle.writer.committed(request.prepared)

    def _store(self, entry: Entry, view: View, request: _Request, stored: list[_Request]) -> None:
        try:
            self._handle.writer.store(entry, view, request.prepared)
        # Raised before anything was written: the others go on.
        except CommitError as failure:
            request.error = failure
        else:
            stored.append(request)

    # Reading.

    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        self._check_open()
        with self._handle.reader.read() as view:
            branch = view.find(scan.segment.world_id, scan.segment.run_id)
            if branch is None:
                raise TickNotFound(scan.segment.name, scan.first, None, None)
            for tick in (scan.first, scan.last):
                if not branch.first <= tick <= branch.last:
                    raise TickNotFound(scan.segment.name, tick, branch.first, branch.last)
            form = view.catalog.form(scan.table)
            table = None if form is None else view.catalog.table(form)
        if table is None:
            return pa.RecordBatchReader.from_batches(pa.schema([]), [])
        schema = scan.schema(table.schema)
        return pa.RecordBatchReader.from_batches(schema, self._batches(scan, branch.id, table.id, schema))

    def _batches(self, scan: Scan, segment: int, form: int, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        tick = scan.first
        kept: dict[Place, Column] = {}

        def at(view: View, branch: SegmentEntry) -> list[pa.RecordBatch]:
            rows = view.rows(branch, form, tick, kept)
            if isinstance(rows, Beneath):
                rows = self._beneath(rows, scan.table)
            parts = [(rows.live, True), (rows.tombstones, False)] if rows else []
            return [project(part, scan, tick, active, schema) for part, active in parts if part]

        while tick <= scan.last:
            found: list[pa.RecordBatch] = []
            with self._handle.reader.read() as view:
                branch = view.branch(segment)
                while tick <= scan.last and sum(batch.num_rows for batch in found) < _PIECE_ROWS:
                    try:
                        found += at(view, branch)
                    except CorruptStore:
                        # A file goes when nothing refers to it any more, in the newest state of the journal.
                        if not self._has_moved_on(view):
                            raise
                        break
                    tick += 1
                    if len(kept) > 4 * len(schema):
                        kept.clear()
            yield from found

    def _has_moved_on(self, view: View) -> bool:
        """Whether something was let go of since a view was taken."""
        with self._handle.reader.read() as now:
            return now.generation != view.generation

    def _beneath(self, place: Beneath, table: str) -> Rows | None:
        """What the store beneath holds; there is none here."""
        raise CommitError(
            f"{self!r} handed {table} at tick {place.tick} over: open it with JournaledStore and that store"
        )

    def head(self, world_id: str, *, at: int | None = None) -> Head:
        self._check_open()
        with self._handle.reader.read() as view:
            active = self._active(view, world_id)
            tick = active.last if at is None else at
            found = next((one for one, last in view.lineage(active, active.last) if one.first <= tick <= last), None)
            if found is None:
                first = [one.first for one, _ in view.lineage(active, active.last)][-1]
                raise TickNotFound(active.segment.name, tick, first, active.last)
            return self._head(view, found, tick)

    def _head(self, view: View, branch: SegmentEntry, tick: int) -> Head:
        record = view.record(branch, tick)
        live: dict[str, int] = {}
        for name, table in view.tables(branch, tick).items():
            part = view.part(branch, table.id, tick)
            count = self._live_beneath(part, name) if isinstance(part, Beneath) else part[2].live if part else 0
            if count:
                live[name] = count
        return Head(branch.segment, tick, record.next_entity_id, record.applied, live)

    def _live_beneath(self, place: Beneath, table: str) -> int:
        rows = self._beneath(place, table)
        return rows.live.num_rows if rows else 0

    def _active(self, view: View, world_id: str) -> SegmentEntry:
        active = view.active(world_id)
        if active is None:
            raise WorldNotFound(world_id, sorted(view.worlds))
        return active

    def timeline(self, world_id: str) -> Timeline:
        self._check_open()
        with self._handle.reader.read() as view:
            active = self._active(view, world_id)
            spans = [Span(one.segment, one.first, last) for one, last in view.lineage(active, active.last)]
            tables = {name: table.schema for name, table in view.tables(active, active.last).items()}
        return Timeline(tuple(reversed(spans)), tables)

    def worlds(self) -> tuple[WorldRecord, ...]:
        self._check_open()
        with self._handle.reader.read() as view:
            found = [(world_id, view.active(world_id)) for world_id in view.worlds]
        return tuple(
            WorldRecord(world_id, active.segment.name, active.segment.run_id, active.last)
            for world_id, active in found
            if active is not None
        )

    def files(self, scan: Scan) -> tuple[str, ...]:
        del scan  # there are none to name
        self._check_open()
        raise UnsupportedCapability(repr(self), Capability.FILES)

    def close(self) -> None:
        if not self._handle.presence.is_here:
            return
        # Whoever is in the middle of a transaction comes to its end.
        with self._handle.database.writing:
            self._is_open = False
        self._end()

    def _check_open(self) -> None:
        if not self._is_open:
            raise StoreClosed(repr(self))
        if not self._handle.presence.is_here:
            raise StoreClosed(f"{self!r}, which another process opened, in its copy that fork made,")


def open_journal(uri: str, cache: CacheConfig | None = None) -> JournalStore:
    """The store behind ``journal:path``."""
    cache = cache or CacheConfig()
    if not uri.partition(":")[2]:
        raise ValueError(f"{uri!r} names no directory: say where the journal is, as in journal:./history")
    return JournalStore(uri.partition(":")[2], durability=cache.durability, interval_s=cache.interval_s)
