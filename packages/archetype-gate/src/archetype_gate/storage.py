"""Backends: a store with the ledger beside it, opened once for all worlds that share it."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from archetype_core import open_store
from archetype_core.config import CacheConfig, StorageConfig
from archetype_core.engine import in_thread
from archetype_core.errors import GateClosed, StorageNotFound, StorageReadOnly
from archetype_core.store import PlacedStore, Store
from archetype_gate.ledger import Ledger
from archetype_gate.ledger_copy import copied_ledger
from archetype_gate.sqlite import SqliteLedger
from archetype_journal import is_writable

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
LEDGER = "ledger.sqlite"

log = logging.getLogger("archetype.gate")


@dataclass(frozen=True, slots=True, eq=False)
class Backend:
    """An open store and its ledger."""

    config: StorageConfig
    store: Store
    ledger: Ledger
    is_read_only: bool = False
    """Whether the store or its ledger cannot be written. What the ledger gets is kept in memory then."""

    def check_writable(self) -> None:
        """Raise ``StorageReadOnly`` if the store or its ledger cannot be written."""
        if self.is_read_only:
            raise StorageReadOnly(self.config.address)


class StorageService:
    """The backends of one gate. Worlds with the same storage and cache share one backend.

    ``ledgers`` is the directory for ledgers of storages without a local path; ``on_open`` is called with each new
    backend before anybody gets it. ``copy_ledger`` opens the ledger of a place that cannot be written, in memory.
    """

    _in_memory: ClassVar[dict[str, Ledger]] = {}
    """Ledgers of named memory stores, by name. They outlive their gates, as those stores do."""

    def __init__(
        self,
        ledgers: Path | None,
        on_open: Callable[[Backend], None],
        open_ledger: Callable[[Path | None], Ledger] = SqliteLedger,
        copy_ledger: Callable[[Path], Ledger] = copied_ledger,
    ) -> None:
        self._ledgers = ledgers
        self._on_open = on_open
        self._open_ledger = open_ledger
        self._copy_ledger = copy_ledger
        self._lock = threading.Lock()
        self._building: dict[tuple[object, CacheConfig | None], Future[Backend]] = {}
        self._by_path: dict[Path, Ledger] = {}
        self._is_open = True

    @property
    def backends(self) -> list[Backend]:
        """The open backends, in the order they were opened."""
        with self._lock:
            built = [one for one in self._building.values() if one.done()]
        return [one.result() for one in built if one.exception() is None]

    async def backend(self, config: StorageConfig, cache: CacheConfig | None = None, *, create: bool = True) -> Backend:
        """Return the backend of a storage, opening it if needed; without ``cache``, any open backend of that storage.

        The first caller opens it and the others wait. If that fails all of them raise, and the next call tries again.
        ``StorageNotFound`` with ``create=False`` if there is neither store nor ledger; then nothing is created. A place that
        cannot be written is opened to read only, and is ``StorageReadOnly`` without ``create=False``. ``GateClosed`` once closed.
        """
        while True:
            try:
                backend = await self._backend(config, cache, create=create)
                if create:
                    backend.check_writable()
                return backend
            except StorageNotFound:
                # This caller creates the place; the one that it waited for did not.
                if not create:
                    raise

    async def _backend(self, config: StorageConfig, cache: CacheConfig | None, *, create: bool) -> Backend:
        key = _key(config, cache)
        with self._lock:
            if not self._is_open:
                raise GateClosed
            future = self._building.get(key)
            if future is None and cache is None:
                # A caller without cache settings shares a backend that is open already.
                future = next((one for other, one in self._building.items() if other[0] == key[0]), None)
            if mine := future is None:
                future = self._building[key] = Future()
        assert future is not None
        building = future
        if not mine:
            # Shielded, so that a caller who is cancelled does not cancel it for the others.
            return await asyncio.shield(asyncio.wrap_future(building))

        def build() -> Backend:
            # In a thread, so that it finishes even if the first caller is cancelled: the others wait for it.
            try:
                backend = self._build(config, cache, create=create)
            except BaseException as failure:
                with self._lock:
                    self._building.pop(key, None)
                building.set_exception(failure)
                raise
            self._on_open(backend)
            building.set_result(backend)
            return backend

        return await in_thread(build)

    def _build(self, config: StorageConfig, cache: CacheConfig | None, *, create: bool) -> Backend:
        # Before the store is opened: if this raises, no directory is left behind.
        path = ledger_path(config, self._ledgers)
        store = self._store(config, cache, path, create=create)
        try:
            is_read_only = isinstance(store, PlacedStore) and store.is_read_only
            if path is not None and (is_read_only or not is_writable(path.parent, path)):
                if create:
                    raise StorageReadOnly(str(path.parent))
                place = path.parent
                log.warning("%s cannot be written: it is read, and the audit of that is kept in memory only", place)
                return Backend(config, store, self._ledger_copy(path), is_read_only=True)
            return Backend(config, store, self._ledger(config, path))
        except BaseException:
            store.close()
            raise

    def _store(self, config: StorageConfig, cache: CacheConfig | None, ledger: Path | None, *, create: bool) -> Store:
        try:
            return open_store(config, cache, create=create)
        except StorageNotFound:
            if ledger is None or not ledger.exists():
                raise
            # Where a ledger is, a missing store was lost: the world that is opened says which ticks are gone.
            return open_store(config, cache)

    def _ledger_copy(self, path: Path) -> Ledger:
        with self._lock:
            if path not in self._by_path:
                self._by_path[path] = self._copy_ledger(path)
            return self._by_path[path]

    def _ledger(self, config: StorageConfig, path: Path | None) -> Ledger:
        with self._lock:
            if path is not None:
                if path not in self._by_path:
                    self._by_path[path] = self._open_ledger(path)
                return self._by_path[path]
            name = config.address.partition(":")[2]
            if not name:
                return self._open_ledger(None)
            if name not in self._in_memory:
                self._in_memory[name] = self._open_ledger(None)
            return self._in_memory[name]

    async def close(self) -> None:
        """Close all ledgers and then all stores, last opened first; idempotent.

        Failures are raised as one ``ExceptionGroup`` after all were tried.
        """
        with self._lock:
            self._is_open = False
        backends = self.backends
        failures: list[Exception] = []

        def close() -> None:
            for close_one in (
                *(one.ledger.close for one in reversed(backends) if one.ledger not in self._in_memory.values()),
                *(one.store.close for one in reversed(backends)),
            ):
                # One failure must not leave the others open.
                try:
                    close_one()
                except Exception as failure:  # noqa: BLE001  # reason: raised together below
                    failures.append(failure)

        await in_thread(close)
        with self._lock:
            self._building.clear()
            self._by_path.clear()
        if failures:
            raise ExceptionGroup("closing the storage failed", failures)


def ledger_path(config: StorageConfig, directory: Path | None = None) -> Path | None:
    """Return the file of a storage's ledger; ``None`` for a storage in memory.

    ``directory`` is for ledgers of storages without a local path; ``ValueError`` if one is needed and missing.
    """
    found = _SCHEME.match(config.address)
    scheme = config.backend or (found.group()[:-1].lower() if found else "")
    if scheme == "memory":
        return None
    rest = config.address[found.end() :] if found else config.address
    if rest.startswith("//"):
        if directory is None:
            raise ValueError(
                f"{config.address} is not a local directory: pass ledger=… with a directory for its ledger"
            )
        return directory.absolute() / hashlib.sha256(config.address.encode()).hexdigest()[:16] / LEDGER
    return Path(rest).absolute() / LEDGER


def _key(config: StorageConfig, cache: CacheConfig | None) -> tuple[object, CacheConfig | None]:
    uri = config.address
    found = _SCHEME.match(uri)
    if not found or not uri[found.end() :].startswith("//"):
        scheme, rest = (uri[: found.end()], uri[found.end() :]) if found else ("", uri)
        uri = scheme + (str(Path(rest).absolute()) if rest and scheme != "memory:" else rest)
    options = tuple(sorted((name, repr(value)) for name, value in config.options.items()))
    return (uri, config.backend, options), cache
