"""One open handle of a journal: opens the directory, removes what dead handles left, and owns the parts."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from archetype_core.config import CacheConfig
from archetype_core.errors import CommitError, CorruptStore
from archetype_journal import format as journal_format
from archetype_journal.catalog import Catalog
from archetype_journal.disk import Disk, sync_directory
from archetype_journal.durable_database import FILE, Database
from archetype_journal.open_handles import OwnerFile, chunk_owner, owners, remove_owner_file
from archetype_journal.reader import Reader
from archetype_journal.writer import Writer


@dataclass(frozen=True, slots=True)
class JournalHandle:
    """The parts of one open handle: the database, the lock file, the catalog, the reader and the writer."""

    path: Path
    database: Database
    owner_file: OwnerFile
    catalog: Catalog
    reader: Reader
    writer: Writer

    @classmethod
    def open(cls, path: Path, cache: CacheConfig, disk: Disk) -> JournalHandle:
        """Open or create a journal, and lock a file that says so."""
        try:
            # In this order: another process that creates the journal writes the database first, then the mark.
            if disk.exists(path / journal_format.MARK) and not disk.exists(path / FILE):
                remedy = "restore it from a backup, or run archetype_journal.repair if a repair was interrupted"
                raise CorruptStore(str(path / FILE), f"the file is missing; {remedy}")
            dead = [one.durability for one in owners(path) if not one.is_alive] if path.is_dir() else []
        except OSError as failure:
            raise CommitError(f"journal {path}: {failure.strerror or failure}") from failure
        is_synced = all(durability in ("tick", "") for durability in dead)
        database = Database(path, cache, disk=disk, is_synced=is_synced)
        owner_file: OwnerFile | None = None
        try:
            with database.translated_errors(), database.write_lock, database.transaction() as connection:
                journal_format.check_format(connection, path)
                # Inside the transaction, which keeps others from opening the journal: nobody new becomes alive.
                _remove_leftovers(path, {name for (name,) in connection.execute("SELECT name FROM file")})
                owner_file = OwnerFile(path, cache.durability)
            with database.translated_errors():
                # In any mode: the mark must not be on disk before the journal is.
                database.sync()
                journal_format.write_mark(path)
                sync_directory(path)
            catalog = Catalog(str(path))
            reader = Reader(database, catalog)
            with reader.read():
                # Raises now if the catalog is damaged.
                pass
        except BaseException:
            if owner_file is not None:
                owner_file.close()
            with suppress(Exception):
                database.close()
            raise
        return cls(path, database, owner_file, catalog, reader, Writer(path, owner_file))

    def close(self) -> None:
        """Put everything on disk and close every file; idempotent. No effect in a forked child."""
        if not self.owner_file.is_in_this_process:
            return
        try:
            self.database.close()
        finally:
            self.writer.close()
            self.owner_file.close()

    def other_tokens(self) -> set[str]:
        """The tokens of all other handles that have the journal open."""
        return {one.token for one in owners(self.path) if one.is_alive} - {self.owner_file.token}


def _remove_leftovers(path: Path, known: Collection[str]) -> None:
    """Remove the owner files of dead handles, and the chunk files that they wrote and no tick refers to."""
    everybody = list(owners(path))
    alive = {one.token for one in everybody if one.is_alive}
    for file in path.glob("*.chunk"):
        token = chunk_owner(file.name)
        if token is not None and token not in alive and file.name not in known:
            file.unlink(missing_ok=True)
    for one in everybody:
        if not one.is_alive:
            remove_owner_file(path, one)
