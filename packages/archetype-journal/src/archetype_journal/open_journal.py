"""What one open handle of a journal works with, from opening a directory to leaving it tidy."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from archetype_core.config import CacheConfig
from archetype_core.errors import CommitError, CorruptStore
from archetype_journal import format as journal_format
from archetype_journal.catalog import Catalog
from archetype_journal.database import FILE, Database, sync_directory
from archetype_journal.open_handles import Presence, bury, owner_of, owners
from archetype_journal.reader import Reader
from archetype_journal.writer import Writer


@dataclass(frozen=True, slots=True)
class OpenJournal:
    """The parts of an open journal."""

    path: Path
    database: Database
    presence: Presence
    catalog: Catalog
    reader: Reader
    writer: Writer

    @classmethod
    def open(cls, path: Path, cache: CacheConfig) -> OpenJournal:
        """Open a directory, clear away what dead handles left, and make this one known."""
        try:
            # In this order: what somebody makes meanwhile is the database first, and then the mark.
            if (path / journal_format.MARK).exists() and not (path / FILE).exists():
                raise CorruptStore(str(path / FILE), "it is not there: bring it back, or run repair if one was cut off")
            left = [one.durability for one in owners(path) if not one.is_alive] if path.is_dir() else []
        except OSError as failure:
            raise CommitError(f"journal {path}: {failure.strerror or failure}") from failure
        database = Database(path, cache, is_synced=all(durability in ("tick", "") for durability in left))
        presence: Presence | None = None
        try:
            with database.told(), database.writing, database.transaction() as connection:
                journal_format.check(connection, path)
                # Inside the transaction nobody else opens the journal, so who is alive is known to be.
                _clear(path, {name for (name,) in connection.execute("SELECT name FROM file")})
                presence = Presence(path, cache.durability)
            with database.told():
                # Whatever the mode: nothing may say that there is a journal before there is one.
                database.sync()
                journal_format.mark(path)
                sync_directory(path)
            catalog = Catalog(str(path))
            reader = Reader(database, catalog)
            with reader.read():
                # What cannot be read is told now.
                pass
        except BaseException:
            if presence is not None:
                presence.close()
            with suppress(Exception):
                database.close()
            raise
        return cls(path, database, presence, catalog, reader, Writer(path, presence))

    def close(self) -> None:
        """Put everything on disk and leave; idempotent. In a copy that ``fork`` made, nothing: the journal is not its own."""
        if not self.presence.is_here:
            return
        try:
            self.database.close()
        finally:
            self.writer.close()
            self.presence.close()

    def others(self) -> set[str]:
        """The tokens of all other handles that are open."""
        return {one.token for one in owners(self.path) if one.is_alive} - {self.presence.token}


def _clear(path: Path, known: Collection[str]) -> None:
    """Remove what dead handles left of themselves, and files that they wrote and nothing refers to."""
    everybody = list(owners(path))
    alive = {one.token for one in everybody if one.is_alive}
    for file in path.glob("*.chunk"):
        token = owner_of(file.name)
        if token is not None and token not in alive and file.name not in known:
            file.unlink(missing_ok=True)
    for one in everybody:
        if not one.is_alive:
            bury(path, one)
