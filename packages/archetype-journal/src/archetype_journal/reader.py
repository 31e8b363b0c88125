"""Reading ticks back: which write a table shows at a tick, and the bytes of the columns that somebody asks for."""

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
from archetype_journal.catalog import Catalog, Counts, SegmentEntry, Table, Tenure
from archetype_journal.database import Database
from archetype_journal.record import Part, Place, TickRecord, row_id, unpack

_RECENT = 32


@dataclass(frozen=True, slots=True)
class Beneath:
    """The answer lies in the store beneath: what a table shows at a tick of a segment, or only its active rows then."""

    branch: SegmentEntry
    tick: int
    is_own: bool
    """Whether that is the very tick that was asked for, so that its tombstones count."""


class Reader:
    """Finds and decodes within one state of the database; holds nothing that could grow old."""

    def __init__(self, database: Database, catalog: Catalog) -> None:
        self._database = database
        self._recent = Recent()
        self.catalog = catalog

    @contextmanager
    def read(self) -> Iterator[View]:
        """Look at one state of the journal."""
        with self._database.told(), self._database.read() as connection:
            yield View(self._database.path, self.catalog, connection, self.catalog.counts(connection), self._recent)


Book = Mapping[int, tuple[int, int]]
"""The tables of a segment, by form: the ticks of their first and their newest write."""

_K = TypeVar("_K")
_V = TypeVar("_V")


class Recent:
    """What was unpacked lately. What a row says never changes as long as its segment is sealed to the same tick."""

    def __init__(self) -> None:
        self.records: dict[tuple[int, int], TickRecord] = {}
        self.books: dict[tuple[int, int, int], Book] = {}
        self._lock = threading.Lock()

    def keep(self, among: dict[_K, _V], key: _K, value: _V) -> None:
        """Keep something, and let go of the oldest if there is much."""
        with self._lock:
            among[key] = value
            if len(among) > _RECENT:
                del among[next(iter(among))]


class View:
    """One state of the journal, through one connection."""

    def __init__(
        self,
        path: Path,
        catalog: Catalog,
        connection: sqlite3.Connection,
        counts: Counts,
        recent: Recent | None = None,
    ) -> None:
        self._counts = counts
        self._recent = recent or Recent()
        self._path = path
        self._connection = connection
        self.catalog = catalog

    @property
    def generation(self) -> int:
        """How often something was let go of."""
        return self._counts.generation

    @property
    def worlds(self) -> tuple[str, ...]:
        """The ids of all worlds, oldest first."""
        return self.catalog.worlds(self._counts)

    def branch(self, number: int) -> SegmentEntry:
        """A segment by its id."""
        return self.catalog.branch(self._connection, number)

    def find(self, world_id: str, run_id: str) -> SegmentEntry | None:
        """A segment by world and run."""
        return self.catalog.find(self._connection, self._counts, world_id, run_id)

    def active(self, world_id: str) -> SegmentEntry | None:
        """A world's newest segment."""
        tenure = self.tenure(world_id)
        return None if tenure is None else self.branch(tenure.segment)

    def tenure(self, world_id: str) -> Tenure | None:
        """Who holds a world, if it is here."""
        return self.catalog.tenure(self._connection, self._counts, world_id)

    def parent(self, branch: SegmentEntry) -> tuple[SegmentEntry, int] | None:
        """The segment that one grew from, and the tick at which it did."""
        return self.catalog.parent(self._connection, branch)

    def lineage(self, branch: SegmentEntry, last: int) -> Iterator[tuple[SegmentEntry, int]]:
        """A segment and its ancestors, each with the last tick that counts."""
        here: tuple[SegmentEntry, int] | None = (branch, last)
        while here is not None:
            yield here
            here = self.parent(here[0])

    def record(self, branch: SegmentEntry, tick: int) -> TickRecord:
        """The record of a tick that is not sealed, or of the newest that is."""
        number = row_id(branch.id, tick - branch.first)
        found = self._recent.records.get((number, branch.sealed))
        if found is None:
            row = self._connection.execute("SELECT record FROM tick WHERE id = ?", (number,)).fetchone()
            found = unpack(number, row and row[0], self._where(branch, tick))
            self._recent.keep(self._recent.records, (number, branch.sealed), found)
        return found

    def book(self, branch: SegmentEntry, tick: int) -> Book:
        """The first and the newest tick at which a segment wrote each of its tables, up to a tick."""
        if tick < branch.first:
            return {}
        key = (branch.id, tick, branch.sealed)
        found = self._recent.books.get(key)
        if found is None:
            found = self._book(branch, tick)
            self._recent.keep(self._recent.books, key, found)
        return found

    def _book(self, branch: SegmentEntry, tick: int) -> Book:
        later: list[tuple[int, TickRecord]] = []
        at = max(tick, branch.sealed)
        record = self.record(branch, at)
        while record.entries is None:
            later.append((at, record))
            if at <= branch.first:
                raise CorruptStore(self._where(branch, at), "no tick before it lists the tables")
            at -= 1
            record = self.record(branch, at)
        book = {form: (branch.first + begin, branch.first + end) for form, (begin, end) in record.entries.items()}
        for one, record in reversed(later):
            for form in record.parts:
                book[form] = (book[form][0] if form in book else one, one)
        if at > tick:
            # Sealed ticks are listed as of the newest: what began later is not there yet.
            return {form: (begin, min(end, tick)) for form, (begin, end) in book.items() if begin <= tick}
        return book

    def tables(self, branch: SegmentEntry, last: int) -> dict[str, Table]:
        """Every table of a segment's history up to a tick."""
        found: dict[str, Table] = {}
        for one, end in self.lineage(branch, last):
            for form in self.book(one, end):
                table = self.catalog.table(form)
                found.setdefault(table.name, table)
        return found

    def part(self, branch: SegmentEntry, form: int, tick: int) -> tuple[SegmentEntry, int, Part] | Beneath | None:
        """The write that a table shows at a tick: the newest up to it, wherever that is."""
        for one, end in self.lineage(branch, tick):
            is_own = one is branch
            found = self.book(one, end).get(form)
            if found is None:
                continue
            if end <= one.sealed:
                return Beneath(one, end, is_own)
            if found[1] <= one.sealed:
                return Beneath(one, one.sealed, is_own=False)
            return one, found[1], self._part(one, form, found[1])
        return None

    def _part(self, branch: SegmentEntry, form: int, tick: int) -> Part:
        part = self.record(branch, tick).parts.get(form)
        if part is None:
            raise CorruptStore(self._where(branch, tick), f"it does not tell what it wrote to form {form}")
        return part

    def rows(
        self, branch: SegmentEntry, form: int, tick: int, kept: dict[Place, Column] | None = None
    ) -> Rows | Beneath | None:
        """What a table shows at a tick: what was written then, or the active rows of the newest write before.

        Columns are read as they are asked for, as long as this view lasts; ``kept`` gives those read before once more.
        """
        found = self.part(branch, form, tick)
        if found is None or isinstance(found, Beneath):
            return found
        one, written, part = found
        archetype = Archetype.from_schema(self.catalog.table(form).schema)
        width = len(archetype.schema) if part.live else 0
        live = self._snapshot(archetype, part.places[:width], part.live, kept)
        if one is not branch or written != tick:
            return Rows(live) if part.live else None
        return Rows(live, self._snapshot(archetype, part.places[width:], part.gone, kept) if part.gone else None)

    def _snapshot(
        self, archetype: Archetype, places: Sequence[Place], count: int, kept: dict[Place, Column] | None
    ) -> Snapshot:
        if not count:
            return Snapshot.empty(archetype)
        return Snapshot(archetype, _Columns(self, archetype, places, kept), count)

    def column(self, place: Place, field: pa.Field) -> pa.Array:
        """The values at a place."""
        return chunk.decode(self.bytes_at(place), place[4], place[3], field, self.told(place, field.name))

    def bytes_at(self, place: Place) -> pa.Buffer:
        """What is stored at a place."""
        source, offset, length, *_ = place
        if source < 0:
            return chunk.read_file(self._path / self.file(-source), offset, length)
        row = self._connection.execute(
            "SELECT substr(data, ?, ?) FROM tick WHERE id = ?", (offset + 1, length, source)
        ).fetchone()
        if row is None or not isinstance(row[0], bytes):
            raise CorruptStore(self.told(place), "it is missing")
        return pa.py_buffer(row[0])

    def branches(self) -> list[SegmentEntry]:
        """Every segment as it stands."""
        rows = self._connection.execute("SELECT id, last, sealed FROM segment").fetchall()
        return [self.catalog.standing(*row) for row in rows]

    def sealed_rows(self, branch: SegmentEntry) -> list[int]:
        """The ids of the rows that are there of a segment's sealed ticks, the newest of which tells what they wrote."""
        if branch.sealed < branch.first:
            return []
        ends = (row_id(branch.id, 0), row_id(branch.id, branch.sealed - branch.first))
        return [number for (number,) in self._connection.execute("SELECT id FROM tick WHERE id BETWEEN ? AND ?", ends)]

    def file_numbers(self) -> list[int]:
        """The ids of all files."""
        return [number for (number,) in self._connection.execute("SELECT id FROM file")]

    def file(self, number: int) -> str:
        """The name of a file."""
        return self.catalog.file(self._connection, number)

    def has(self, source: int) -> bool:
        """Whether the row with that source's bytes, or its file, is there."""
        where = "file WHERE id = ?" if source < 0 else "tick WHERE id = ? AND data IS NOT NULL"
        return self._connection.execute(f"SELECT 1 FROM {where}", (abs(source),)).fetchone() is not None

    def told(self, place: Place, column: str = "") -> str:
        """A place in words."""
        what = f"file {-place[0]}" if place[0] < 0 else f"row {place[0]}"
        return f"{self._path} {what} at {place[1]}{f' ({column})' if column else ''}"

    def _where(self, branch: SegmentEntry, tick: int) -> str:
        return f"{self._path} tick {tick} of world {branch.segment.name!r}"


class _Columns(Mapping[str, Column]):
    """A table's columns, each read when it is asked for."""

    __slots__ = ("_archetype", "_kept", "_places", "_view")

    def __init__(
        self, view: View, archetype: Archetype, places: Sequence[Place], kept: dict[Place, Column] | None
    ) -> None:
        self._view = view
        self._archetype = archetype
        self._places = places
        self._kept = kept

    def __getitem__(self, name: str) -> Column:
        index = self._archetype.schema.get_field_index(name)
        if index < 0:
            raise KeyError(name)
        place = self._places[index]
        found = None if self._kept is None else self._kept.get(place)
        if found is None:
            found = Column(self._view.column(place, self._archetype.schema.field(index)))
            if self._kept is not None:
                self._kept[place] = found
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._archetype.schema.names)

    def __len__(self) -> int:
        return len(self._archetype.schema)
