"""Verifies a whole journal, byte by byte, and reports what is wrong with it. Changes nothing."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from archetype_core.errors import CommitError, CorruptStore
from archetype_core.schema import Archetype
from archetype_journal import wal_check
from archetype_journal.catalog import Catalog, SegmentEntry
from archetype_journal.durable_database import FILE, translate_error
from archetype_journal.open_handles import owners
from archetype_journal.read_only import read_connection
from archetype_journal.reader import View
from archetype_journal.record import TICK_BITS, Place, TableWrite, row_id


@dataclass(frozen=True, slots=True)
class JournalFinding:
    """One thing that is wrong: where, what, and which world and tick it affects if that is known."""

    place: str
    problem: str
    world: str | None = None
    tick: int | None = None
    loses_only_values: bool = False
    """Whether only values of a column or a continuation are lost; everything else of the tick can be read."""

    def __str__(self) -> str:
        at = "" if self.tick is None else f"tick {self.tick} of "
        return (
            f"{at}world {self.world!r}, {self.place}: {self.problem}" if self.world else f"{self.place}: {self.problem}"
        )


@dataclass(slots=True)
class JournalReport:
    """What ``verify`` found, and how much it read."""

    path: Path
    findings: list[JournalFinding] = field(default_factory=list)
    worlds: int = 0
    segments: int = 0
    ticks: int = 0
    columns: int = 0
    leftovers: tuple[str, ...] = ()
    """Files that a dead process left; harmless, and removed when the journal is next opened."""
    owners: tuple[str, ...] = ()
    """The processes that have the journal open."""

    @property
    def is_sound(self) -> bool:
        """Whether every byte that matters is as it was written."""
        return not self.findings

    def __str__(self) -> str:
        counts = f"{self.worlds} worlds, {self.segments} segments, {self.ticks} ticks, {self.columns} columns"
        if self.is_sound:
            return f"{self.path} is sound: {counts}"
        return "\n".join([f"{self.path} is damaged ({counts} checked):", *(f"  {one}" for one in self.findings)])


def verify(path: str | Path) -> JournalReport:
    """Check everything in a journal's directory. Costs a read of all of it; safe beside its writers.

    ``CommitError`` if the journal cannot be read now, which does not mean that it is damaged.
    """
    return _JournalInspection(Path(path)).run()


class _JournalInspection:
    """One pass over a journal."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._report = JournalReport(path)
        self._problems: dict[Place, str | None] = {}

    def run(self) -> JournalReport:
        """Check everything and return the report."""
        report = self._report
        file = self._path / FILE
        if not file.is_file():
            report.findings.append(JournalFinding(str(file), "the file is missing"))
            return report
        everybody = list(owners(self._path))
        report.owners = tuple(one.name for one in everybody if one.is_alive)
        if not report.owners and all(one.durability in ("tick", "") for one in everybody):
            log = file.with_name(FILE + "-wal")
            if wal_check.has_lost_transactions(log):
                problem = "whole transactions follow a frame with a wrong checksum"
                report.findings.append(JournalFinding(str(log), problem))
        try:
            with read_connection(self._path) as connection:
                connection.execute("BEGIN")
                self._check_database(connection)
                self._check_contents(connection)
        except sqlite3.Error as failure:
            error = translate_error(str(self._path), failure)
            if isinstance(error, CommitError):
                # It cannot be read now; that is no damage.
                raise error from failure
            report.findings.append(JournalFinding(str(file), str(failure)))
        except UnicodeDecodeError as failure:
            report.findings.append(JournalFinding(str(file), str(failure)))
        except CorruptStore as failure:
            report.findings.append(JournalFinding(failure.place, failure.reason))
        return report

    def _check_database(self, connection: sqlite3.Connection) -> None:
        for (line,) in connection.execute("PRAGMA integrity_check(100)"):
            if line != "ok":
                self._report.findings.append(JournalFinding(str(self._path / FILE), str(line)))

    def _check_contents(self, connection: sqlite3.Connection) -> None:
        report = self._report
        catalog = Catalog(str(self._path))
        counts = catalog.counts(connection)
        report.worlds, report.segments = counts.worlds, counts.segments
        view = View(self._path, catalog, connection, counts)
        for number in range(1, counts.segments + 1):
            try:
                entry = view.segment(number)
            except CorruptStore as failure:
                report.findings.append(JournalFinding(failure.place, failure.reason))
            else:
                self._check_segment(connection, view, entry)
        for world_id in view.worlds:
            self._check_world(view, world_id)
        self._check_files(view)

    def _check_segment(self, connection: sqlite3.Connection, view: View, entry: SegmentEntry) -> None:
        beyond = (row_id(entry.id, entry.last - entry.first), row_id(entry.id + 1, 0))
        for (number,) in connection.execute("SELECT id FROM tick WHERE id > ? AND id < ?", beyond):
            tick = entry.first + (number & ((1 << TICK_BITS) - 1))
            self._add(entry, tick, str(self._path), f"row {number} is after the end of its segment")
        begin = max(entry.first, entry.sealed)
        for tick in range(begin, entry.last + 1):
            try:
                writes = view.record(entry, tick).writes.items()
                if tick > entry.sealed:
                    self._report.ticks += 1
                    for table_id, write in writes:
                        self._check_write(view, entry, tick, table_id, write)
                    self._check_continuation(view, entry, tick)
            except CorruptStore as failure:
                self._add(entry, tick, failure.place, failure.reason)

    def _check_continuation(self, view: View, entry: SegmentEntry, tick: int) -> None:
        try:
            view.continuation(entry, tick)
        except CorruptStore as failure:
            self._add(entry, tick, f"{failure.place}, the continuation", failure.reason, loses_only_values=True)

    def _check_write(self, view: View, entry: SegmentEntry, tick: int, table_id: int, write: TableWrite) -> None:
        archetype = Archetype.from_schema(view.catalog.table(table_id).schema)
        width = len(archetype.schema)
        lengths = [write.live] * (width if write.live else 0) + [write.tombstones] * (width if write.tombstones else 0)
        if len(lengths) != len(write.places):
            self._add(entry, tick, archetype.name, f"it has {len(write.places)} columns instead of {len(lengths)}")
            return
        for index, (place, length) in enumerate(zip(write.places, lengths, strict=True)):
            column = archetype.schema.field(index % width)
            if place not in self._problems:
                self._report.columns += 1
                self._problems[place] = _column_problem(view, place, column, length)
            problem = self._problems[place]
            if problem is not None:
                where = f"{view.describe(place)}, {column.name} of {archetype.name}"
                self._add(entry, tick, where, problem, loses_only_values=True)

    def _check_world(self, view: View, world_id: str) -> None:
        try:
            active = view.active_segment(world_id)
            if active is not None:
                for table in view.tables(active, active.last).values():
                    view.find_write(active, table.id, active.last)
        except CorruptStore as failure:
            self._report.findings.append(JournalFinding(failure.place, failure.reason, world_id))

    def _check_files(self, view: View) -> None:
        known = {view.file_name(number) for number in view.file_ids()}
        for name in sorted(known):
            if not (self._path / name).is_file():
                self._report.findings.append(JournalFinding(str(self._path / name), "the file is missing"))
        present = sorted(path.name for path in self._path.glob("*.chunk"))
        self._report.leftovers = tuple(name for name in present if name not in known)

    def _add(
        self, entry: SegmentEntry, tick: int, place: str, problem: str, *, loses_only_values: bool = False
    ) -> None:
        world = entry.segment.name
        self._report.findings.append(JournalFinding(place, problem, world, tick, loses_only_values))


def _column_problem(view: View, place: Place, column: pa.Field, length: int) -> str | None:
    try:
        found = len(view.read_column(place, column))
    except CorruptStore as failure:
        return failure.reason
    return None if found == length else f"it has {found} values instead of {length}"
