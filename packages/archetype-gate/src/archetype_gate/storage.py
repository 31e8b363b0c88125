"""Backends: a store and the ledger beside it, built once for all worlds that share them, and closed once."""

from __future__ import annotations

import asyncio
import hashlib
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
from archetype_core.errors import GateClosed
from archetype_core.store import Store
from archetype_gate.ledger import Ledger
from archetype_gate.sqlite import SqliteLedger

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
LEDGER = "ledger.sqlite"


@dataclass(frozen=True, slots=True, eq=False)
class Backend:
    """Where some worlds live."""

    config: StorageConfig
    store: Store
    ledger: Ledger


class StorageService:
    """The backends of one gate. Worlds with the same storage and cache share one, built once under concurrency."""

    _in_memory: ClassVar[dict[str, Ledger]] = {}
    """Ledgers beside named memory stores, which outlive their gates as those stores do."""

    def __init__(self, ledgers: Path | None, opened: Callable[[Backend], None]) -> None:
        self._ledgers = ledgers
        self._opened = opened
        self._lock = threading.Lock()
        self._building: dict[tuple[object, CacheConfig | None], Future[Backend]] = {}
        self._by_place: dict[Path, Ledger] = {}
        self._is_open = True

    @property
    def backends(self) -> list[Backend]:
        """Those that are there, first opened first."""
        with self._lock:
            built = [one for one in self._building.values() if one.done()]
        return [one.result() for one in built if one.exception() is None]

    async def backend(self, config: StorageConfig, cache: CacheConfig | None = None) -> Backend:
        """The backend of a storage. Whoever asks first builds it, the others wait; a failure is everybody's, and not kept."""
        key = _key(config, cache)
        with self._lock:
            if not self._is_open:
                raise GateClosed
            future = self._building.get(key)
            if future is None and cache is None:
                # Whoever does not say how its journal keeps ticks takes the one that is there.
                future = next((one for other, one in self._building.items() if other[0] == key[0]), None)
            if mine := future is None:
                future = self._building[key] = Future()
        assert future is not None
        building = future
        if not mine:
            # Shielded: who stops waiting must not take it from the others.
            return await asyncio.shield(asyncio.wrap_future(building))

        def build() -> Backend:
            # To its end, also when whoever asked first gives up: the others wait for it.
            try:
                backend = self._build(config, cache)
            except BaseException as failure:
                with self._lock:
                    self._building.pop(key, None)
                building.set_exception(failure)
                raise
            self._opened(backend)
            building.set_result(backend)
            return backend

        return await in_thread(build)

    def _build(self, config: StorageConfig, cache: CacheConfig | None) -> Backend:
        # Before the store, which would leave a directory behind.
        place = self._place(config)
        store = open_store(config, cache)
        try:
            return Backend(config, store, self._ledger(config, place))
        except BaseException:
            store.close()
            raise

    def _ledger(self, config: StorageConfig, place: Path | None) -> Ledger:
        with self._lock:
            if place is not None:
                if place not in self._by_place:
                    self._by_place[place] = SqliteLedger(place)
                return self._by_place[place]
            name = config.address.partition(":")[2]
            if not name:
                return SqliteLedger(None)
            if name not in self._in_memory:
                self._in_memory[name] = SqliteLedger(None)
            return self._in_memory[name]

    def _place(self, config: StorageConfig) -> Path | None:
        return ledger_place(config, self._ledgers)

    async def close(self) -> None:
        """Close every store and ledger, last opened first, each once; what fails is raised when all were tried."""
        with self._lock:
            self._is_open = False
        backends = self.backends
        failures: list[Exception] = []

        def close() -> None:
            for verb in (
                *(one.ledger.close for one in reversed(backends) if one.ledger not in self._in_memory.values()),
                *(one.store.close for one in reversed(backends)),
            ):
                # Whatever one of them raises, the others are closed.
                try:
                    verb()
                except Exception as failure:  # noqa: BLE001  # reason: raised together below
                    failures.append(failure)

        await in_thread(close)
        with self._lock:
            self._building.clear()
            self._by_place.clear()
        if failures:
            raise ExceptionGroup("closing the storage failed", failures)


def ledger_place(config: StorageConfig, directory: Path | None = None) -> Path | None:
    """The file of the ledger beside a storage; ``None`` for one in memory.

    ``directory`` is where ledgers of storages without a local path are kept.
    """
    found = _SCHEME.match(config.address)
    scheme = config.backend or (found.group()[:-1].lower() if found else "")
    if scheme == "memory":
        return None
    rest = config.address[found.end() :] if found else config.address
    if rest.startswith("//"):
        if directory is None:
            raise ValueError(f"{config.address} is not a local directory: say with ledger=… where its ledger is kept")
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
