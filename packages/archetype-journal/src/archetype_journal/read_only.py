"""Reading at a place that this process may not write: SQLite gets a private copy, in which it may recover its log."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from archetype_core.errors import CommitError
from archetype_journal.durable_database import FILE, connect_read_only, translate_error
from archetype_journal.format import MARK
from archetype_journal.open_handles import SUFFIX, owners


def is_writable(*places: Path) -> bool:
    """Whether this process may write all of some files and directories; those that do not exist do not count."""
    return all(os.access(one, os.W_OK) for one in places if one.exists())


def is_journal_writable(path: Path) -> bool:
    """Whether this process may write a journal's directory and database."""
    return is_writable(path, path / FILE)


class JournalCopy:
    """A private copy of a journal's database, with links to its large columns; ``close`` removes it.

    Costs a copy of the database, with the transactions that are only in its log. It has the ticks of this moment.
    """

    def __init__(self, path: Path) -> None:
        self._process = os.getpid()
        self.path = Path(tempfile.mkdtemp(prefix=f"archetype-copy-of-{path.name}-"))
        try:
            self._fill(path)
        except BaseException:
            self.close()
            raise

    def _fill(self, path: Path) -> None:
        try:
            everybody = list(owners(path))
            if (path / FILE).exists():
                copy_database(path / FILE, self.path, is_in_use=any(one.is_alive for one in everybody))
            # The handles that died say how much of the log may be torn.
            names = [MARK, *(f"{one.token}{SUFFIX}" for one in everybody)]
            for one in (path / name for name in names):
                if one.exists():
                    shutil.copyfile(one, self.path / one.name)
            for one in path.glob("*.chunk"):
                (self.path / one.name).symlink_to(one.absolute())
        except sqlite3.Error as failure:
            raise translate_error(str(path), failure) from failure
        except OSError as failure:
            raise CommitError(f"journal {path} could not be copied to be read: {failure}") from failure

    def close(self) -> None:
        """Remove the copy; idempotent. No effect in a forked child."""
        if os.getpid() == self._process:
            shutil.rmtree(self.path, ignore_errors=True)


def copy_database(file: Path, directory: Path, *, is_in_use: bool) -> None:
    """Copy a SQLite database into a directory, with the transactions that are only in its log.

    ``is_in_use`` says that another process may write it now. Such a copy is of one moment.
    """
    if is_in_use:
        with closing(connect_read_only(file)) as source, closing(sqlite3.connect(directory / file.name)) as copy:
            source.backup(copy)
        return
    for one in (file, file.with_name(f"{file.name}-wal")):
        if one.exists():
            shutil.copyfile(one, directory / one.name)


@contextmanager
def read_connection(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a journal's database that changes nothing, also where SQLite would have to recover its log."""
    log = path / f"{FILE}-wal"
    if is_journal_writable(path) or not log.exists() or any(one.is_alive for one in owners(path)):
        with closing(connect_read_only(path / FILE)) as connection:
            yield connection
        return
    with closing(JournalCopy(path)) as copy, closing(connect_read_only(copy.path / FILE)) as connection:
        yield connection
