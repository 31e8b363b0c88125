"""The version of the journal's format: a new journal gets it, a journal of any other version is refused."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from archetype_core.errors import CommitError, CorruptStore
from archetype_journal.catalog import create_tables
from archetype_journal.disk import sync_path

VERSION = 2

MARK = "journal.txt"
"""A note beside the database. Where it exists, an empty or missing database is damage, not a new journal."""
_NOTE = """This directory is a journal of Archetype: worlds, tick by tick. It is one database in several files; moving or
deleting one of them alone loses ticks. `archetype_journal.verify` checks it and changes nothing.
"""


def check_format(connection: sqlite3.Connection, path: Path) -> None:
    """Make a new database a journal of this version, inside a transaction; refuse a journal of another version."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if version == VERSION:
        return
    if version != 0:
        raise CommitError(
            f"journal {path} has format {version}, and this version of archetype-journal reads format {VERSION} only: "
            f"open it with a version that reads format {version}"
        )
    if tables or (path / MARK).exists():
        raise CorruptStore(str(path), f"it has no format version; its tables are {', '.join(sorted(tables)) or 'none'}")
    create_journal(connection)


def create_journal(connection: sqlite3.Connection) -> None:
    """Make an empty database a journal of this version."""
    create_tables(connection)
    connection.execute(f"PRAGMA user_version={VERSION}")


def write_mark(path: Path) -> None:
    """Write the note, durably, unless it exists."""
    if not (path / MARK).exists():
        (path / MARK).write_text(_NOTE)
        sync_path(path / MARK)
