"""The journal's SQLite database: its schema, its connections, and who may write.

SQLite in WAL mode with ``synchronous=FULL`` is the commit point of a tick, so there is no recovery code of our own: a
transaction is there whole or not at all.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from archetype_core.errors import CommitError, CorruptStore

VERSION = 1
FILE = "journal.sqlite"

_SCHEMA = """
CREATE TABLE segment (
    id INTEGER PRIMARY KEY, world_id TEXT NOT NULL, run_id TEXT NOT NULL, first_tick INTEGER NOT NULL,
    parent INTEGER REFERENCES segment, parent_tick INTEGER, name TEXT NOT NULL, seed INTEGER NOT NULL,
    UNIQUE (world_id, run_id)
);
CREATE TABLE world (
    world_id TEXT PRIMARY KEY, segment INTEGER NOT NULL REFERENCES segment, tick INTEGER NOT NULL, owner TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE form (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, crc INTEGER NOT NULL, schema BLOB NOT NULL);
CREATE TABLE tick (
    segment INTEGER NOT NULL REFERENCES segment, tick INTEGER NOT NULL, next_entity_id INTEGER NOT NULL, applied BLOB,
    PRIMARY KEY (segment, tick)
) WITHOUT ROWID;
CREATE TABLE part (
    segment INTEGER NOT NULL REFERENCES segment, form INTEGER NOT NULL REFERENCES form, tick INTEGER NOT NULL,
    live INTEGER NOT NULL, gone INTEGER NOT NULL, places BLOB NOT NULL, crc INTEGER NOT NULL,
    PRIMARY KEY (segment, form, tick)
) WITHOUT ROWID;
CREATE TABLE chunk (id INTEGER PRIMARY KEY, size INTEGER NOT NULL, file TEXT, data BLOB);
"""


class Database:
    """One journal directory: a connection to write with, and one to read with for every thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._readers = threading.local()
        self._open: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        try:
            path.mkdir(parents=True, exist_ok=True)
            self.writer = self._connect()
            self._prepare()
        except (OSError, sqlite3.OperationalError) as failure:
            raise CommitError(f"journal {path} cannot be opened: {failure}") from failure
        except sqlite3.DatabaseError as failure:
            raise CorruptStore(str(path / FILE), str(failure)) from failure

    def _connect(self) -> sqlite3.Connection:
        # Autocommit: transactions are begun and ended by hand, where they belong.
        connection = sqlite3.connect(self.path / FILE, timeout=30.0, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=OFF")
        with self._lock:
            self._open.append(connection)
        return connection

    def _prepare(self) -> None:
        with self.transaction() as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > VERSION:
                raise CommitError(
                    f"journal {self.path} has format {version}, this version knows up to {VERSION}: upgrade archetype-core"
                )
            if version == 0:
                for statement in _SCHEMA.split(";"):
                    if statement.strip():
                        connection.execute(statement)
                connection.execute(f"PRAGMA user_version={VERSION}")
        sync_directory(self.path)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Everything inside happens, on disk when this returns, or nothing does."""
        connection = self.writer
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            # A failed COMMIT leaves the transaction open; a full disk may have ended it already.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def reader(self) -> sqlite3.Connection:
        """The connection of the calling thread to read with."""
        found: sqlite3.Connection | None = getattr(self._readers, "connection", None)
        if found is None:
            found = self._readers.connection = self._connect()
        return found

    def close(self) -> None:
        """Close every connection; idempotent."""
        with self._lock:
            connections, self._open = self._open, []
        for connection in connections:
            connection.close()


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable, as ``fsync`` of a file does not."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
