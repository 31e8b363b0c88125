"""The files of the log: written once and whole, in a local directory or an object store."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from archetype_journal import sync_directory, sync_path
from archetype_store_lance.address import Address

if TYPE_CHECKING:
    from obstore.store import ObjectStore

DIRECTORY = "_log"
_UNFINISHED = ".part"
_SLOWEST_WRITER = timedelta(days=1)
"""No writer takes longer than this between writing a file and referring to it."""
_CLIENT_OPTIONS = frozenset(
    ["allow_http", "allow_invalid_certificates", "connect_timeout", "proxy_url", "timeout", "user_agent"]
)


class LogFiles(Protocol):
    """Port to the files of the log. ``LanceStore(log_files=…)`` takes one, such as a wrapper that delays or fails calls."""

    @property
    def is_locked(self) -> bool:
        """Whether the writers' lock excludes all other writers of these files, of this and other processes."""
        ...

    def names(self) -> list[str]:
        """List the names of all files, sorted."""
        ...

    def read(self, name: str) -> bytes:
        """Read a file; ``FileNotFoundError`` if there is none."""
        ...

    def create(self, name: str, data: bytes) -> bool:
        """Create a file, durable on return; False, and no change, if a file of that name exists.

        After an error the file may exist. If the writers' lock excludes others, ``names`` and ``read`` then tell whether it
        does, and whatever they find is durable; without that lock it may still appear later.
        """
        ...

    def replace(self, name: str, data: bytes) -> None:
        """Create or replace a file; readers see the old or the new bytes, and it is durable some time later."""
        ...

    def remove(self, names: Iterable[str]) -> None:
        """Remove those of the files that exist."""
        ...

    def unclaimed(self, names: Iterable[str]) -> list[str]:
        """The files among ``names`` that no running writer can be about to refer to."""
        ...


def log_files_of(address: Address) -> LogFiles:
    """The log files of a store."""
    return LocalLogFiles(address.local / DIRECTORY) if address.local else RemoteLogFiles(address)


class LocalLogFiles:
    """Log files in a directory. A file appears under its name once its bytes are on disk."""

    is_locked = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._unsynced: dict[str, bytes] = {}
        """Files whose names may not be durable, because syncing the directory failed."""

    def names(self) -> list[str]:
        """List the names of all files, sorted; unfinished ones are left out."""
        self._sync_names()
        try:
            found = os.listdir(self._path)  # noqa: PTH208  # reason: called often, and only names are needed
        except FileNotFoundError:
            return []
        return sorted(name for name in found if not name.endswith(_UNFINISHED))

    def read(self, name: str) -> bytes:
        """Read a file; ``FileNotFoundError`` if there is none."""
        return (self._path / name).read_bytes()

    def create(self, name: str, data: bytes) -> bool:
        """Create and sync a file; False if one of that name exists. Costs two syncs."""
        self._sync_names()
        part = self._write_part(data)
        try:
            try:
                (self._path / name).hardlink_to(part)
            except FileExistsError:
                return False
            try:
                sync_directory(self._path)
            except BaseException:
                # A power cut could take the name back. Others may have read the file already, so it stays.
                self._unsynced[name] = data
                raise
        finally:
            with suppress(OSError):
                part.unlink()
        return True

    def _sync_names(self) -> None:
        """Make the names durable whose sync failed, before anybody relies on them."""
        if not self._unsynced:
            return
        with self._lock:
            for name, data in list(self._unsynced.items()):
                if (self._path / name).exists():
                    # A second sync of the same entry may do nothing after a failed one, so the entry is written again.
                    self._write_part(data).rename(self._path / name)
                    sync_directory(self._path)
                del self._unsynced[name]

    def replace(self, name: str, data: bytes) -> None:
        """Create or replace a file. The bytes are synced, the name is not."""
        part = self._write_part(data)
        try:
            part.rename(self._path / name)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise

    def remove(self, names: Iterable[str]) -> None:
        """Remove those of the files that exist."""
        for name in names:
            (self._path / name).unlink(missing_ok=True)

    def unclaimed(self, names: Iterable[str]) -> list[str]:
        """All of the files: the caller holds the writers' lock, so there is no other writer."""
        return list(names)

    def sweep(self) -> None:
        """Remove unfinished files of killed processes, and sync the names of others. The caller holds the writers' lock."""
        self.remove(path.name for path in self._path.glob(f"*{_UNFINISHED}"))
        # A writer may have been killed before it synced the name of its last file, which counts.
        sync_directory(self._path)

    def _write_part(self, data: bytes) -> Path:
        part = self._path / f"{secrets.token_hex(8)}{_UNFINISHED}"
        try:
            with part.open("xb") as file:
                file.write(data)
            sync_path(part)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise
        return part


class RemoteLogFiles:
    """Log files under a prefix of an object store that supports creating an object only if it does not exist.

    ``client`` replaces the ``obstore`` client, for services that need a client of their own.
    """

    is_locked = False

    def __init__(self, address: Address, client: Any = None) -> None:
        self._store: ObjectStore = connect(address) if client is None else client

    def names(self) -> list[str]:
        """List the names of all objects, sorted; one request per thousand."""
        found: list[str] = []
        for page in self._store.list():
            found += [one["path"].rpartition("/")[2] for one in page]
        return sorted(found)

    def read(self, name: str) -> bytes:
        """Read an object; ``FileNotFoundError`` if there is none."""
        return bytes(self._store.get(name).bytes())

    def create(self, name: str, data: bytes) -> bool:
        """Create an object; False if another writer created one of that name."""
        from obstore.exceptions import AlreadyExistsError

        try:
            self._store.put(name, data, mode="create")
        except AlreadyExistsError:
            # The client repeats a request whose answer was lost, and then meets the object that the first one made.
            with suppress(FileNotFoundError):
                return self.read(name) == data
            return False
        return True

    def replace(self, name: str, data: bytes) -> None:
        """Create or replace an object."""
        self._store.put(name, data)

    def remove(self, names: Iterable[str]) -> None:
        """Remove those of the objects that exist."""
        for name in names:
            with suppress(FileNotFoundError):
                self._store.delete(name)

    def unclaimed(self, names: Iterable[str]) -> list[str]:
        """The objects among ``names`` that are older than any writer needs to refer to one."""
        wanted, before = set(names), datetime.now(UTC) - _SLOWEST_WRITER
        if not wanted:
            return []
        listed = (one for page in self._store.list() for one in page)
        found = ((one["path"].rpartition("/")[2], one["last_modified"]) for one in listed)
        return [name for name, modified in found if name in wanted and modified < before]


def connect(address: Address) -> Any:
    """The ``obstore`` client for the log's prefix of an object store."""
    from obstore.store import from_url

    options = {key.lower(): value for key, value in address.options.items()}
    # Users give one mapping; obstore wants client options apart from those of the service.
    client: Any = {key: _parsed(value) for key, value in options.items() if key in _CLIENT_OPTIONS}
    config: Any = {key: value for key, value in options.items() if key not in _CLIENT_OPTIONS}
    return from_url(f"{address.root}/{DIRECTORY}", config=config, client_options=client)


def _parsed(value: str) -> str | bool:
    return value.lower() == "true" if value.lower() in {"true", "false"} else value
