"""The versions of the journal's format: a new one is made, an old one brought forward, a newer one left alone."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from archetype_core.errors import CommitError, CorruptStore
from archetype_core.journal import legacy
from archetype_core.journal.catalog import create
from archetype_core.journal.database import sync_path

VERSION = 2


MARK = "journal.txt"
_NOTE = """This directory is a journal of Archetype: worlds, tick by tick. It is one database in several files; moving or
deleting one of them alone loses ticks. `archetype_core.journal.verify` looks at it and changes nothing.
"""


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring a database to this version, inside a transaction; ``CommitError`` if it is of a later one."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if version == VERSION:
        return
    if version > VERSION:
        raise CommitError(
            f"journal {path} has format {version}, this version knows up to {VERSION}: upgrade archetype-core"
        )
    if version == 0 and not tables and not (path / MARK).exists():
        begin(connection)
    elif version == 1 and "part" in tables:
        legacy.convert(connection)
        connection.execute(f"PRAGMA user_version={VERSION}")
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
