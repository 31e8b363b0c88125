"""Walks a whole journal, byte by byte, and says what is wrong with it; changes nothing."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa

from archetype_core.errors import CommitError, CorruptStore
from archetype_core.schema import Archetype
from archetype_journal import wal
from archetype_journal.catalog import Catalog, SegmentEntry
from archetype_journal.database import FILE, translated
from archetype_journal.open_handles import owners
from archetype_journal.reader import View
from archetype_journal.record import TICK_BITS, Part, Place, row_id


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it was written: where, and what about it; of which world and tick, if that is known."""

    place: str
    problem: str
    world: str | None = None
    tick: int | None = None
    is_in_values: bool = False
    """Whether only values are lost: the tick, its tables and everything else in it are there."""

    def __str__(self) -> str:
        at = "" if self.tick is None else f"tick {self.tick} of "
        return (
            f"{at}world {self.world!r}, {self.place}: {self.problem}" if self.world else f"{self.place}: {self.problem}"
        )


@dataclass(slots=True)
class Report:
    """What ``verify`` saw."""

    path: Path
    findings: list[Finding] = field(default_factory=list)
    worlds: int = 0
    segments: int = 0
    ticks: int = 0
    columns: int = 0
    leftovers: tuple[str, ...] = ()
    """Files that a dead process left behind; harmless, and removed when the journal is next opened."""
    owners: tuple[str, ...] = ()
    """Who has the journal open."""

    @property
    def is_sound(self) -> bool:
        """Whether every byte that matters is as it was written."""
        return not self.findings

    def __str__(self) -> str:
        counts = f"{self.worlds} worlds, {self.segments} segments, {self.ticks} ticks, {self.columns} columns"
        if self.is_sound:
            return f"{self.path} is sound: {counts}"
        return "\n".join([f"{self.path} is damaged ({counts} looked at):", *(f"  {one}" for one in self.findings)])


def verify(path: str | Path) -> Report:
    """Look at everything in a journal's directory. Costs a read of all of it; may run beside its writers."""
    return Inspection(Path(path)).run()


def read_only(path: Path) -> sqlite3.Connection:
    """A connection that can change nothing, not even tidy up after a process that died."""
    # Without a log, and where none can be begun, nobody writes.
    is_still = not path.with_name(f"{FILE}-wal").exists() and not os.access(path.parent, os.W_OK)
    how = "immutable=1" if is_still else "mode=ro"
    # With an authority, which is empty: a path may begin with two slashes.
    return sqlite3.connect(f"file://{quote(str(path.absolute()))}?{how}", uri=True, isolation_level=None, timeout=30.0)


class Inspection:
    """One walk through a journal."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._report = Report(path)
        self._seen: dict[Place, str | None] = {}

    def run(self) -> Report:
        """All there is to say."""
        report = self._report
        file = self._path / FILE
        if not file.is_file():
            report.findings.append(Finding(str(file), "it is not there"))
            return report
        everybody = list(owners(self._path))
        report.owners = tuple(one.name for one in everybody if one.is_alive)
        if not report.owners and all(one.durability in ("tick", "") for one in everybody):
            log = file.with_name(FILE + "-wal")
            if wal.is_cut(log):
                report.findings.append(Finding(str(log), "whole transactions follow one that does not check"))
        try:
            with closing(read_only(file)) as connection:
                connection.execute("BEGIN")
                self._structure(connection)
                self._contents(connection)
        except sqlite3.Error as failure:
            told = translated(str(self._path), failure)
            if isinstance(told, CommitError):
                # That it cannot be looked at does not say that anything is wrong with it.
                raise told from failure
            report.findings.append(Finding(str(file), str(failure)))
        except UnicodeDecodeError as failure:
            report.findings.append(Finding(str(file), str(failure)))
        except CorruptStore as failure:
            report.findings.append(Finding(failure.place, failure.reason))
        return report

    def _structure(self, connection: sqlite3.Connection) -> None:
        for (line,) in connection.execute("PRAGMA integrity_check(100)"):
            if line != "ok":
                self._report.findings.append(Finding(str(self._path / FILE), str(line)))

    def _contents(self, connection: sqlite3.Connection) -> None:
        report = self._report
        catalog = Catalog(str(self._path))
        counts = catalog.counts(connection)
        report.worlds, report.segments = counts.worlds, counts.segments
        view = View(self._path, catalog, connection, counts)
        for number in range(1, counts.segments + 1):
            try:
                branch = view.branch(number)
            except CorruptStore as failure:
                report.findings.append(Finding(failure.place, failure.reason))
            else:
                self._segment(connection, view, branch)
        for world_id in view.worlds:
            self._world(view, world_id)
        self._files(view)

    def _segment(self, connection: sqlite3.Connection, view: View, branch: SegmentEntry) -> None:
        beyond = (row_id(branch.id, branch.last - branch.first), row_id(branch.id + 1, 0))
        for (number,) in connection.execute("SELECT id FROM tick WHERE id > ? AND id < ?", beyond):
            tick = branch.first + (number & ((1 << TICK_BITS) - 1))
            self._found(branch, tick, str(self._path), f"row {number} lies behind the end of its segment")
        begin = max(branch.first, branch.sealed)
        for tick in range(begin, branch.last + 1):
            try:
                record = view.record(branch, tick)
                parts = record.parts.items()
                if tick > branch.sealed:
                    self._report.ticks += 1
                    for form, part in parts:
                        self._part(view, branch, tick, form, part)
            except CorruptStore as failure:
                self._found(branch, tick, failure.place, failure.reason)

    def _part(self, view: View, branch: SegmentEntry, tick: int, form: int, part: Part) -> None:
        archetype = Archetype.from_schema(view.catalog.table(form).schema)
        width = len(archetype.schema)
        counts = [part.live] * (width if part.live else 0) + [part.gone] * (width if part.gone else 0)
        if len(counts) != len(part.places):
            self._found(branch, tick, archetype.name, f"{len(part.places)} columns of {len(counts)}")
            return
        for index, (place, count) in enumerate(zip(part.places, counts, strict=True)):
            column = archetype.schema.field(index % width)
            if place not in self._seen:
                self._report.columns += 1
                self._seen[place] = _problem(view, place, column, count)
            problem = self._seen[place]
            if problem is not None:
                what = f"{view.told(place)}, {column.name} of {archetype.name}"
                self._found(branch, tick, what, problem, is_in_values=True)

    def _world(self, view: View, world_id: str) -> None:
        try:
            active = view.active(world_id)
            if active is not None:
                for table in view.tables(active, active.last).values():
                    view.part(active, table.id, active.last)
        except CorruptStore as failure:
            self._report.findings.append(Finding(failure.place, failure.reason, world_id))

    def _files(self, view: View) -> None:
        known = {view.file(number) for number in view.file_numbers()}
        for name in sorted(known):
            if not (self._path / name).is_file():
                self._report.findings.append(Finding(str(self._path / name), "it is not there"))
        there = sorted(path.name for path in self._path.glob("*.chunk"))
        self._report.leftovers = tuple(name for name in there if name not in known)

    def _found(self, branch: SegmentEntry, tick: int, place: str, problem: str, *, is_in_values: bool = False) -> None:
        world = branch.segment.name
        self._report.findings.append(Finding(place, problem, world, tick, is_in_values))


def _problem(view: View, place: Place, column: pa.Field, count: int) -> str | None:
    try:
        length = len(view.column(place, column))
    except CorruptStore as failure:
        return failure.reason
    return None if length == count else f"it has {length} values of {count}"
