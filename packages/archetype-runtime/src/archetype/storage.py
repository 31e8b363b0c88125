"""Where histories are stored: short spellings of a storage, and the default."""

from __future__ import annotations

from pathlib import Path

from archetype_core.config import CacheConfig, StorageConfig
from archetype_core.store import has_embedded_store

Storage = str | Path | StorageConfig
"""An address such as ``journal:./data``, a path for the embedded store, or a ``StorageConfig``."""

DEFAULT_PLACE = "./archetype-data"


def storage_config(storage: Storage | None) -> StorageConfig | None:
    """Return the configuration for an address or path, or ``None`` for ``None``; anything else is a ``TypeError``."""
    if storage is None or isinstance(storage, StorageConfig):
        return storage
    if not isinstance(storage, str | Path):
        raise TypeError(f"storage is an address, a path or a StorageConfig, not {storage!r}")
    return StorageConfig(uri=str(storage))


def cache_config(cache: CacheConfig | None) -> CacheConfig | None:
    """Return the configuration; anything but a ``CacheConfig`` or ``None`` is a ``TypeError``."""
    if cache is not None and not isinstance(cache, CacheConfig):
        raise TypeError(f"cache is a CacheConfig, not {cache!r}")
    return cache


def default_storage() -> StorageConfig:
    """Return the default: `./archetype-data`, with the embedded store if it is installed, otherwise with a journal."""
    return StorageConfig(uri=DEFAULT_PLACE if has_embedded_store() else f"journal:{DEFAULT_PLACE}")
