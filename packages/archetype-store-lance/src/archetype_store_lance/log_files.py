"""Small files under one prefix: made once, whole and for good, on a local disk or in an object store."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from archetype_journal import make_directory, sync_directory, sync_path
from archetype_store_lance.place import Place

if TYPE_CHECKING:
    from obstore.store import ObjectStore

DIRECTORY = "_log"
_UNFINISHED = ".part"
_LONG = timedelta(days=1)
"""No writer takes longer than this from one file to the next."""
_CLIENT = frozenset(
    ["allow_http", "allow_invalid_certificates", "connect_timeout", "proxy_url", "timeout", "user_agent"]
)


class Shelf(Protocol):
    """Where the log's files are."""

    is_locked: bool
    """Whether whoever looks and then writes keeps everybody else from writing in between."""

    def prepare(self) -> None:
        """Make the place, if it needs to be made."""
        ...

    def names(self) -> list[str]:
        """The names of all files, sorted."""
        ...

    def read(self, name: str) -> bytes:
        """The bytes of a file; ``FileNotFoundError`` if there is none."""
        ...

    def create(self, name: str, data: bytes) -> bool:
        """Make a file, durable when this returns; false if there is one of that name, which stays as it is."""
        ...

    def replace(self, name: str, data: bytes) -> None:
        """Put a file in place of another; durable some time later."""
        ...

    def remove(self, names: Iterable[str]) -> None:
        """Remove files, those that are there."""
        ...

    def idle(self, names: Iterable[str]) -> list[str]:
        """Those of some files that nobody can be about to refer to."""
        ...


def shelf_of(place: Place) -> Shelf:
    """The shelf of a place."""
    return LocalShelf(place.local / DIRECTORY) if place.local else RemoteShelf(place)


class LocalShelf:
    """A directory. A file gets its name once its bytes are on disk."""

    is_locked = True

    def __init__(self, path: Path) -> None:
        self._path = path

    def prepare(self) -> None:
        make_directory(self._path)

    def names(self) -> list[str]:
        try:
            found = os.listdir(self._path)  # noqa: PTH208  # reason: names are all that is wanted, and it is asked often
        except FileNotFoundError:
            return []
        return sorted(name for name in found if not name.endswith(_UNFINISHED))

    def read(self, name: str) -> bytes:
        return (self._path / name).read_bytes()

    def create(self, name: str, data: bytes) -> bool:
        part = self._part(data)
        target = self._path / name
        try:
            try:
                target.hardlink_to(part)
            except FileExistsError:
                return False
            try:
                sync_directory(self._path)
            except BaseException:
                # Nobody may build on a name that a power cut could take.
                target.unlink()
                raise
        finally:
            with suppress(OSError):
                part.unlink()
        return True

    def replace(self, name: str, data: bytes) -> None:
        part = self._part(data)
        try:
            part.rename(self._path / name)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise

    def remove(self, names: Iterable[str]) -> None:
        for name in names:
            (self._path / name).unlink(missing_ok=True)

    def idle(self, names: Iterable[str]) -> list[str]:
        # Whoever writes is alone.
        return list(names)

    def sweep(self) -> None:
        """Remove what killed processes did not finish; only for whoever keeps everybody else from writing."""
        self.remove(path.name for path in self._path.glob(f"*{_UNFINISHED}"))

    def _part(self, data: bytes) -> Path:
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


class RemoteShelf:
    """A prefix of an object store that knows how to make an object only where there is none."""

    is_locked = False

    def __init__(self, place: Place) -> None:
        from obstore.store import from_url

        lowered = {key.lower(): value for key, value in place.options.items()}
        # One dictionary for the engine, two for this client: how to reach the service, and what to be there.
        client: Any = {key: _flag(value) for key, value in lowered.items() if key in _CLIENT}
        config: Any = {key: value for key, value in lowered.items() if key not in _CLIENT}
        self._store: ObjectStore = from_url(f"{place.root}/{DIRECTORY}", config=config, client_options=client)

    def prepare(self) -> None:
        """A prefix is there as soon as something is under it."""

    def names(self) -> list[str]:
        found: list[str] = []
        for page in self._store.list():
            found += [one["path"].rpartition("/")[2] for one in page]
        return sorted(found)

    def read(self, name: str) -> bytes:
        return bytes(self._store.get(name).bytes())

    def create(self, name: str, data: bytes) -> bool:
        from obstore.exceptions import AlreadyExistsError

        try:
            self._store.put(name, data, mode="create")
        except AlreadyExistsError:
            # A request that was made again, because the answer to the first was lost, finds what the first one made.
            with suppress(FileNotFoundError):
                return self.read(name) == data
            return False
        return True

    def replace(self, name: str, data: bytes) -> None:
        self._store.put(name, data)

    def remove(self, names: Iterable[str]) -> None:
        for name in names:
            with suppress(FileNotFoundError):
                self._store.delete(name)

    def idle(self, names: Iterable[str]) -> list[str]:
        wanted, before = set(names), datetime.now(UTC) - _LONG
        if not wanted:
            return []
        listed = (one for page in self._store.list() for one in page)
        found = ((one["path"].rpartition("/")[2], one["last_modified"]) for one in listed)
        return [name for name, at in found if name in wanted and at < before]


def _flag(value: str) -> str | bool:
    return value.lower() == "true" if value.lower() in {"true", "false"} else value
