"""What a journal holds, by id: segments, worlds, tables and chunk files.

Ids have no gaps, and one row counts them, so a missing row is noticed. No index is used for lookups, because a damaged index
could hide a row: a catalog reads all rows once and keeps them in memory.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable
from dataclasses import astuple, dataclass, replace
from typing import Any

import pyarrow as pa

from archetype_core.errors import CorruptStore
from archetype_core.store import Point, Segment
from archetype_journal.chunk import checksum

_SCHEMA = """
CREATE TABLE counts (
    id INTEGER PRIMARY KEY, segments INTEGER NOT NULL, worlds INTEGER NOT NULL, tables INTEGER NOT NULL,
    files INTEGER NOT NULL, generation INTEGER NOT NULL, crc INTEGER NOT NULL
);
CREATE TABLE segment (
    id INTEGER PRIMARY KEY, world_id TEXT NOT NULL, run_id TEXT NOT NULL, first INTEGER NOT NULL, parent INTEGER,
    parent_tick INTEGER, name TEXT NOT NULL, seed INTEGER NOT NULL, last INTEGER NOT NULL, sealed INTEGER NOT NULL,
    crc INTEGER NOT NULL
);
CREATE TABLE world (
    id INTEGER PRIMARY KEY, world_id TEXT NOT NULL, segment INTEGER NOT NULL, epoch INTEGER NOT NULL,
    owner TEXT NOT NULL, token TEXT NOT NULL, crc INTEGER NOT NULL
);
CREATE TABLE table_schema (id INTEGER PRIMARY KEY, name TEXT NOT NULL, schema BLOB NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE file (id INTEGER PRIMARY KEY, name TEXT NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE tick (id INTEGER PRIMARY KEY, record BLOB, data BLOB);
"""


@dataclass(frozen=True, slots=True)
class SegmentEntry:
    """A stored segment, the id of its parent, its last tick, and the last tick that is sealed.

    ``sealed`` is the tick before the first while none is sealed.
    """

    id: int
    segment: Segment
    parent_id: int | None
    last: int
    sealed: int

    @property
    def first(self) -> int:
        """The segment's first tick."""
        return self.segment.first_tick


@dataclass(frozen=True, slots=True)
class WorldEntry:
    """A stored world: its active segment, and the handle that wrote it last. ``epoch`` counts the changes of that handle."""

    id: int
    world_id: str
    segment: int
    epoch: int
    owner: str
    token: str


@dataclass(frozen=True, slots=True)
class TableEntry:
    """A stored table: its name and schema."""

    id: int
    name: str
    schema: pa.Schema


@dataclass(frozen=True, slots=True)
class Counts:
    """The number of rows of each kind. ``generation`` counts the transactions that removed rows or files."""

    segments: int = 0
    worlds: int = 0
    tables: int = 0
    files: int = 0
    generation: int = 0


class Catalog:
    """The catalog as of the newest transaction that anybody read through it. Threads may share one.

    A reader of an older state passes that state's counts, and does not see what was added later.
    """

    def __init__(self, place: str) -> None:
        self._place = place
        self._lock = threading.Lock()
        self._known = Counts()
        self._segments: dict[int, tuple[Segment, int | None]] = {}
        self._segment_ids: dict[tuple[str, str], int] = {}
        self._world_ids: dict[str, int] = {}
        self._tables: dict[int, TableEntry] = {}
        self._table_ids: dict[str, int] = {}

    def counts(self, connection: sqlite3.Connection) -> Counts:
        """The counts in a connection's state. Reads the rows that are new since the last call."""
        row = connection.execute("SELECT * FROM counts WHERE id = 1").fetchone()
        counts = Counts(*self._checked("its counts", row)[1:])
        known = self._known
        if counts.segments > known.segments or counts.worlds > known.worlds or counts.tables > known.tables:
            with self._lock:
                self._extend(connection, counts)
        return counts

    def _extend(self, connection: sqlite3.Connection, counts: Counts) -> None:
        known = self._known
        for number, name, schema in self._rows(connection, "table_schema", known.tables, counts.tables):
            self._tables[number] = TableEntry(number, name, pa.ipc.read_schema(pa.py_buffer(schema)))
            self._table_ids[name] = number
        for row in self._rows(connection, "segment", known.segments, counts.segments):
            number, world_id, run_id, first, parent, parent_tick, name, seed, _, _ = row
            point = None
            if parent is not None:
                origin = self._segments[parent][0]
                point = Point(origin.world_id, origin.run_id, parent_tick)
            self._segments[number] = (Segment(world_id, run_id, first, point, name, seed), parent)
            self._segment_ids[world_id, run_id] = number
        for number, world_id, *_ in self._rows(connection, "world", known.worlds, counts.worlds):
            self._world_ids[world_id] = number
        self._known = Counts(*map(max, astuple(known), astuple(counts)))

    def _rows(self, connection: sqlite3.Connection, table: str, known: int, count: int) -> Iterable[tuple[Any, ...]]:
        rows = connection.execute(
            f"SELECT * FROM {table} WHERE id > ? AND id <= ? ORDER BY id", (known, count)
        ).fetchall()
        if [row[0] for row in rows] != list(range(known + 1, count + 1)):
            raise CorruptStore(f"{self._place} {table}", f"some of the rows {known + 1} to {count} are missing")
        return [self._checked(f"{table} {row[0]}", row) for row in rows]

    def _checked(self, what: str, row: tuple[Any, ...] | None) -> tuple[Any, ...]:
        """A row without its checksum; ``CorruptStore`` if the row is missing or the checksum is wrong."""
        if row is None:
            raise CorruptStore(f"{self._place} {what}", "it is missing")
        if row_checksum(row[:-1]) != row[-1]:
            raise CorruptStore(f"{self._place} {what}", "its checksum does not match")
        return row[:-1]

    def _row(self, connection: sqlite3.Connection, table: str, number: int) -> tuple[Any, ...]:
        row = connection.execute(f"SELECT * FROM {table} WHERE id = ?", (number,)).fetchone()
        return self._checked(f"{table} {number}", row)

    def segment(self, connection: sqlite3.Connection, number: int) -> SegmentEntry:
        """A segment by its id."""
        *_, last, sealed = self._row(connection, "segment", number)
        return self.segment_entry(number, last, sealed)

    def segment_entry(self, number: int, last: int, sealed: int) -> SegmentEntry:
        """The entry of a segment whose last and last sealed tick were just read."""
        segment, parent = self._segments[number]
        return SegmentEntry(number, segment, parent, last, sealed)

    def find_segment(
        self, connection: sqlite3.Connection, counts: Counts, world_id: str, run_id: str
    ) -> SegmentEntry | None:
        """A segment by world and run, if there is one."""
        number = self._segment_ids.get((world_id, run_id))
        return None if number is None or number > counts.segments else self.segment(connection, number)

    def parent(self, connection: sqlite3.Connection, entry: SegmentEntry) -> tuple[SegmentEntry, int] | None:
        """The parent of a segment, and the parent's tick at which the segment starts."""
        if entry.parent_id is None or entry.segment.parent is None:
            return None
        return self.segment(connection, entry.parent_id), entry.segment.parent.tick

    def world(self, connection: sqlite3.Connection, counts: Counts, world_id: str) -> WorldEntry | None:
        """A world by its id, if there is one."""
        number = self._world_ids.get(world_id)
        return None if number is None or number > counts.worlds else WorldEntry(*self._row(connection, "world", number))

    def worlds(self, counts: Counts) -> tuple[str, ...]:
        """The ids of all worlds, oldest first."""
        return tuple(self._world_ids)[: counts.worlds]

    def has_world(self, world_id: str) -> bool:
        """Whether a world was there at the last read. Does not read."""
        return world_id in self._world_ids

    def table(self, table_id: int) -> TableEntry:
        """A table by its id."""
        found = self._tables.get(table_id)
        if found is None:
            raise CorruptStore(f"{self._place} table {table_id}", "it is missing")
        return found

    def table_id(self, name: str) -> int | None:
        """The id of a table, if it was there at the last read."""
        return self._table_ids.get(name)

    def file_name(self, connection: sqlite3.Connection, number: int) -> str:
        """The name of a chunk file by its id."""
        return str(self._row(connection, "file", number)[1])


class CatalogUpdate:
    """What one transaction adds to a catalog. The transaction sees it at once, the catalog once it is committed."""

    def __init__(self, catalog: Catalog, connection: sqlite3.Connection) -> None:
        self._catalog = catalog
        self._connection = connection
        self.before = self._counts = catalog.counts(connection)
        self._table_ids: dict[str, int] = {}
        self._segments: dict[tuple[str, str], SegmentEntry] = {}
        self._world_ids: dict[str, int] = {}
        self._file_ids: dict[str, int] = {}

    @property
    def generation(self) -> int:
        """How many transactions removed rows or files, this one included."""
        return self._counts.generation

    def table_id(self, name: str, schema: pa.Schema) -> int:
        """The id of a table; adds the table if it is new."""
        found = self._catalog.table_id(name) or self._table_ids.get(name)
        if found is None:
            found = self._table_ids[name] = self._counts.tables + 1
            self._counts = replace(self._counts, tables=found)
            self._insert("table_schema", found, "".join(name), schema.serialize().to_pybytes())
        return found

    def add_file(self, name: str) -> int:
        """Add a chunk file, once, and return its id."""
        found = self._file_ids.get(name)
        if found is None:
            found = self._file_ids[name] = self._counts.files + 1
            self._counts = replace(self._counts, files=found)
            self._insert("file", found, name)
        return found

    def find_segment(self, world_id: str, run_id: str) -> SegmentEntry | None:
        """A segment by world and run, with this transaction's changes."""
        changed = self._segments.get((world_id, run_id))
        return changed or self._catalog.find_segment(self._connection, self.before, world_id, run_id)

    def world(self, world_id: str) -> WorldEntry | None:
        """A world by its id, with this transaction's changes."""
        number = self._world_ids.get(world_id)
        if number is None:
            return self._catalog.world(self._connection, self.before, world_id)
        row = self._connection.execute("SELECT * FROM world WHERE id = ?", (number,)).fetchone()
        return WorldEntry(*row[:-1])

    def segment(self, number: int) -> SegmentEntry:
        """A segment by its id, with this transaction's changes."""
        changed = [one for one in self._segments.values() if one.id == number]
        return changed[0] if changed else self._catalog.segment(self._connection, number)

    def add_segment(self, segment: Segment, last: int, sealed: int | None = None) -> SegmentEntry:
        """Add a segment."""
        number = self._counts.segments + 1
        self._counts = replace(self._counts, segments=number)
        parent = segment.parent and self.find_segment(segment.parent.world_id, segment.parent.run_id)
        floor = segment.first_tick - 1 if sealed is None else sealed
        entry = SegmentEntry(number, _plain(segment), parent.id if parent else None, last, floor)
        return self._put(entry, is_new=True)

    def advance_segment(
        self, entry: SegmentEntry, *, last: int | None = None, sealed: int | None = None
    ) -> SegmentEntry:
        """Set a segment's last tick, its last sealed tick, or both."""
        moved = replace(
            entry, last=entry.last if last is None else last, sealed=entry.sealed if sealed is None else sealed
        )
        return self._put(moved, is_new=False)

    def _put(self, entry: SegmentEntry, *, is_new: bool) -> SegmentEntry:
        segment = entry.segment
        values = (
            entry.id,
            segment.world_id,
            segment.run_id,
            segment.first_tick,
            entry.parent_id,
            segment.parent.tick if segment.parent else None,
            segment.name,
            segment.seed,
            entry.last,
            entry.sealed,
        )
        if is_new:
            self._insert("segment", *values)
        else:
            self._connection.execute(
                "UPDATE segment SET last = ?, sealed = ?, crc = ? WHERE id = ?",
                (entry.last, entry.sealed, row_checksum(values), entry.id),
            )
        self._segments[segment.world_id, segment.run_id] = entry
        return entry

    def set_writer(self, world: WorldEntry | None, world_id: str, segment: int, owner: str, token: str) -> None:
        """Record which handle writes a world, and its active segment; adds the world if ``world`` is ``None``."""
        if world is None:
            number = self._world_ids[world_id] = self._counts.worlds + 1
            self._counts = replace(self._counts, worlds=number)
            self._insert("world", number, "".join(world_id), segment, 1, owner, token)
        elif (world.segment, world.token) != (segment, token):
            epoch = world.epoch + (world.token != token)
            values = (world.id, world_id, segment, epoch, owner, token)
            self._connection.execute(
                "UPDATE world SET segment = ?, epoch = ?, owner = ?, token = ?, crc = ? WHERE id = ?",
                (segment, epoch, owner, token, row_checksum(values), world.id),
            )

    def add_tick(self, number: int, record: bytes, data: bytes | None) -> None:
        """Add the row of a tick."""
        self._connection.execute("INSERT INTO tick VALUES (?, ?, ?)", (number, record, data))

    def raise_generation(self) -> None:
        """Note that this transaction removes rows or files that a prepared commit may refer to."""
        self._counts = replace(self._counts, generation=self._counts.generation + 1)

    def finish(self) -> None:
        """Write the new counts, as the transaction's last change."""
        if self._counts != self.before:
            values = (1, *astuple(self._counts))
            self._connection.execute(
                "REPLACE INTO counts VALUES (?, ?, ?, ?, ?, ?, ?)", (*values, row_checksum(values))
            )

    def _insert(self, table: str, *values: object) -> None:
        marks = ", ".join("?" * (len(values) + 1))
        self._connection.execute(f"INSERT INTO {table} VALUES ({marks})", (*values, row_checksum(values)))


def create_tables(connection: sqlite3.Connection) -> None:
    """Create this version's tables, empty."""
    for statement in _SCHEMA.split(";"):
        if statement.strip():
            connection.execute(statement)
    counts = (1, 0, 0, 0, 0, 0)
    connection.execute("INSERT INTO counts VALUES (?, ?, ?, ?, ?, ?, ?)", (*counts, row_checksum(counts)))


def row_checksum(values: Iterable[object]) -> int:
    """The checksum of a row's values. They must be plain, so that their text is the same when they are read back."""
    return checksum(repr(tuple(values)).encode(errors="replace"))


def _plain(segment: Segment) -> Segment:
    """A segment whose values are of exactly ``str`` and ``int``, not of subclasses."""
    parent = segment.parent
    return Segment(
        "".join(segment.world_id),
        "".join(segment.run_id),
        int(segment.first_tick),
        parent and Point("".join(parent.world_id), "".join(parent.run_id), int(parent.tick)),
        "".join(segment.name),
        int(segment.seed),
    )
