"""Makes a damaged journal usable again, keeps the damaged one, and says what was lost.

The database is built anew from every row that is as it was written. No tick is dropped to get there: one whose row or
values are damaged goes on being refused to who reads it. Only ``roll_back`` takes ticks away, from worlds whose newest
state cannot be read, and only down to the newest that can.
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
from archetype_journal.catalog import Catalog, Counts, SegmentEntry, row_sum
from archetype_journal.database import FILE, FILES, sync_directory, sync_path
from archetype_journal.format import begin
from archetype_journal.inspection import Report, read_only, verify
from archetype_journal.open_handles import owners
from archetype_journal.reader import Beneath, View
from archetype_journal.record import Place, row_id, unpack

ASIDE = "damaged-"


@dataclass(slots=True)
class Repair:
    """What ``repair`` did: what it took away, where the database as it was is kept, and what is wrong still."""

    before: Report
    after: Report
    removed: tuple[str, ...] = ()
    aside: Path | None = None

    def __str__(self) -> str:
        if self.aside is None:
            return f"nothing was done\n{self.before}"
        removed = "".join(f"\n  {line}" for line in self.removed) or " nothing"
        return f"the database as it was is in {self.aside}\nremoved:{removed}\n{self.after}"


def repair(path: str | Path, *, roll_back: bool = False) -> Repair:
    """Rebuild a journal from all that is as it was written; ``CommitError`` while somebody has it open.

    Every tick that can be told from its damage stays. With ``roll_back`` a world whose newest state cannot be read goes back
    to the newest tick that can, and what grew from a later one goes too. The old database is kept beside the new one.
    """
    path = Path(path)
    if not any(path.glob(f"**/{FILE}")):
        raise CorruptStore(str(path / FILE), "it is not there, and neither is a copy of it")
    alive = [one.name for one in owners(path) if one.is_alive]
    if alive:
        raise CommitError(f"journal {path} cannot be repaired while it is open: {', '.join(alive)}")
    before = verify(path)
    if before.is_sound or (not roll_back and all(one.is_in_values for one in before.findings)):
        return Repair(before, before)
    aside = _put_aside(path)
    with closing(read_only(aside / FILE)) as connection:
        # SQLite then reads what there is of a database that was cut off, instead of nothing.
        connection.execute("PRAGMA writable_schema=ON")
        fresh = path / f"{FILE}.new"
        fresh.unlink(missing_ok=True)
        with closing(sqlite3.connect(fresh, isolation_level=None)) as target:
            salvage = _Salvage(path, connection, target)
            salvage.build(roll_back=roll_back)
    sync_path(fresh)
    fresh.rename(path / FILE)
    sync_directory(path)
    return Repair(before, verify(path), tuple(salvage.removed), aside)


def _put_aside(path: Path) -> Path:
    """Move the database's files where nobody opens them; goes on where an earlier attempt ended."""
    begun = sorted(path.glob(f"{ASIDE}*"))
    if (path / FILE).exists() or not begun:
        aside = path / f"{ASIDE}{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 10**9:09}"
        aside.mkdir()
    else:
        aside = begun[-1]
    # The database before its log: without the log it would open, with ticks missing.
    for name in FILES:
        if (path / name).exists():
            (path / name).rename(aside / name)
    sync_directory(aside)
    sync_directory(path)
    return aside


class _Salvage:
    """Builds a database from every row of another that is as it was written."""

    def __init__(self, path: Path, source: sqlite3.Connection, target: sqlite3.Connection) -> None:
        self._path = path
        self._source = source
        self._target = target
        self.removed: list[str] = []
        self._counts = self._read_counts()
        self._segments = self._rows("segment", self._counts.segments)
        self._whole: dict[Place, bool] = {}

    def build(self, *, roll_back: bool) -> None:
        """Fill the target."""
        self._target.execute("BEGIN")
        begin(self._target)
        forms = self._rows("form", self._counts.forms)
        if len(forms) < self._counts.forms:
            raise CorruptStore(str(self._path), "the schema of a table is lost: use a backup")
        for form in forms.values():
            self._insert("form", form)
        for file in self._rows("file", self._counts.files).values():
            self._insert("file", file)
        for number in range(1, self._counts.segments + 1):
            if number not in self._segments:
                self._lose(number, "its row is damaged")
        self._lose_orphans()
        for number in sorted(self._segments):
            self._insert("segment", self._segments[number])
            for tick, record, data in self._ticks(number):
                self._target.execute("INSERT INTO tick VALUES (?, ?, ?)", (tick, record, data))
        self._write_worlds()
        if roll_back:
            self._roll_back()
        self._target.execute("COMMIT")

    def _read_counts(self) -> Counts:
        """How many rows there were: as counted, or as far as any can be found."""
        head = self._row("head", 1)
        if head is not None and row_sum(head[:-1]) == head[-1]:
            return Counts(*head[1:-1])
        try:
            most = [
                int(self._source.execute(f"SELECT coalesce(max(id), 0) FROM {table}").fetchone()[0])
                for table in ("segment", "world", "form", "file")
            ]
        except (sqlite3.Error, UnicodeDecodeError) as failure:
            raise CorruptStore(
                str(self._path), f"neither the counts nor the tables can be read: {failure}"
            ) from failure
        return Counts(*most)

    def _row(self, table: str, number: int) -> tuple[Any, ...] | None:
        try:
            row: tuple[Any, ...] | None = self._source.execute(
                f"SELECT * FROM {table} WHERE id = ?", (number,)
            ).fetchone()
        except (sqlite3.Error, UnicodeDecodeError):
            return None
        return row

    def _rows(self, table: str, count: int) -> dict[int, tuple[Any, ...]]:
        """The rows of a table whose checksums are right, by id and without these."""
        rows = ((number, self._row(table, number)) for number in range(1, count + 1))
        return {number: row[:-1] for number, row in rows if row is not None and row_sum(row[:-1]) == row[-1]}

    def _ticks(self, number: int) -> Iterator[tuple[int, bytes | None, bytes | None]]:
        """The rows of a segment's ticks that tell what they wrote, and those that hold others' bytes."""
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
        self._target.execute(f"REPLACE INTO {table} VALUES ({marks})", (*values, row_sum(values)))

    def _write_worlds(self) -> None:
        """Every world goes on with its newest segment, and belongs to nobody."""
        active: dict[str, int] = {}
        for number, row in sorted(self._segments.items()):
            if not self._is_lost(number):
                active[row[1]] = number
        self._target.execute("DELETE FROM world")
        for index, (world_id, number) in enumerate(active.items(), 1):
            self._insert("world", (index, world_id, number, 1, "repair", ""))
        self._insert("head", (1, *astuple(replace(self._counts, worlds=len(active)))))

    def _lose(self, number: int, reason: str) -> None:
        """Put an empty segment in the place of one that is lost, so that ids keep having no gaps."""
        row = self._segments.get(number)
        what = f"world {row[6]!r} ({row[1]}), ticks {row[3]} to {row[8]}" if row else f"segment {number}"
        self.removed.append(f"{what}: {reason}")
        self._segments[number] = (number, f"lost-{number}", f"lost-{number}", 0, None, None, "lost", 0, -1, -1)

    def _is_lost(self, number: int) -> bool:
        return bool(self._segments[number][1] == f"lost-{number}")

    def _lose_orphans(self) -> None:
        """Lose what grew from a tick that is not there any more. Parents have lower ids than what grew from them."""
        for number in sorted(self._segments):
            parent, tick = self._segments[number][4:6]
            if parent is not None and self._segments[parent][8] < tick:
                self._lose(number, f"it grew from tick {tick} of segment {parent}, which is gone")

    def _roll_back(self) -> None:
        while True:
            catalog = Catalog(str(self._path))
            view = View(self._path, catalog, self._target, catalog.counts(self._target))
            cut = [(branch, last) for branch, last in self._newest(view) if last < branch.last]
            if not cut:
                return
            for branch, last in cut:
                row = self._segments[branch.id]
                if last < branch.first:
                    self._lose(branch.id, "none of its ticks can be read whole")
                else:
                    self.removed.append(f"world {row[6]!r} ({row[1]}), ticks {last + 1} to {branch.last}: unreadable")
                    self._segments[branch.id] = (*row[:8], last, row[9])
            self._lose_orphans()
            for number, row in self._segments.items():
                self._insert("segment", row)
                beyond = (row_id(number, row[8] - row[3]), row_id(number + 1, 0))
                self._target.execute("DELETE FROM tick WHERE id > ? AND id < ?", beyond)
            self._write_worlds()

    def _newest(self, view: View) -> Iterator[tuple[SegmentEntry, int]]:
        """The active segments of all worlds, and the newest tick of each at which everything can be read."""
        for world_id in view.worlds:
            branch = view.active(world_id)
            assert branch is not None
            ticks = range(branch.last, max(branch.sealed, branch.first - 1), -1)
            yield branch, next((tick for tick in ticks if self._is_whole(view, branch, tick)), ticks.stop)

    def _is_whole(self, view: View, branch: SegmentEntry, tick: int) -> bool:
        try:
            view.record(branch, tick)
            for table in view.tables(branch, tick).values():
                found = view.part(branch, table.id, tick)
                if found is not None and not isinstance(found, Beneath):
                    schema = Archetype.from_schema(table.schema).schema
                    for index, place in enumerate(found[2].places):
                        if place not in self._whole:
                            self._whole[place] = False
                            view.column(place, schema.field(index % len(schema)))
                            self._whole[place] = True
                        if not self._whole[place]:
                            return False
        except CorruptStore:
            return False
        return True
