"""A store that is a journal and nothing else: light, durable, every tick one transaction."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from archetype_core.commit import Head, Scan, Span, TickCommit, Timeline, WorldRecord, check_successors, project
from archetype_core.errors import (
    CommitError,
    CorruptStore,
    StoreClosed,
    TickConflict,
    TickNotFound,
    UnsupportedCapability,
    WorldNotFound,
)
from archetype_core.journal.database import Database
from archetype_core.journal.reader import Branch, Reader
from archetype_core.journal.writer import Writer
from archetype_core.ports import Capability


class JournalStore:
    """Keeps worlds in one directory. ``commit`` returns when the ticks are on disk.

    Columns that did not change since a tick that this handle wrote are referenced, not written again; large ones are in
    files of their own. Readers in this and other processes see every commit at once.
    """

    capabilities: frozenset[Capability] = frozenset({Capability.TIME_TRAVEL, Capability.PERSISTENCE, Capability.SHARED})

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._database = Database(self.path)
        with _told(self.path):
            self._writer = Writer(self._database)
        self._reader = Reader(self._database)
        # Threads that only write need no connection of their own.
        self._inside = Reader(self._database, self._database.writer)
        self._lock = threading.Lock()
        self._is_open = True

    def __repr__(self) -> str:
        return f"JournalStore({str(self.path)!r})"

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        database = self._opened()
        if not ticks:
            return
        check_successors(ticks)
        with self._lock, _told(self.path):
            prepared = self._writer.prepare(ticks)
            try:
                with database.transaction() as connection:
                    self._check(connection, ticks)
                    self._writer.store(connection, prepared)
            except BaseException:
                self._writer.abandoned(prepared)
                raise
            self._writer.committed(prepared)

    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        self._opened()
        reader = self._reader
        with _told(self.path):
            branch = reader.find(scan.segment.world_id, scan.segment.run_id)
            if branch is None:
                raise TickNotFound(scan.segment.name, scan.first, None, None)
            for tick in (scan.first, scan.last):
                if not branch.segment.first_tick <= tick <= branch.last:
                    raise TickNotFound(scan.segment.name, tick, branch.segment.first_tick, branch.last)
            table = self._tables(branch).get(scan.table)
        if table is None:
            return pa.RecordBatchReader.from_batches(pa.schema([]), [])
        schema = scan.schema(table)

        def batches() -> Iterator[pa.RecordBatch]:
            for tick in range(scan.first, scan.last + 1):
                with _told(self.path):
                    rows = reader.rows(branch, scan.table, tick)
                    if rows is None:
                        continue
                    parts = [(rows.live, True), (rows.tombstones, False)]
                    found = [project(part, scan, tick, active, schema) for part, active in parts if part]
                yield from found

        return pa.RecordBatchReader.from_batches(schema, batches())

    def head(self, world_id: str, *, at: int | None = None) -> Head:
        self._opened()
        with _told(self.path):
            timeline = self.timeline(world_id)
            tick = timeline.last if at is None else at
            span = timeline.at(tick)
            if span is None:
                raise TickNotFound(timeline.spans[-1].segment.name, tick, timeline.first, timeline.last)
            branch = self._reader.find(span.segment.world_id, span.segment.run_id)
            assert branch is not None
            next_entity_id, applied = self._reader.connection.execute(
                "SELECT next_entity_id, applied FROM tick WHERE segment = ? AND tick = ?", (branch.id, tick)
            ).fetchone()
            found = ((name, self._reader.rows(branch, name, tick)) for name in timeline.tables)
            live = {name: rows.live.num_rows for name, rows in found if rows is not None and rows.live.num_rows}
        return Head(branch.segment, tick, next_entity_id, tuple(json.loads(applied)) if applied else (), live)

    def timeline(self, world_id: str) -> Timeline:
        self._opened()
        with _told(self.path):
            connection = self._reader.connection
            row = connection.execute("SELECT segment FROM world WHERE world_id = ?", (world_id,)).fetchone()
            if row is None:
                known = connection.execute("SELECT world_id FROM world ORDER BY world_id").fetchall()
                raise WorldNotFound(world_id, [one for (one,) in known])
            branch = self._reader.branch(row[0])
            spans = [Span(one.segment, one.segment.first_tick, last) for one, last in self._reader.lineage(branch)]
            return Timeline(tuple(reversed(spans)), self._tables(branch))

    def worlds(self) -> tuple[WorldRecord, ...]:
        self._opened()
        with _told(self.path):
            rows = self._reader.connection.execute(
                "SELECT w.world_id, s.name, s.run_id, w.tick FROM world w JOIN segment s ON s.id = w.segment"
            ).fetchall()
        return tuple(WorldRecord(*row) for row in rows)

    def files(self, scan: Scan) -> tuple[str, ...]:
        del scan  # there are none to name
        self._opened()
        raise UnsupportedCapability(repr(self), Capability.FILES)

    def close(self) -> None:
        with self._lock:
            self._is_open = False
            self._database.close()

    def _opened(self) -> Database:
        if not self._is_open:
            raise StoreClosed(repr(self))
        return self._database

    def _tables(self, branch: Branch) -> dict[str, pa.Schema]:
        tables: dict[str, pa.Schema] = {}
        for one, last in self._reader.lineage(branch):
            for name, schema in self._reader.forms(one, last):
                tables.setdefault(name, schema)
        return tables

    def _check(self, connection: sqlite3.Connection, ticks: Sequence[TickCommit]) -> None:
        """Whether these ticks follow the world's last; asked inside the transaction, where nobody else can answer too."""
        first = ticks[0]
        segment = first.segment
        head = connection.execute(
            "SELECT w.tick, s.run_id, w.owner FROM world w JOIN segment s ON s.id = w.segment WHERE w.world_id = ?",
            (segment.world_id,),
        ).fetchone()
        parent = segment.parent
        last = head[0] if head else parent.tick if parent else segment.first_tick - 1
        conflict = TickConflict(segment.world_id, last + 1, first.tick, head[2] if head else None)
        if first.tick != last + 1:
            raise conflict
        known = self._inside.find(segment.world_id, segment.run_id)
        if head is not None:
            if head[1] == segment.run_id:
                if known is None or known.segment != segment:
                    raise conflict
            elif known is not None or parent is None or (parent.world_id, parent.run_id) != (segment.world_id, head[1]):
                raise conflict
        elif parent is not None:
            grown = self._inside.find(parent.world_id, parent.run_id)
            if grown is None or not grown.segment.first_tick <= parent.tick <= grown.last:
                raise CommitError(f"segment {segment.run_id} grows from {parent}, which this store does not hold")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """SQLite's errors as ours: what cannot be written, what is damaged, what is closed."""
    try:
        yield
    except sqlite3.ProgrammingError as failure:
        raise StoreClosed(str(path)) from failure
    except (sqlite3.OperationalError, OSError) as failure:
        raise CommitError(f"journal {path}: {failure}") from failure
    except sqlite3.DatabaseError as failure:
        raise CorruptStore(str(path), str(failure)) from failure


def open_journal(uri: str) -> JournalStore:
    """The store behind ``journal:path``."""
    return JournalStore(uri.partition(":")[2])
