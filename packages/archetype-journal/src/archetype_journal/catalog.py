"""What a journal holds, by id: segments, worlds, tables and files.

Ids have no gaps and a row with their counts says how far they go, so that none can go missing unnoticed. Nothing is looked
up through an index, which could hide a row that is there: the catalog is read whole, once, and kept.
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
CREATE TABLE head (
    id INTEGER PRIMARY KEY, segments INTEGER NOT NULL, worlds INTEGER NOT NULL, forms INTEGER NOT NULL,
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
CREATE TABLE form (id INTEGER PRIMARY KEY, name TEXT NOT NULL, schema BLOB NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE file (id INTEGER PRIMARY KEY, name TEXT NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE tick (id INTEGER PRIMARY KEY, record BLOB, data BLOB);
"""


@dataclass(frozen=True, slots=True)
class SegmentEntry:
    """A stored segment and the one it grew from, its last tick, and the last one that the store beneath holds.

    ``sealed`` is the tick before the first where that is none.
    """

    id: int
    segment: Segment
    parent: int | None
    last: int
    sealed: int

    @property
    def first(self) -> int:
        return self.segment.first_tick


@dataclass(frozen=True, slots=True)
class Tenure:
    """A world's active segment and who wrote it last; ``epoch`` counts how often that changed."""

    id: int
    world_id: str
    segment: int
    epoch: int
    owner: str
    token: str


@dataclass(frozen=True, slots=True)
class Table:
    """A stored table."""

    id: int
    name: str
    schema: pa.Schema


@dataclass(frozen=True, slots=True)
class Counts:
    """How many of everything there are, and how often something was let go of."""

    segments: int = 0
    worlds: int = 0
    forms: int = 0
    files: int = 0
    generation: int = 0


class Catalog:
    """The catalog as of the newest transaction that was looked at; may be shared by threads.

    Who looks at an older state, as its counts say, has to do without what came later.
    """

    def __init__(self, place: str) -> None:
        self._place = place
        self._lock = threading.Lock()
        self._known = Counts()
        self._segments: dict[int, tuple[Segment, int | None]] = {}
        self._by_key: dict[tuple[str, str], int] = {}
        self._worlds: dict[str, int] = {}
        self._tables: dict[int, Table] = {}
        self._forms: dict[str, int] = {}

    def counts(self, connection: sqlite3.Connection) -> Counts:
        """How much there is, after taking up what is new."""
        row = connection.execute("SELECT * FROM head WHERE id = 1").fetchone()
        counts = Counts(*self._checked("its counts", row)[1:])
        known = self._known
        if counts.segments > known.segments or counts.worlds > known.worlds or counts.forms > known.forms:
            with self._lock:
                self._extend(connection, counts)
        return counts

    def _extend(self, connection: sqlite3.Connection, counts: Counts) -> None:
        known = self._known
        for number, name, schema in self._rows(connection, "form", known.forms, counts.forms):
            self._tables[number] = Table(number, name, pa.ipc.read_schema(pa.py_buffer(schema)))
            self._forms[name] = number
        for row in self._rows(connection, "segment", known.segments, counts.segments):
            number, world_id, run_id, first, parent, parent_tick, name, seed, _, _ = row
            point = None
            if parent is not None:
                grown = self._segments[parent][0]
                point = Point(grown.world_id, grown.run_id, parent_tick)
            self._segments[number] = (Segment(world_id, run_id, first, point, name, seed), parent)
            self._by_key[world_id, run_id] = number
        for number, world_id, *_ in self._rows(connection, "world", known.worlds, counts.worlds):
            self._worlds[world_id] = number
        self._known = Counts(*map(max, astuple(known), astuple(counts)))

    def _rows(self, connection: sqlite3.Connection, table: str, known: int, count: int) -> Iterable[tuple[Any, ...]]:
        rows = connection.execute(
            f"SELECT * FROM {table} WHERE id > ? AND id <= ? ORDER BY id", (known, count)
        ).fetchall()
        if [row[0] for row in rows] != list(range(known + 1, count + 1)):
            raise CorruptStore(f"{self._place} {table}", f"of rows {known + 1} to {count} some are missing")
        return [self._checked(f"{table} {row[0]}", row) for row in rows]

    def _checked(self, what: str, row: tuple[Any, ...] | None) -> tuple[Any, ...]:
        """A row without its checksum, if that is right."""
        if row is None:
            raise CorruptStore(f"{self._place} {what}", "it is missing")
        if row_sum(row[:-1]) != row[-1]:
            raise CorruptStore(f"{self._place} {what}", "its checksum does not match")
        return row[:-1]

    def _row(self, connection: sqlite3.Connection, table: str, number: int) -> tuple[Any, ...]:
        row = connection.execute(f"SELECT * FROM {table} WHERE id = ?", (number,)).fetchone()
        return self._checked(f"{table} {number}", row)

    def branch(self, connection: sqlite3.Connection, number: int) -> SegmentEntry:
        """A segment as it stands."""
        *_, last, sealed = self._row(connection, "segment", number)
        return self.standing(number, last, sealed)

    def standing(self, number: int, last: int, sealed: int) -> SegmentEntry:
        """A segment that is known to end there."""
        segment, parent = self._segments[number]
        return SegmentEntry(number, segment, parent, last, sealed)

    def find(self, connection: sqlite3.Connection, counts: Counts, world_id: str, run_id: str) -> SegmentEntry | None:
        """A segment by world and run."""
        number = self._by_key.get((world_id, run_id))
        return None if number is None or number > counts.segments else self.branch(connection, number)

    def parent(self, connection: sqlite3.Connection, branch: SegmentEntry) -> tuple[SegmentEntry, int] | None:
        """The segment that one grew from, and the tick at which it did."""
        if branch.parent is None or branch.segment.parent is None:
            return None
        return self.branch(connection, branch.parent), branch.segment.parent.tick

    def tenure(self, connection: sqlite3.Connection, counts: Counts, world_id: str) -> Tenure | None:
        """Who holds a world, if it is here."""
        number = self._worlds.get(world_id)
        return None if number is None or number > counts.worlds else Tenure(*self._row(connection, "world", number))

    def worlds(self, counts: Counts) -> tuple[str, ...]:
        """The ids of all worlds, oldest first."""
        return tuple(self._worlds)[: counts.worlds]

    def knows(self, world_id: str) -> bool:
        """Whether a world was here when somebody last looked."""
        return world_id in self._worlds

    def table(self, form: int) -> Table:
        """A table by its form's id."""
        found = self._tables.get(form)
        if found is None:
            raise CorruptStore(f"{self._place} form {form}", "it is missing")
        return found

    def form(self, table: str) -> int | None:
        """The id of a table's form, if it is known."""
        return self._forms.get(table)

    def file(self, connection: sqlite3.Connection, number: int) -> str:
        """The name of a file."""
        return str(self._row(connection, "file", number)[1])


class Entry:
    """What one transaction adds to a catalog: seen by itself at once, and by the catalog when it is committed."""

    def __init__(self, catalog: Catalog, connection: sqlite3.Connection) -> None:
        self._catalog = catalog
        self._connection = connection
        self.before = self._counts = catalog.counts(connection)
        self._forms: dict[str, int] = {}
        self._segments: dict[tuple[str, str], SegmentEntry] = {}
        self._worlds: dict[str, int] = {}
        self._files: dict[str, int] = {}

    @property
    def generation(self) -> int:
        return self._counts.generation

    def form(self, name: str, schema: pa.Schema) -> int:
        """The id of a table's form, which may be new."""
        found = self._catalog.form(name) or self._forms.get(name)
        if found is None:
            found = self._forms[name] = self._counts.forms + 1
            self._counts = replace(self._counts, forms=found)
            self._insert("form", found, "".join(name), schema.serialize().to_pybytes())
        return found

    def file(self, name: str) -> int:
        """The id of a file that is new."""
        found = self._files.get(name)
        if found is None:
            found = self._files[name] = self._counts.files + 1
            self._counts = replace(self._counts, files=found)
            self._insert("file", found, name)
        return found

    def find(self, world_id: str, run_id: str) -> SegmentEntry | None:
        """A segment by world and run, as it stands."""
        made = self._segments.get((world_id, run_id))
        return made or self._catalog.find(self._connection, self.before, world_id, run_id)

    def tenure(self, world_id: str) -> Tenure | None:
        """Who holds a world, as it stands."""
        number = self._worlds.get(world_id)
        if number is None:
            return self._catalog.tenure(self._connection, self.before, world_id)
        row = self._connection.execute("SELECT * FROM world WHERE id = ?", (number,)).fetchone()
        return Tenure(*row[:-1])

    def branch(self, segment: int) -> SegmentEntry:
        """A segment by its id, as it stands."""
        made = [one for one in self._segments.values() if one.id == segment]
        return made[0] if made else self._catalog.branch(self._connection, segment)

    def open(self, segment: Segment, last: int, sealed: int | None = None) -> SegmentEntry:
        """Add a segment."""
        number = self._counts.segments + 1
        self._counts = replace(self._counts, segments=number)
        grown = segment.parent and self.find(segment.parent.world_id, segment.parent.run_id)
        floor = segment.first_tick - 1 if sealed is None else sealed
        return self._put(SegmentEntry(number, _plain(segment), grown.id if grown else None, last, floor), is_new=True)

    def advance(self, branch: SegmentEntry, *, last: int | None = None, sealed: int | None = None) -> SegmentEntry:
        """Move the end of a segment, or that of what the store beneath holds of it."""
        moved = replace(
            branch, last=branch.last if last is None else last, sealed=branch.sealed if sealed is None else sealed
        )
        return self._put(moved, is_new=False)

    def _put(self, branch: SegmentEntry, *, is_new: bool) -> SegmentEntry:
        segment = branch.segment
        values = (
            branch.id,
            segment.world_id,
            segment.run_id,
            segment.first_tick,
            branch.parent,
            segment.parent.tick if segment.parent else None,
            segment.name,
            segment.seed,
            branch.last,
            branch.sealed,
        )
        if is_new:
            self._insert("segment", *values)
        else:
            self._connection.execute(
                "UPDATE segment SET last = ?, sealed = ?, crc = ? WHERE id = ?",
                (branch.last, branch.sealed, row_sum(values), branch.id),
            )
        self._segments[segment.world_id, segment.run_id] = branch
        return branch

    def hold(self, tenure: Tenure | None, world_id: str, segment: int, owner: str, token: str) -> None:
        """Make a handle the holder of a world, and a segment its active one."""
        if tenure is None:
            number = self._worlds[world_id] = self._counts.worlds + 1
            self._counts = replace(self._counts, worlds=number)
            self._insert("world", number, "".join(world_id), segment, 1, owner, token)
        elif (tenure.segment, tenure.token) != (segment, token):
            epoch = tenure.epoch + (tenure.token != token)
            values = (tenure.id, world_id, segment, epoch, owner, token)
            self._connection.execute(
                "UPDATE world SET segment = ?, epoch = ?, owner = ?, token = ?, crc = ? WHERE id = ?",
                (segment, epoch, owner, token, row_sum(values), tenure.id),
            )

    def write(self, number: int, record: bytes, data: bytes | None) -> None:
        """Add the row of a tick."""
        self._connection.execute("INSERT INTO tick VALUES (?, ?, ?)", (number, record, data))

    def let_go(self) -> None:
        """Note that something that was referred to is gone."""
        self._counts = replace(self._counts, generation=self._counts.generation + 1)

    def finish(self) -> None:
        """Write the new counts, the last thing in the transaction."""
        if self._counts != self.before:
            values = (1, *astuple(self._counts))
            self._connection.execute("REPLACE INTO head VALUES (?, ?, ?, ?, ?, ?, ?)", (*values, row_sum(values)))

    def _insert(self, table: str, *values: object) -> None:
        marks = ", ".join("?" * (len(values) + 1))
        self._connection.execute(f"INSERT INTO {table} VALUES ({marks})", (*values, row_sum(values)))


def create(connection: sqlite3.Connection) -> None:
    """Make the tables of this version, empty."""
    for statement in _SCHEMA.split(";"):
        if statement.strip():
            connection.execute(statement)
    counts = (1, 0, 0, 0, 0, 0)
    connection.execute("INSERT INTO head VALUES (?, ?, ?, ?, ?, ?, ?)", (*counts, row_sum(counts)))


def row_sum(values: Iterable[object]) -> int:
    """The checksum of a row's values, whatever they turn into. Only of plain ones: a row comes back as such."""
    return checksum(repr(tuple(values)).encode(errors="replace"))


def _plain(segment: Segment) -> Segment:
    """A segment whose texts and numbers are nothing more than that."""
    parent = segment.parent
    return Segment(
        "".join(segment.world_id),
        "".join(segment.run_id),
        int(segment.first_tick),
        parent and Point("".join(parent.world_id), "".join(parent.run_id), int(parent.tick)),
        "".join(segment.name),
        int(segment.seed),
    )
