"""Rebuilds a damaged journal from every undamaged row, keeps the damaged database, and reports what was removed.

No tick is dropped for the rebuild: reading a damaged one still raises. Only ``roll_back`` removes ticks, from worlds whose
newest state cannot be read, down to the newest tick that can.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

from archetype_core.errors import CommitError, CorruptStore
from archetype_core.schema import Archetype
from archetype_journal.catalog import Catalog, Counts, SegmentEntry, row_checksum
from archetype_journal.disk import sync_directory, sync_path
from archetype_journal.durable_database import FILE, FILES, connect_read_only
from archetype_journal.format import create_journal
from archetype_journal.inspection import JournalReport, verify
from archetype_journal.open_handles import owners
from archetype_journal.reader import SealedWrite, View
from archetype_journal.record import Place, row_id, unpack

_DAMAGED = "damaged-"
"""The prefix of the directory that keeps the old database."""


@dataclass(slots=True)
class Repair:
    """What ``repair`` did: what it removed, where the old database is kept, and what is still wrong."""

    before: JournalReport
    after: JournalReport
    removed: tuple[str, ...] = ()
    """The worlds and ticks that were removed, in words."""
    kept_in: Path | None = None
    """The directory with the old database; ``None`` if nothing was done."""

    def __str__(self) -> str:
        if self.kept_in is None:
            return f"nothing was done\n{self.before}"
        removed = "".join(f"\n  {line}" for line in self.removed) or " nothing"
        return f"the old database is in {self.kept_in}\nremoved:{removed}\n{self.after}"


def repair(path: str | Path, *, roll_back: bool = False) -> Repair:
    """Rebuild a journal's database from every undamaged row, and keep the old one beside it.

    Every tick with an undamaged row stays. ``roll_back`` also takes each world whose newest state cannot be read back to its
    newest tick that can, and removes what was forked from a later one. ``CommitError`` while the journal is open,
    ``CorruptStore`` if there is no database or the schema of a table is lost.
    """
    path = Path(path)
    if not any(path.glob(f"**/{FILE}")):
        raise CorruptStore(
            str(path / FILE), "the file is missing, and there is no copy of it; restore it from a backup"
        )
    alive = [one.name for one in owners(path) if one.is_alive]
    if alive:
        raise CommitError(
            f"journal {path} cannot be repaired while it is open: {', '.join(alive)}; close it there first"
        )
    before = verify(path)
    if before.is_sound or (not roll_back and all(one.loses_only_values for one in before.findings)):
        return Repair(before, before)
    kept_in = _move_database(path)
    with closing(connect_read_only(kept_in / FILE)) as connection:
        # Makes SQLite read what is left of a truncated database, instead of refusing it.
        connection.execute("PRAGMA writable_schema=ON")
        new = path / f"{FILE}.new"
        new.unlink(missing_ok=True)
        with closing(sqlite3.connect(new, isolation_level=None)) as target:
            rebuild = _Rebuild(path, connection, target)
            rebuild.run(roll_back=roll_back)
    sync_path(new)
    new.rename(path / FILE)
    sync_directory(path)
    return Repair(before, verify(path), tuple(rebuild.removed), kept_in)


def _move_database(path: Path) -> Path:
    """Move the database's files into a directory of their own; continues an attempt that was interrupted."""
    earlier = sorted(path.glob(f"{_DAMAGED}*"))
    if (path / FILE).exists() or not earlier:
        kept_in = path / f"{_DAMAGED}{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 10**9:09}"
        kept_in.mkdir()
    else:
        kept_in = earlier[-1]
    # The database before its log: it would open without its log, and ticks would be missing.
    for name in FILES:
        if (path / name).exists():
            (path / name).rename(kept_in / name)
    sync_directory(kept_in)
    sync_directory(path)
    return kept_in


class _Rebuild:
    """Fills a new database with every undamaged row of another."""

    def __init__(self, path: Path, source: sqlite3.Connection, target: sqlite3.Connection) -> None:
        self._path = path
        self._source = source
        self._target = target
        self.removed: list[str] = []
        self._counts = self._read_counts()
        self._segments = self._rows("segment", self._counts.segments)
        self._is_readable: dict[Place, bool] = {}

    def run(self, *, roll_back: bool) -> None:
        """Fill the target."""
        self._target.execute("BEGIN")
        create_journal(self._target)
        tables = self._rows("table_schema", self._counts.tables)
        if len(tables) < self._counts.tables:
            raise CorruptStore(str(self._path), "the schema of a table is lost; restore the journal from a backup")
        for table in tables.values():
            self._insert("table_schema", table)
        for file in self._rows("file", self._counts.files).values():
            self._insert("file", file)
        for number in range(1, self._counts.segments + 1):
            if number not in self._segments:
                self._remove_segment(number, "its row is damaged")
        self._remove_orphans()
        for number in sorted(self._segments):
            self._insert("segment", self._segments[number])
            for tick, record, data in self._ticks(number):
                self._target.execute("INSERT INTO tick VALUES (?, ?, ?)", (tick, record, data))
        self._write_worlds()
        if roll_back:
            self._roll_back()
        self._target.execute("COMMIT")

    def _read_counts(self) -> Counts:
        """How many rows there were: as counted, or else by the highest id of each kind."""
        row = self._row("counts", 1)
        if row is not None and row_checksum(row[:-1]) == row[-1]:
            return Counts(*row[1:-1])
        try:
            highest = [
                int(self._source.execute(f"SELECT coalesce(max(id), 0) FROM {table}").fetchone()[0])
                for table in ("segment", "world", "table_schema", "file")
            ]
        except (sqlite3.Error, UnicodeDecodeError) as failure:
            raise CorruptStore(
                str(self._path),
                f"neither its counts nor its tables can be read ({failure}); restore it from a backup",
            ) from failure
        return Counts(*highest)

    def _row(self, table: str, number: int) -> tuple[Any, ...] | None:
        try:
            row: tuple[Any, ...] | None = self._source.execute(
                f"SELECT * FROM {table} WHERE id = ?", (number,)
            ).fetchone()
        except (sqlite3.Error, UnicodeDecodeError):
            return None
        return row

    def _rows(self, table: str, count: int) -> dict[int, tuple[Any, ...]]:
        """The undamaged rows of a table, by id and without their checksums."""
        rows = ((number, self._row(table, number)) for number in range(1, count + 1))
        return {number: row[:-1] for number, row in rows if row is not None and row_checksum(row[:-1]) == row[-1]}

    def _ticks(self, number: int) -> Iterator[tuple[int, bytes | None, bytes | None]]:
        """The rows of a segment's ticks that have a whole record, and sealed ones whose bytes later ticks may use."""
        first, last, sealed = (self._segments[number][index] for index in (3, 8, 9))
        for tick in range(first, last + 1):
            key = row_id(number, tick - first)
            row = self._row("tick", key)
            if row is None:
                continue
            try:
                unpack(key, row[1], "")
            except CorruptStore:
                if tick >= sealed or row[2] is None:
                    continue
            yield row[0], row[1], row[2]

    def _insert(self, table: str, values: tuple[Any, ...]) -> None:
        marks = ", ".join("?" * (len(values) + 1))
        self._target.execute(f"REPLACE INTO {table} VALUES ({marks})", (*values, row_checksum(values)))

    def _write_worlds(self) -> None:
        """Write every world with its newest segment, and with no handle as its writer."""
        active: dict[str, int] = {}
        for number, row in sorted(self._segments.items()):
            if not self._is_removed(number):
                active[row[1]] = number
        self._target.execute("DELETE FROM world")
        for index, (world_id, number) in enumerate(active.items(), 1):
            self._insert("world", (index, world_id, number, 1, "repair", ""))
        self._insert("counts", (1, *astuple(replace(self._counts, worlds=len(active)))))

    def _remove_segment(self, number: int, reason: str) -> None:
        """Replace a segment with an empty one, so that ids have no gaps."""
        row = self._segments.get(number)
        what = f"world {row[6]!r} ({row[1]}), ticks {row[3]} to {row[8]}" if row else f"segment {number}"
        self.removed.append(f"{what}: {reason}")
        self._segments[number] = (number, f"lost-{number}", f"lost-{number}", 0, None, None, "lost", 0, -1, -1)

    def _is_removed(self, number: int) -> bool:
        return bool(self._segments[number][1] == f"lost-{number}")

    def _remove_orphans(self) -> None:
        """Remove the segments whose parent lacks the tick that they start from. Parents have lower ids."""
        for number in sorted(self._segments):
            parent, tick = self._segments[number][4:6]
            if parent is not None and self._segments[parent][8] < tick:
                self._remove_segment(number, f"it starts from tick {tick} of segment {parent}, which was removed")

    def _roll_back(self) -> None:
        while True:
            catalog = Catalog(str(self._path))
            view = View(self._path, catalog, self._target, catalog.counts(self._target))
            unreadable = [(entry, last) for entry, last in self._newest_readable(view) if last < entry.last]
            if not unreadable:
                return
            for entry, last in unreadable:
                row = self._segments[entry.id]
                if last < entry.first:
                    self._remove_segment(entry.id, "none of its ticks can be read completely")
                else:
                    self.removed.append(f"world {row[6]!r} ({row[1]}), ticks {last + 1} to {entry.last}: unreadable")
                    self._segments[entry.id] = (*row[:8], last, row[9])
            self._remove_orphans()
            for number, row in self._segments.items():
                self._insert("segment", row)
                beyond = (row_id(number, row[8] - row[3]), row_id(number + 1, 0))
                self._target.execute("DELETE FROM tick WHERE id > ? AND id < ?", beyond)
            self._write_worlds()

    def _newest_readable(self, view: View) -> Iterator[tuple[SegmentEntry, int]]:
        """The active segment of every world, and its newest tick at which everything can be read."""
        for world_id in view.worlds:
            entry = view.active_segment(world_id)
            assert entry is not None
            ticks = range(entry.last, max(entry.sealed, entry.first - 1), -1)
            yield entry, next((tick for tick in ticks if self._can_read(view, entry, tick)), ticks.stop)

    def _can_read(self, view: View, entry: SegmentEntry, tick: int) -> bool:
        """Whether the state of a world at a tick can be read completely."""
        try:
            view.continuation(entry, tick)
            for table in view.tables(entry, tick).values():
                found = view.find_write(entry, table.id, tick)
                if found is not None and not isinstance(found, SealedWrite):
                    schema = Archetype.from_schema(table.schema).schema
                    for index, place in enumerate(found[2].places):
                        if place not in self._is_readable:
                            self._is_readable[place] = False
                            view.read_column(place, schema.field(index % len(schema)))
                            self._is_readable[place] = True
                        if not self._is_readable[place]:
                            return False
        except CorruptStore:
            return False
        return True
