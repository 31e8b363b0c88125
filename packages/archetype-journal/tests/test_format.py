"""The format's version, and the mark that tells a damaged journal from a new one."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from archetype_core.errors import CommitError, CorruptStore
from archetype_journal import JournalStore


@pytest.mark.parametrize("version", [-1, 1, 99])
def test_other_formats_are_refused(tmp_path: Path, version: int) -> None:
    """A journal of another version is not touched; the error names its version and the one that can be read. (S6)"""
    JournalStore(tmp_path).close()
    database = tmp_path / "journal.sqlite"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    content = database.read_bytes()
    with pytest.raises(CommitError, match=f"has format {version}, .* reads format 2 only"):
        JournalStore(tmp_path)
    assert database.read_bytes() == content


def test_database_of_something_else_is_refused(tmp_path: Path) -> None:
    """A database without a version that has tables is no journal. (S6)"""
    with closing(sqlite3.connect(tmp_path / "journal.sqlite")) as connection:
        connection.execute("CREATE TABLE bird (name TEXT)")
    with pytest.raises(CorruptStore, match="bird"):
        JournalStore(tmp_path)


def test_empty_database_is_no_new_journal(tmp_path: Path) -> None:
    """A journal whose database is missing, or empty, is damaged, not new. (S4)"""
    JournalStore(tmp_path).close()
    (tmp_path / "journal.sqlite").write_bytes(b"")
    with pytest.raises(CorruptStore):
        JournalStore(tmp_path)
    (tmp_path / "journal.sqlite").unlink()
    with pytest.raises(CorruptStore, match="restore it"):
        JournalStore(tmp_path)
