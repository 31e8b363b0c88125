"""One SQLite connection shared by threads: transactions, reads, and the translation of SQLite's errors into ours."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from archetype_core.errors import CorruptStore, LedgerError
from archetype_gate import schema
from archetype_gate.audit_chain import Hasher, SealedTables, is_new, start_chain
from archetype_gate.ledger_key import LedgerKey, read_key
from archetype_gate.openers import Openers
from archetype_journal import use_wal

_BUSY_TIMEOUT_S = 30.0
"""How long to wait while another process holds the write lock."""

Connect = Callable[[str], sqlite3.Connection]
"""Opens a ledger's SQLite connection, given the path of its file or ``":memory:"``."""


def connect(path: str) -> sqlite3.Connection:
    """Open the file of a ledger and create or upgrade its tables.

    ``LedgerError`` if it cannot be opened, is of a newer release or of another program; ``CorruptStore`` if it is damaged.
    """
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_BUSY_TIMEOUT_S)
        try:
            use_wal(connection, _BUSY_TIMEOUT_S)
            connection.execute("PRAGMA synchronous = FULL")
            schema.migrate(connection, path)
        except BaseException:
            connection.close()
            raise
    except sqlite3.OperationalError as failure:
        raise LedgerError(f"{path} cannot be opened: {failure}") from failure
    except sqlite3.DatabaseError as failure:
        raise CorruptStore(path, str(failure)) from failure
    return connection


class LedgerDatabase:
    """The open file of a ledger. One thread uses the connection at a time; the others wait."""

    def __init__(self, path: str, key: LedgerKey, connect: Connect = connect, *, is_shared: bool = True) -> None:
        self.path = path
        self.lock = threading.RLock()
        self._connection = connect(path)
        self._openers = Openers(Path(path).with_suffix(".lock") if is_shared else None)
        try:
            with self._transaction() as connection:
                self.hasher = Hasher(read_key(key, path, is_new=is_new(connection)))
                start_chain(connection, self.hasher, path)
        except BaseException:
            self._openers.close()
            self._connection.close()
            raise

    def is_alone(self) -> bool:
        """Whether nobody else has the ledger open now, in this process or another."""
        # One at a time asks, because for a moment it holds no place among the openers.
        with self._transaction():
            return self._openers.is_only_one()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[SealedTables]:
        """Take the write lock for the block, and seal and commit at its end; roll back if it raises."""
        with self._transaction() as connection:
            tables = SealedTables(connection, self.hasher)
            yield tables
            tables.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self.lock, self._translated_errors():
            connection = self._connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    with contextlib.suppress(sqlite3.Error):
                        connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Hold the connection for several reads of one moment, to check what is stored.

        Text that is no UTF-8 is read with surrogates, so that its row is found changed and others can be read.
        """
        with self.lock, self._translated_errors():
            self._connection.execute("BEGIN")
            self._connection.text_factory = _lenient_text
            try:
                yield self._connection
            finally:
                self._connection.text_factory = str
                self._connection.execute("ROLLBACK")

    def read(self, query: str, values: Sequence[object] = ()) -> list[Any]:
        """Return all rows of one query."""
        with self.lock, self._translated_errors():
            return self._connection.execute(query, values).fetchall()

    def close(self) -> None:
        """Close the connection."""
        with self.lock:
            self._connection.close()
            self._openers.close()

    @contextlib.contextmanager
    def _translated_errors(self) -> Iterator[None]:
        try:
            yield
        except (UnicodeEncodeError, OverflowError) as failure:
            raise ValueError(f"a value cannot be stored: {failure}") from failure
        except sqlite3.DatabaseError as failure:
            is_damage = "decode to UTF-8" in str(failure)
            if isinstance(failure, sqlite3.OperationalError | sqlite3.ProgrammingError) and not is_damage:
                raise LedgerError(f"{self.path}: {failure}") from failure
            raise CorruptStore(self.path, str(failure)) from failure


def _lenient_text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
