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
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from typing import Any

from archetype_core.archetype import Archetype
from archetype_core.errors import CommitError, CorruptStore
from archetype_core.journal.catalog import Branch, Catalog, Counts, row_sum
from archetype_core.journal.database import FILE, FILES, sync_directory, sync_path
from archetype_core.journal.inspection import Report, read_only, verify
from archetype_core.journal.migration import create
from archetype_core.journal.owner import owners
from archetype_core.journal.reader import Beneath, View
from archetype_core.journal.record import Place, row_id, unpack

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
    alive = [one.name for one in owners(path) if one.is_alive]
    if alive:
        raise CommitError(f"journal {path} cannot be repaired while it is open: {', '.join(alive)}")
    before = verify(path)
    if before.is_sound or (not roll_back and all(one.is_in_values for one in before.findings)):
        return Repair(before, before)
    aside = _put_aside(path)
    with closing(read_only(aside / FILE)) as connection:
        salvage = _Salvage(path, connection, roll_back=roll_back)
        fresh = path / f"{FILE}.new"
        fresh.unlink(missing_ok=True)
        with closing(sqlite3.connect(fresh, isolation_level=None)) as target:
            salvage.write(target)
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
    if not (aside / FILE).exists():
        raise CorruptStore(str(path / FILE), "it is not there, and neither is a copy of it")
    return aside


class _Salvage:
    """Every row that is as it was written, and what to do about the others."""

    def __init__(self, path: Path, connection: sqlite3.Connection, *, roll_back: bool) -> None:
        self._path = path
        self._connection = connection
        self.removed: list[str] = []
        self._tables = {table: self._rows(table) for table in ("segment", "world", "form", "file")}
        self._forms()
        self._segments = {row[0]: row for row in self._tables["segment"].values()}
        for number in range(1, max(self._segments, default=0) + 1):
            if number not in self._segments:
                self._lose(number, "its row is damaged")
        self._orphans()
        self._whole: dict[Place, bool] = {}
        if roll_back:
            self._roll_back()

    def _rows(self, table: str) -> dict[int, tuple[Any, ...]]:
        """The rows of a table whose checksums are right, by id."""
        found: dict[int, tuple[Any, ...]] = {}
        for number in range(1, self._count(table) + 1):
            row = self._row(table, number)
            if row is not None and row_sum(row[:-1]) == row[-1]:
                found[number] = row[:-1]
        return found

    def _row(self, table: str, number: int) -> tuple[Any, ...] | None:
        try:
            row: tuple[Any, ...] | None = self._connection.execute(
                f"SELECT * FROM {table} WHERE id = ?", (number,)
            ).fetchone()
        except sqlite3.DatabaseError:
            return None
        return row

    def _count(self, table: str) -> int:
        """How many rows there were: as counted, or as far as any can be found."""
        head = self._row("head", 1)
        if head is not None and row_sum(head[:-1]) == head[-1]:
            counts = Counts(*head[1:-1])
            return {
                "segment": counts.segments,
                "world": counts.worlds,
                "form": counts.forms,
                "file": counts.files,
            }[table]
        try:
            return int(self._connection.execute(f"SELECT coalesce(max(id), 0) FROM {table}").fetchone()[0])
        except sqlite3.DatabaseError as failure:
            raise CorruptStore(str(self._path), f"neither the counts nor table {table} can be read") from failure

    def _forms(self) -> None:
        lost = set(range(1, self._count("form") + 1)) - self._tables["form"].keys()
        if lost:
            raise CorruptStore(str(self._path), f"the schemas of tables {sorted(lost)} are lost: use a backup")

    def _lose(self, number: int, reason: str) -> None:
        """Put an empty segment in the place of one that is lost, so that ids keep having no gaps."""
        row = self._segments.get(number)
        name = f"world {row[6]!r} ({row[1]}), ticks {row[3]} to {row[8]}" if row else f"segment {number}"
        self.removed.append(f"{name}: {reason}")
        self._segments[number] = (number, f"lost-{number}", f"lost-{number}", 0, None, None, "lost", 0, -1, -1)

    def _is_lost(self, number: int) -> bool:
        return bool(self._segments[number][1] == f"lost-{number}")

    def _orphans(self) -> None:
        """Lose what grew from a tick that is not there any more; parents have lower ids than what grew from them."""
        for number in sorted(self._segments):
            row = self._segments[number]
            parent, tick = row[4], row[5]
            if not self._is_lost(number) and parent is not None and self._segments[parent][8] < tick:
                self._lose(number, f"it grew from tick {tick} of segment {parent}, which is gone")

    def _roll_back(self) -> None:
        for number in sorted(self._segments):
            if self._is_lost(number) or not self._is_active(number):
                continue
            row = self._segments[number]
            branch, view = self._branch(number)
            last = next((tick for tick in range(branch.last, branch.sealed, -1) if self._is_whole(view, branch, tick)), branch.sealed)
            if last == branch.last:
                continue
            if last < branch.first:
                self._lose(number, "none of its ticks can be read whole")
            else:
                self._segments[number] = (*row[:8], last, row[9])
                self.removed.append(f"world {row[6]!r} ({row[1]}), ticks {last + 1} to {branch.last}")
            self._orphans()
