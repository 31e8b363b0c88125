"""The journal's SQLite database: its connections, its transactions, and SQLite's errors as ours.

A transaction of SQLite in WAL mode is the commit point of a tick: it is there whole or not at all, and the journal needs no
recovery code of its own.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from archetype_core.config import CacheConfig
from archetype_core.errors import CommitError, CorruptStore, StoreClosed
from archetype_journal import wal_check
from archetype_journal.background import BackgroundTask
from archetype_journal.disk import Disk, make_directory, rewrite_file
from archetype_journal.open_handles import check_writable

FILE = "journal.sqlite"
FILES = (FILE, f"{FILE}-wal", f"{FILE}-shm")
_WAL = FILES[1]
_CHECKPOINT_BYTES = 4 * 1024 * 1024
_PAGE_BYTES = 4096
_MAX_IDLE = 16
"""This many read connections are kept for the next reader."""
_BUSY_TIMEOUT_S = 30
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_MISMATCH})
_REMEDIES = {
    sqlite3.SQLITE_FULL: "free some space and step again; nothing is lost",
    sqlite3.SQLITE_READONLY: "the journal can be read but not written; make it writable and open it again",
    sqlite3.SQLITE_IOERR: "the disk failed; step again once it works, or open the journal again",
    sqlite3.SQLITE_CANTOPEN: "check that the directory exists, is writable, and that the process has file descriptors left",
}
_log = logging.getLogger("archetype.journal")


class TransactionInDoubt(CommitError):
    """COMMIT failed when all pages may have been in the log: readers do not see the transaction, but a recovery may find it.

    Until another transaction takes its place in the log, a recovery after a crash reads the log to its end and may find it
    whole. If the disk is full, the last page is missing, and the transaction is certainly lost.
    """


class Database:
    """One journal's database: one connection to write, and one per concurrent reader.

    ``is_synced`` says that the last writer synced every commit, so that only the last transaction can be torn.
    """

    def __init__(self, path: Path, cache: CacheConfig, *, disk: Disk, is_synced: bool) -> None:
        self.path = path
        self.name = str(path / FILE)
        self._cache = cache
        self._disk = disk
        self._lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._is_open = True
        self.write_lock = threading.Lock()
        """Held by the thread that writes, or resets the log."""
        self._bytes_since_checkpoint = 0
        self._may_have_torn_tail = False
        self._must_rewrite_log = False
        self._inodes: list[int] | None = None
        self._unsynced_since: float | None = None
        self._checkpoint_task = BackgroundTask("archetype-checkpoint", self._checkpoint)
        self._sync_task = BackgroundTask("archetype-sync", self._sync_if_due)
        with self.translated_errors():
            make_directory(path)
            # SQLite would try for ten seconds in a directory that is not writable.
            check_writable(path)
            if is_synced and wal_check.has_lost_transactions(path / _WAL):
                raise CorruptStore(str(path / _WAL), "whole transactions follow a frame with a wrong checksum")
            self.writer = self._connect(is_writer=True)

    def _connect(self, *, is_writer: bool = False) -> sqlite3.Connection:
        # Autocommit: `transaction` and `read` begin and end transactions themselves.
        connection = sqlite3.connect(self.name, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA foreign_keys=OFF")
            connection.execute("PRAGMA cell_size_check=ON")
            # A background task makes the checkpoints.
            connection.execute("PRAGMA wal_autocheckpoint=0")
            if is_writer:
                if not wal_check.use_wal(connection, _BUSY_TIMEOUT_S):
                    # Without WAL, readers and writers would block each other.
                    raise OSError("SQLite cannot use write-ahead logging here")
                # Move what an earlier process left in the log into the database.
                _try_checkpoint(connection, "TRUNCATE")
                mode = "FULL" if self._cache.durability == "tick" else "NORMAL"
                connection.execute(f"PRAGMA synchronous={mode}")
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def transaction(self, size: int = 0) -> Iterator[sqlite3.Connection]:
        """Run a transaction that commits at the end of the block, or rolls back if the block raises.

        The caller holds ``write_lock``. ``size`` is about how many bytes the transaction writes.
        """
        connection = self.writer
        self._check_files()
        since = self._unsynced_since
        if self._must_rewrite_log:
            self._rewrite_log()
        elif since is not None and time.monotonic() - since >= self._cache.interval_s:
            # The background task was late: keep the bound here.
            self.sync()
        if self._may_have_torn_tail:
            # A transaction that failed while it was written may have left a part of itself in the log.
            _try_checkpoint(connection, "RESTART")
            self._may_have_torn_tail = False
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            self._commit()
        except BaseException:
            # A failed COMMIT leaves the transaction open; a full disk may have ended it already.
            if connection.in_transaction:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
            raise
        self._bytes_since_checkpoint += size + 3 * _PAGE_BYTES
        if self._bytes_since_checkpoint >= _CHECKPOINT_BYTES:
            self._bytes_since_checkpoint = 0
            self._checkpoint_task.ask()
        if self._cache.durability == "interval" and self._unsynced_since is None:
            self._unsynced_since = time.monotonic()
            self._sync_task.ask(self._cache.interval_s)

    def _commit(self) -> None:
        self._may_have_torn_tail = True
        try:
            self.writer.execute("COMMIT")
        except sqlite3.Error as failure:
            error = translate_error(str(self.path), failure)
            if _primary_code(failure) == sqlite3.SQLITE_FULL:
                raise error from failure
            raise TransactionInDoubt(str(error)) from failure
        self._may_have_torn_tail = False

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees one state of the database, whatever is committed meanwhile."""
        with self._lock:
            if not self._is_open:
                raise StoreClosed(f"journal {self.path}")
            connection = self._idle.pop() if self._idle else None
        if connection is None:
            connection = self._connect()
        try:
            connection.execute("BEGIN")
            yield connection
        finally:
            self._release(connection)

    def _check_files(self) -> None:
        """Refuse to write if the open files are no longer those in the directory.

        They were removed or moved. Or this process opened and closed one of them itself, which drops the locks of all its
        connections, and another process then cleaned up what looked like a dead process's files.
        """
        found = []
        for name in (FILE, _WAL):
            try:
                found.append((self.path / name).stat().st_ino)
            except FileNotFoundError:
                found.append(0)
        if self._inodes is None:
            self._inodes = found if all(found) else None
        elif found != self._inodes:
            raise CommitError(
                f"journal {self.path}: its files were replaced or removed while it was open; close it and open it again"
            )

    def _release(self, connection: sqlite3.Connection) -> None:
        try:
            if connection.in_transaction:
                connection.execute("COMMIT")
        except sqlite3.Error:
            connection.close()
            return
        with self._lock:
            if self._is_open and len(self._idle) < _MAX_IDLE:
                self._idle.append(connection)
                return
        connection.close()

    def _sync_if_due(self) -> None:
        if self._unsynced_since is None:
            return
        try:
            with suppress(CommitError):
                self.sync()
            if self._must_rewrite_log:
                with self.write_lock:
                    self._rewrite_log()
        except (CommitError, StoreClosed) as failure:
            # The next commit tries again, or fails.
            _log.warning("journal %s could not be synced: %s", self.path, failure)

    @property
    def syncs_every_commit(self) -> bool:
        """Whether every commit is on disk before it returns."""
        return self._cache.durability == "tick"

    def sync(self) -> None:
        """Put every commit on disk, in any mode."""
        self._unsynced_since = None
        try:
            # Without a log everything is in the database, and the checkpoint that moved it there synced it.
            with self.translated_errors(), suppress(FileNotFoundError):
                self._disk.sync(self.path / _WAL)
        except BaseException:
            self._must_rewrite_log = True
            raise

    def _rewrite_log(self) -> None:
        """Write the whole log again: after a failed sync, the system may not write the same pages a second time.

        The caller holds ``write_lock``.
        """
        with self.translated_errors():
            # Keep other processes from writing to the log, or restarting it.
            self.writer.execute("BEGIN IMMEDIATE")
            try:
                with suppress(FileNotFoundError):
                    rewrite_file(self.path / _WAL)
            finally:
                self.writer.execute("ROLLBACK")
        self._must_rewrite_log, self._unsynced_since = False, None

    def _checkpoint(self) -> None:
        """Move the log's pages into the database, and restart the log if nobody reads it."""
        try:
            connection = self._connect()
        except sqlite3.Error as failure:
            _log.warning("journal %s was not checkpointed: %s", self.path, failure)
            return
        try:
            _try_checkpoint(connection, "PASSIVE")
            # Few pages are left now, so writers wait only briefly.
            with self.write_lock:
                _try_checkpoint(connection, "RESTART")
        except sqlite3.Error as failure:
            # The failure may be that of a sync of commits that were not synced before.
            self._must_rewrite_log = self._cache.durability != "tick"
            _log.warning("journal %s was not checkpointed: %s", self.path, failure)
        finally:
            connection.close()

    def close(self) -> None:
        """Put everything on disk and close every connection; idempotent."""
        with self._lock:
            if not self._is_open:
                return
            self._is_open = False
            connections, self._idle = self._idle, []
        self._checkpoint_task.stop()
        self._sync_task.stop()
        try:
            if self._cache.durability != "tick" and not self._must_rewrite_log:
                with suppress(CommitError):
                    self.sync()
            if self._must_rewrite_log:
                with self.write_lock:
                    self._rewrite_log()
        finally:
            for connection in (*connections, self.writer):
                connection.close()

    @contextmanager
    def translated_errors(self) -> Iterator[None]:
        """Raise the errors of SQLite and the system as ``CommitError``, ``CorruptStore`` or ``StoreClosed``."""
        try:
            yield
        except sqlite3.ProgrammingError as failure:
            raise StoreClosed(f"journal {self.path}") from failure
        except sqlite3.Error as failure:
            raise translate_error(str(self.path), failure) from failure
        # Text that SQLite returned and did not check.
        except UnicodeDecodeError as failure:
            raise CorruptStore(str(self.path), str(failure)) from failure
        except OSError as failure:
            raise CommitError(f"journal {self.path}: {failure.strerror or failure}") from failure


def connect_read_only(file: Path) -> sqlite3.Connection:
    """Connect to a database without changing it, not even to recover what a dead process left."""
    # If there is no log and none can be created, nobody writes.
    is_immutable = not file.with_name(f"{file.name}-wal").exists() and not os.access(file.parent, os.W_OK)
    option = "immutable=1" if is_immutable else "mode=ro"
    # The empty authority is needed: a path may begin with two slashes.
    return sqlite3.connect(
        f"file://{quote(str(file.absolute()))}?{option}", uri=True, isolation_level=None, timeout=30.0
    )


def translate_error(path: str, failure: sqlite3.Error) -> CommitError | CorruptStore:
    """An error of SQLite's as one of ours: ``CorruptStore`` for damage, ``CommitError`` for the rest."""
    code = getattr(failure, "sqlite_errorcode", None)
    primary = _primary_code(failure)
    is_short = code == sqlite3.SQLITE_IOERR_SHORT_READ
    # SQLITE_ERROR in one of our own statements means that a table is missing.
    if primary is None or is_short or primary in _DAMAGE or code == sqlite3.SQLITE_ERROR:
        return CorruptStore(path, str(failure))
    remedy = _REMEDIES.get(primary)
    return CommitError(f"journal {path}: {failure}{f'; {remedy}' if remedy else ''}")


def _primary_code(failure: sqlite3.Error) -> int | None:
    """SQLite's code of an error, without what its extended codes add; ``None`` if the error is not SQLite's own."""
    code: int | None = getattr(failure, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _try_checkpoint(connection: sqlite3.Connection, mode: str) -> None:
    """Move as much of the log into the database as is possible without waiting."""
    connection.execute("PRAGMA busy_timeout=0")
    connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
    connection.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_S * 1000}")
