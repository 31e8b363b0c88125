"""Reads which ticks a journal holds, for adapters that compare it with their store. Changes nothing."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from archetype_core.errors import CorruptStore
from archetype_core.store import Segment
from archetype_journal.catalog import Catalog
from archetype_journal.durable_database import FILE, translate_error
from archetype_journal.format import MARK
from archetype_journal.read_only import read_connection
from archetype_journal.reader import View

IN_FRONT = "journal"
"""Where a local store keeps the journal in front of it: a directory in its own."""


@dataclass(frozen=True, slots=True)
class SegmentStatus:
    """One segment of a journal. Its ticks up to ``sealed`` are in the store beneath, those up to ``last`` only here.

    ``sealed`` is the tick before the segment's first while none is sealed.
    """

    segment: Segment
    last: int
    sealed: int


def has_journal(path: str | Path) -> bool:
    """Whether a directory holds a journal's database. Does not open it."""
    return (Path(path) / FILE).is_file()


def is_journal(path: str | Path) -> bool:
    """Whether a directory is a journal's, also one whose database is lost. Does not open it."""
    return has_journal(path) or (Path(path) / MARK).is_file()


def is_in_front(path: str | Path) -> bool:
    """Whether a directory is that of a Lance store with a journal in front, and not only one with a journal in it."""
    return is_journal(Path(path) / IN_FRONT) and (Path(path) / "_log").is_dir()


def read_segments(path: str | Path) -> tuple[SegmentStatus, ...]:
    """Read the status of every segment, oldest first; safe beside writers. Costs a read of the catalog, not of the ticks.

    ``CorruptStore`` if there is no journal or its catalog is damaged, ``CommitError`` if it cannot be read now.
    """
    path = Path(path)
    if not has_journal(path):
        raise CorruptStore(str(path / FILE), "the file is missing; restore it from a backup")
    try:
        with read_connection(path) as connection:
            connection.execute("BEGIN")
            catalog = Catalog(str(path))
            entries = View(path, catalog, connection, catalog.counts(connection)).segments()
    except sqlite3.Error as failure:
        raise translate_error(str(path), failure) from failure
    except UnicodeDecodeError as failure:
        raise CorruptStore(str(path), str(failure)) from failure
    return tuple(SegmentStatus(one.segment, one.last, one.sealed) for one in entries)
