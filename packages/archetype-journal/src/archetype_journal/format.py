"""The version of the journal's format: a new journal gets it, any other is refused."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from archetype_core.errors import CommitError, CorruptStore
from archetype_journal.catalog import create
from archetype_journal.database import sync_path

VERSION = 1

MARK = "journal.txt"
_NOTE = """This directory is a journal of Archetype: worlds, tick by tick. It is one database in several files; moving or
deleting one of them alone loses ticks. `archetype_journal.verify` looks at it and changes nothing.
"""


def check(connection: sqlite3.Connection, path: Path) -> None:
    """Make a new database a journal of this version, inside a transaction; refuse one of another version."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if version == VERSION:
        return
    if version > VERSION:
        raise CommitError(
            f"journal {path} has format {version}, this version reads {VERSION}: upgrade archetype-journal"
        )
    if version == 0 and not tables and not (path / MARK).exists():
        begin(connection)
    else:
        raise CorruptStore(str(path), f"its format is {version}, its tables are {', '.join(sorted(tables)) or 'none'}")


def begin(connection: sqlite3.Connection) -> None:
    """Make an empty journal of this version."""
    create(connection)
    connection.execute(f"PRAGMA user_version={VERSION}")


def mark(path: Path) -> None:
    """Leave a note that there is a journal, so that an empty database is never taken for a new one."""
    if not (path / MARK).exists():
        (path / MARK).write_text(_NOTE)
        sync_path(path / MARK)
