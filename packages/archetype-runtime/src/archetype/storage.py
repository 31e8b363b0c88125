"""Where a world's history is kept when the caller says it in short, or not at all."""

from __future__ import annotations

from pathlib import Path

from archetype_core.config import CacheConfig, StorageConfig
from archetype_core.store import has_embedded_store

Storage = str | Path | StorageConfig
"""An address such as ``journal:./data``, a path for the embedded store, or a whole configuration."""

DEFAULT_PLACE = "./archetype-data"


def storage_config(storage: Storage | None) -> StorageConfig | None:
    """The configuration that an address stands for; ``None`` stays what it is."""
    if storage is None or isinstance(storage, StorageConfig):
        return storage
    if not isinstance(storage, str | Path):
        raise TypeError(f"storage is an address, a path or a StorageConfig, not {storage!r}")
    return StorageConfig(uri=str(storage))


def cache_config(cache: CacheConfig | None) -> CacheConfig | None:
    """The configuration as it is; anything else is refused where it was given."""
    if cache is not None and not isinstance(cache, CacheConfig):
        raise TypeError(f"cache is a CacheConfig, not {cache!r}")
    return cache


def default_storage() -> StorageConfig:
    """A directory beside the script: the embedded store where it is installed, a journal otherwise."""
    return StorageConfig(uri=DEFAULT_PLACE if has_embedded_store() else f"journal:{DEFAULT_PLACE}")
