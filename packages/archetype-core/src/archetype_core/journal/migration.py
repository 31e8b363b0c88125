"""The versions of the journal's format: a new one is made, an old one brought forward, a newer one left alone."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from archetype_core.errors import CommitError, CorruptStore
from archetype_core.journal.catalog import SCHEMA, row_sum

VERSION = 2


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
    if version == 0 and not tables:
        create(connection)
    else:
        raise CorruptStore(str(path), f"its format is {version}, its tables are {', '.join(sorted(tables)) or 'none'}")
    connection.execute(f"PRAGMA user_version={VERSION}")


def create(connection: sqlite3.Connection) -> None:
    for statement in SCHEMA.split(";"):
        if statement.strip():
            connection.execute(statement)
    counts = (1, 0, 0, 0, 0, 0)
    connection.execute("INSERT INTO head VALUES (?, ?, ?, ?, ?, ?, ?)", (*counts, row_sum(counts)))
