"""Reads ticks: finds the write that a table shows at a tick, and decodes the columns that are asked for."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from archetype_core.errors import CorruptStore
from archetype_core.schema import Archetype, Column, Snapshot
from archetype_core.store import Rows
from archetype_journal import chunk
from archetype_journal.catalog import Catalog, Counts, SegmentEntry, TableEntry, WorldEntry
from archetype_journal.durable_database import Database
from archetype_journal.record import Place, TableWrite, TickRecord, WriteSpans, row_id, unpack

_CACHED = 32


@dataclass(frozen=True, slots=True)
class SealedWrite:
    """A write that is sealed, so that the store beneath has its rows: those of a table at a tick of a segment."""

    entry: SegmentEntry
    tick: int
    is_requested_tick: bool
    """Whether this is the tick that was asked for; only then do its tombstones count."""


class Reader:
    """Opens views, each of one state of the database."""

    def __init__(self, database: Database, catalog: Catalog) -> None:
        self._database = database
        self._cache = RecordCache()
        self.catalog = catalog

    @contextmanager
    def read(self) -> Iterator[View]:
        """A view of the newest state. Rows and files that it shows may be removed once the block ends."""
        with self._database.translated_errors(), self._database.read() as connection:
            yield View(self._database.path, self.catalog, connection, self.catalog.counts(connection), self._cache)


_K = TypeVar("_K")
_V = TypeVar("_V")


class RecordCache:
    """Recently unpacked records. A row never changes while its segment is sealed to the same tick, which is in the keys."""

    def __init__(self) -> None:
        self.records: dict[tuple[int, int], TickRecord] = {}
        self.write_spans: dict[tuple[int, int, int], WriteSpans] = {}
        self._lock = threading.Lock()

    def put(self, among: dict[_K, _V], key: _K, value: _V) -> None:
        """Add a value, and drop the oldest if there are too many."""
        with self._lock:
            among[key] = value
            if len(among) > _CACHED:
                del among[next(iter(among))]


class View:
    """One state of the journal, read through one connection."""

    def __init__(
        self,
        path: Path,
        catalog: Catalog,
        connection: sqlite3.Connection,
        counts: Counts,
        cache: RecordCache | None = None,
    ) -> None:
        self._counts = counts
        self._cache = cache or RecordCache()
        self._path = path
        self._connection = connection
        self.catalog = catalog

    @property
    def generation(self) -> int:
        """How many transactions removed rows or files."""
        return self._counts.generation

    @property
    def worlds(self) -> tuple[str, ...]:
        """The ids of all worlds, oldest first."""
        return self.catalog.worlds(self._counts)

    def segment(self, number: int) -> SegmentEntry:
        """A segment by its id."""
        return self.catalog.segment(self._connection, number)

    def segments(self) -> list[SegmentEntry]:
        """Every segment, oldest first."""
        rows = self._connection.execute("SELECT id, last, sealed FROM segment").fetchall()
        return [self.catalog.segment_entry(*row) for row in rows]

    def find_segment(self, world_id: str, run_id: str) -> SegmentEntry | None:
        """A segment by world and run, if there is one."""
        return self.catalog.find_segment(self._connection, self._counts, world_id, run_id)

    def active_segment(self, world_id: str) -> SegmentEntry | None:
        """A world's newest segment, if there is such a world."""
        world = self.world(world_id)
        return None if world is None else self.segment(world.segment)

    def world(self, world_id: str) -> WorldEntry | None:
        """A world by its id, if there is one."""
        return self.catalog.world(self._connection, self._counts, world_id)

    def parent(self, entry: SegmentEntry) -> tuple[SegmentEntry, int] | None:
        """The parent of a segment, and the parent's tick at which the segment starts."""
        return self.catalog.parent(self._connection, entry)

    def lineage(self, entry: SegmentEntry, last: int) -> Iterator[tuple[SegmentEntry, int]]:
        """A segment and its ancestors, each with its last tick that belongs to the history."""
        here: tuple[SegmentEntry, int] | None = (entry, last)
        while here is not None:
            yield here
            here = self.parent(here[0])

    def record(self, entry: SegmentEntry, tick: int) -> TickRecord:
        """The record of a tick that is not sealed, or of the newest sealed one."""
        number = row_id(entry.id, tick - entry.first)
        found = self._cache.records.get((number, entry.sealed))
        if found is None:
            row = self._connection.execute("SELECT record FROM tick WHERE id = ?", (number,)).fetchone()
            found = unpack(number, row and row[0], self._describe_tick(entry, tick))
            self._cache.put(self._cache.records, (number, entry.sealed), found)
        return found

    def continuation(self, entry: SegmentEntry, tick: int) -> bytes:
        """The continuation of a tick that is not sealed, or of the newest sealed one."""
        found = self.record(entry, tick).continuation
        if isinstance(found, bytes):
            return found
        data = self.read_bytes(found)
        if chunk.checksum(data) != found[3]:
            raise CorruptStore(self.describe(found), "its checksum does not match")
        return bytes(data)

    def write_spans(self, entry: SegmentEntry, tick: int) -> WriteSpans:
        """The first and the newest tick at which a segment wrote each of its tables, up to a tick."""
        if tick < entry.first:
            return {}
        key = (entry.id, tick, entry.sealed)
        found = self._cache.write_spans.get(key)
        if found is None:
            found = self._read_write_spans(entry, tick)
            self._cache.put(self._cache.write_spans, key, found)
        return found

    def _read_write_spans(self, entry: SegmentEntry, tick: int) -> WriteSpans:
        later: list[tuple[int, TickRecord]] = []
        at = max(tick, entry.sealed)
        record = self.record(entry, at)
        while record.write_spans is None:
            later.append((at, record))
            if at <= entry.first:
                raise CorruptStore(self._describe_tick(entry, at), "no tick up to it lists the tables")
            at -= 1
            record = self.record(entry, at)
        first = entry.first
        spans = {table: (first + begin, first + end) for table, (begin, end) in record.write_spans.items()}
        for one, record in reversed(later):
            for table in record.writes:
                spans[table] = (spans[table][0] if table in spans else one, one)
        if at > tick:
            # For sealed ticks there is one list, as of the newest: leave out tables that were first written later.
            return {table: (begin, min(end, tick)) for table, (begin, end) in spans.items() if begin <= tick}
        return spans

    def tables(self, entry: SegmentEntry, last: int) -> dict[str, TableEntry]:
        """Every table of a segment's history up to a tick."""
        found: dict[str, TableEntry] = {}
        for one, end in self.lineage(entry, last):
            for table_id in self.write_spans(one, end):
                table = self.catalog.table(table_id)
                found.setdefault(table.name, table)
        return found

    def find_write(
        self, entry: SegmentEntry, table_id: int, tick: int
    ) -> tuple[SegmentEntry, int, TableWrite] | SealedWrite | None:
        """The write that a table shows at a tick: the newest one up to it, in the segment or an ancestor."""
        for one, end in self.lineage(entry, tick):
            is_own = one is entry
            found = self.write_spans(one, end).get(table_id)
            if found is None:
                continue
            if end <= one.sealed:
                return SealedWrite(one, end, is_own)
            if found[1] <= one.sealed:
                return SealedWrite(one, one.sealed, is_requested_tick=False)
            return one, found[1], self._write(one, table_id, found[1])
        return None

    def _write(self, entry: SegmentEntry, table_id: int, tick: int) -> TableWrite:
        write = self.record(entry, tick).writes.get(table_id)
        if write is None:
            raise CorruptStore(self._describe_tick(entry, tick), f"its record lacks its write to table {table_id}")
        return write

    def rows(
        self, entry: SegmentEntry, table_id: int, tick: int, cache: dict[Place, Column] | None = None
    ) -> Rows | SealedWrite | None:
        """What a table shows at a tick: the rows written then, or else the live rows of the newest write before.

        Columns are decoded when they are asked for, while this view lasts; ``cache`` keeps decoded columns.
        """
        found = self.find_write(entry, table_id, tick)
        if found is None or isinstance(found, SealedWrite):
            return found
        one, written, write = found
        archetype = Archetype.from_schema(self.catalog.table(table_id).schema)
        width = len(archetype.schema) if write.live else 0
        live = self._snapshot(archetype, write.places[:width], write.live, cache)
        if one is not entry or written != tick:
            return Rows(live) if write.live else None
        places = write.places[width:]
        return Rows(live, self._snapshot(archetype, places, write.tombstones, cache) if write.tombstones else None)

    def _snapshot(
        self, archetype: Archetype, places: Sequence[Place], count: int, cache: dict[Place, Column] | None
    ) -> Snapshot:
        if not count:
            return Snapshot.empty(archetype)
        return Snapshot(archetype, _Columns(self, archetype, places, cache), count)

    def read_column(self, place: Place, field: pa.Field) -> pa.Array:
        """Read and decode the column at a place."""
        return chunk.decode(self.read_bytes(place), place[4], place[3], field, self.describe(place, field.name))

    def read_bytes(self, place: Place) -> pa.Buffer:
        """Read the bytes at a place."""
        source, offset, length, *_ = place
        if source < 0:
            return chunk.read_chunk(self._path / self.file_name(-source), offset, length)
        row = self._connection.execute(
            "SELECT substr(data, ?, ?) FROM tick WHERE id = ?", (offset + 1, length, source)
        ).fetchone()
        if row is None or not isinstance(row[0], bytes):
            raise CorruptStore(self.describe(place), "it is missing")
        return pa.py_buffer(row[0])

    def sealed_row_ids(self, entry: SegmentEntry) -> list[int]:
        """The ids of the rows of a segment's sealed ticks that are still there."""
        if entry.sealed < entry.first:
            return []
        ends = (row_id(entry.id, 0), row_id(entry.id, entry.sealed - entry.first))
        return [number for (number,) in self._connection.execute("SELECT id FROM tick WHERE id BETWEEN ? AND ?", ends)]

    def file_ids(self) -> list[int]:
        """The ids of all chunk files."""
        return [number for (number,) in self._connection.execute("SELECT id FROM file")]

    def file_name(self, number: int) -> str:
        """The name of a chunk file by its id."""
        return self.catalog.file_name(self._connection, number)

    def has_source(self, source: int) -> bool:
        """Whether the row or chunk file that a place names as its source is still there."""
        where = "file WHERE id = ?" if source < 0 else "tick WHERE id = ? AND data IS NOT NULL"
        return self._connection.execute(f"SELECT 1 FROM {where}", (abs(source),)).fetchone() is not None

    def describe(self, place: Place, column: str = "") -> str:
        """A place in words, for error messages."""
        what = f"file {-place[0]}" if place[0] < 0 else f"row {place[0]}"
        return f"{self._path} {what} at {place[1]}{f' ({column})' if column else ''}"

    def _describe_tick(self, entry: SegmentEntry, tick: int) -> str:
        return f"{self._path} tick {tick} of world {entry.segment.name!r}"


class _Columns(Mapping[str, Column]):
    """A table's columns, each decoded when it is asked for."""

    __slots__ = ("_archetype", "_cache", "_places", "_view")

    def __init__(
        self, view: View, archetype: Archetype, places: Sequence[Place], cache: dict[Place, Column] | None
    ) -> None:
        self._view = view
        self._archetype = archetype
        self._places = places
        self._cache = cache

    def __getitem__(self, name: str) -> Column:
        index = self._archetype.schema.get_field_index(name)
        if index < 0:
            raise KeyError(name)
        place = self._places[index]
        found = None if self._cache is None else self._cache.get(place)
        if found is None:
            found = Column(self._view.read_column(place, self._archetype.schema.field(index)))
            if self._cache is not None:
                self._cache[place] = found
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._archetype.schema.names)

    def __len__(self) -> int:
        return len(self._archetype.schema)
