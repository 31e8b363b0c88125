"""The journal's SQLite database: its connections, its transactions, and SQLite's errors as ours.

SQLite in WAL mode is the commit point of a tick, so there is no recovery code of our own: a transaction is there whole or
not at all.
"""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from archetype_core.config import CacheConfig
from archetype_core.errors import CommitError, CorruptStore, StoreClosed
from archetype_journal import wal
from archetype_journal.background import BackgroundTask
from archetype_journal.open_handles import probe

FILE = "journal.sqlite"
FILES = (FILE, f"{FILE}-wal", f"{FILE}-shm")
_WAL = FILES[1]
_CHECKPOINT_BYTES = 4 * 1024 * 1024
_PAGE = 4096
_IDLE = 16
"""So many connections are kept for the next reader."""
_PATIENCE_S = 30
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_MISMATCH})
_REMEDIES = {
    sqlite3.SQLITE_FULL: "free some space and step again, nothing is lost",
    sqlite3.SQLITE_READONLY: "it can be read, but nothing can be added to it",
    sqlite3.SQLITE_IOERR: "the disk failed; step again once it works, or open the journal anew",
    sqlite3.SQLITE_CANTOPEN: "does the directory exist, and may this process write to it, and has it file descriptors left?",
}
_log = logging.getLogger("archetype.journal")


class Database:
    """One journal directory: a connection to write with, and as many to read with as readers at work.

    ``is_synced`` says that whoever wrote last synced every commit, so that only the last one can be torn.
    """

    def __init__(self, path: Path, cache: CacheConfig, *, is_synced: bool) -> None:
        self.path = path
        self.name = str(path / FILE)
        self._cache = cache
        self._lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._is_open = True
        # Whoever writes, or resets the log, holds this.
        self.writing = threading.Lock()
        self._unchecked = 0
        self._is_tail_unknown = False
        self._is_log_lost = False
        self._files: list[int] | None = None
        self._unsynced_since: float | None = None
        self._checkpointing = BackgroundTask("archetype-checkpoint", self._checkpoint)
        self._syncing = BackgroundTask("archetype-sync", self._sync_in_time)
        with self.told():
            make_directory(path)
            # Where nothing can be written SQLite would try for ten seconds.
            probe(path)
            if is_synced and wal.is_cut(path / _WAL):
                raise CorruptStore(str(path / _WAL), "whole transactions follow one that does not check")
            self.writer = self._connect(is_writer=True)

    def _connect(self, *, is_writer: bool = False) -> sqlite3.Connection:
        # Autocommit: transactions are begun and ended by hand, where they belong.
        connection = sqlite3.connect(self.name, timeout=_PATIENCE_S, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA foreign_keys=OFF")
            connection.execute("PRAGMA cell_size_check=ON")
            # Its work is done by a chore, beside the ticks.
            connection.execute("PRAGMA wal_autocheckpoint=0")
            if is_writer:
                if not wal.use_wal(connection, _PATIENCE_S):
                    # Without saying so it goes on with a journal that readers and writers block each other by.
                    raise OSError("its log could not be begun")
                # What a process left behind in it goes into the database.
                _try_checkpoint(connection, "TRUNCATE")
                mode = "FULL" if self._cache.durability == "tick" else "NORMAL"
                connection.execute(f"PRAGMA synchronous={mode}")
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def transaction(self, size: int = 0) -> Iterator[sqlite3.Connection]:
        """Everything inside happens or nothing does; when this returns it is as durable as the mode says.

        To be entered by whoever holds ``writing``. ``size`` is about how many bytes it writes.
        """
        connection = self.writer
        self._check_files()
        since = self._unsynced_since
        if self._is_log_lost:
            self._rescue()
        elif since is not None and time.monotonic() - since >= self._cache.interval_s:
            # The chore got no chance: the bound holds all the same.
            self.sync()
        if self._is_tail_unknown:
            # A transaction that failed while it was written may have left half of itself in the log.
            _try_checkpoint(connection, "RESTART")
            self._is_tail_unknown = False
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            self._is_tail_unknown = True
            connection.execute("COMMIT")
            self._is_tail_unknown = False
        except BaseException:
            # A failed COMMIT leaves the transaction open; a full disk may have ended it already.
            if connection.in_transaction:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
            raise
        self._unchecked += size + 3 * _PAGE
        if self._unchecked >= _CHECKPOINT_BYTES:
            self._unchecked = 0
            self._checkpointing.ask()
        if self._cache.durability == "interval" and self._unsynced_since is None:
            self._unsynced_since = time.monotonic()
            self._syncing.ask(self._cache.interval_s)

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """One state of the database to read from, whatever is written meanwhile."""
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
            self._give_back(connection)

    def _check_files(self) -> None:
        """Refuse to write to files that are no longer those in the directory.

        They may have been removed, or moved. Or this very process opened and closed one of them, which takes away the locks
        of all its connections, and another process then tidied up after what it took for the dead.
        """
        found = []
        for name in (FILE, _WAL):
            try:
                found.append((self.path / name).stat().st_ino)
            except FileNotFoundError:
                found.append(0)
        if self._files is None:
            self._files = found if all(found) else None
        elif found != self._files:
            raise CommitError(
                f"journal {self.path}: its files were replaced or removed while it was open; open it anew"
            )

    def _give_back(self, connection: sqlite3.Connection) -> None:
        try:
            if connection.in_transaction:
                connection.execute("COMMIT")
        except sqlite3.Error:
            connection.close()
            return
        with self._lock:
            if self._is_open and len(self._idle) < _IDLE:
                self._idle.append(connection)
                return
        connection.close()

    def _sync_in_time(self) -> None:
        if self._unsynced_since is None:
            return
        try:
            with suppress(CommitError):
                self.sync()
            if self._is_log_lost:
                with self.writing:
                    self._rescue()
        except (CommitError, StoreClosed) as failure:
            # The next commit makes up for it, or fails.
            _log.warning("journal %s could not be synced: %s", self.path, failure)

    @property
    def waits(self) -> bool:
        """Whether every commit waits until it is on disk."""
        return self._cache.durability == "tick"

    def sync(self) -> None:
        """Put on disk what is committed, whatever the mode."""
        self._unsynced_since = None
        try:
            # Without a log everything is in the database, which its checkpoint has synced.
            with self.told(), suppress(FileNotFoundError):
                sync_path(self.path / _WAL)
        except BaseException:
            self._is_log_lost = True
            raise

    def _rescue(self) -> None:
        """Write the whole log once more: after a sync that failed, a later one of the same bytes does nothing.

        To be called by whoever holds ``writing``.
        """
        with self.told():
            # Nobody adds to the log, or begins it anew, meanwhile.
            self.writer.execute("BEGIN IMMEDIATE")
            try:
                with suppress(FileNotFoundError):
                    rewrite(self.path / _WAL)
            finally:
                self.writer.execute("ROLLBACK")
        self._is_log_lost, self._unsynced_since = False, None

    def _checkpoint(self) -> None:
        """Move the log's pages into the database, and begin the log anew if nobody reads it."""
        try:
            connection = self._connect()
        except sqlite3.Error as failure:
            _log.warning("journal %s was not checkpointed: %s", self.path, failure)
            return
        try:
            _try_checkpoint(connection, "PASSIVE")
            # Little is left by now, so writers wait for little.
            with self.writing:
                _try_checkpoint(connection, "RESTART")
        except sqlite3.Error as failure:
            # It may have been a sync of what nobody has synced yet.
            self._is_log_lost = self._cache.durability != "tick"
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
        self._checkpointing.stop()
        self._syncing.stop()
        try:
            if self._cache.durability != "tick" and not self._is_log_lost:
                with suppress(CommitError):
                    self.sync()
            if self._is_log_lost:
                with self.writing:
                    self._rescue()
        finally:
            for connection in (*connections, self.writer):
                connection.close()

    @contextmanager
    def told(self) -> Iterator[None]:
        """SQLite's and the system's errors as ours: what cannot be written, what is damaged, what is closed."""
        try:
            yield
        except sqlite3.ProgrammingError as failure:
            raise StoreClosed(f"journal {self.path}") from failure
        except sqlite3.Error as failure:
            raise translated(str(self.path), failure) from failure
        # Of the name of a column, which SQLite does not check.
        except UnicodeDecodeError as failure:
            raise CorruptStore(str(self.path), str(failure)) from failure
        except OSError as failure:
            raise CommitError(f"journal {self.path}: {failure.strerror or failure}") from failure


def _try_checkpoint(connection: sqlite3.Connection, how: str) -> None:
    """Move the log into the database as far as that goes without waiting for anybody."""
    connection.execute("PRAGMA busy_timeout=0")
    connection.execute(f"PRAGMA wal_checkpoint({how})").fetchone()
    connection.execute(f"PRAGMA busy_timeout={_PATIENCE_S * 1000}")


def translated(path: str, failure: sqlite3.Error) -> CommitError | CorruptStore:
    """An error of SQLite's as one of ours."""
    code = getattr(failure, "sqlite_errorcode", None)
    if code is None:
        return CorruptStore(path, str(failure))
    short = code == sqlite3.SQLITE_IOERR_SHORT_READ
    # An error in our own statements means that the tables they name are not there.
    if short or (code & 0xFF) in _DAMAGE or code == sqlite3.SQLITE_ERROR:
        return CorruptStore(path, str(failure))
    remedy = _REMEDIES.get(code & 0xFF)
    return CommitError(f"journal {path}: {failure}{f'; {remedy}' if remedy else ''}")


def make_directory(path: Path) -> None:
    """Make a directory, and its parents, to last."""
    if not path.is_dir():
        make_directory(path.parent)
        try:
            path.mkdir(exist_ok=True)
        except FileExistsError as failure:
            raise NotADirectoryError(errno.ENOTDIR, "a file is where a directory should be", str(path)) from failure
    # Also where it is there: whoever made it may not have lived, or not have managed, to do this. A place that was given
    # to this process, in a directory that it may not read, is not its to make last.
    with suppress(PermissionError):
        sync_directory(path.parent)


def sync_path(path: Path) -> None:
    """Put what was written to a file on disk, whoever wrote it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def rewrite(path: Path) -> None:
    """Write a file's bytes over themselves, and put them on disk."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        offset = 0
        while piece := os.pread(descriptor, 1 << 20, offset):
            offset += os.pwrite(descriptor, piece, offset)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable, as ``fsync`` of a file does not."""
    sync_path(path)
