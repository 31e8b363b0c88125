"""Opens a store by the scheme of its address."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from inspect import signature
from pathlib import PurePath
from types import MappingProxyType
from typing import Any

from archetype_core.adapter import PACKAGES, STORES, Adapters, installed
from archetype_core.config import CacheConfig, StorageConfig
from archetype_core.errors import AdapterMissing, UnknownScheme
from archetype_core.store.memory import open_memory
from archetype_core.store.port import Store

_EMBEDDED = "lance"


_BUILT_IN: Mapping[str, Callable[..., Store]] = MappingProxyType({"memory": open_memory})
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")


def open_store(
    storage: str | PurePath | StorageConfig,
    cache: CacheConfig | None = None,
    *,
    create: bool = True,
    adapters: Adapters | None = None,
) -> Store:
    """Open the store at an address such as ``memory:`` or ``lance:./data``; a bare path opens the embedded store.

    ``cache`` configures the store's journal; a store without a journal refuses it with ``ValueError``. With ``create=False`` a
    place without a store is ``StorageNotFound``, nothing is created there, and a place that cannot be written is opened to read
    only; otherwise that is ``StorageReadOnly``. An adapter whose opener has no parameter ``create`` opens as always.
    ``adapters`` replaces the installed entry points. ``AdapterMissing`` names the package to install for an adapter of this
    project, ``UnknownScheme`` lists the installed schemes.
    """
    config = storage if isinstance(storage, StorageConfig) else StorageConfig(uri=str(storage))
    found = _SCHEME.match(config.uri)
    name = config.backend or (found.group(1).lower() if found else _EMBEDDED)
    if name in _BUILT_IN:
        return _opened(name, _BUILT_IN[name], config, cache, create=create)
    known = installed(STORES) if adapters is None else adapters
    if name not in known:
        if name in PACKAGES:
            raise AdapterMissing("store", name, f"pip install {PACKAGES[name]}")
        raise UnknownScheme(config.uri, name, sorted({*_BUILT_IN, *known}))
    return _opened(name, known[name].load(), config, cache, create=create)


def has_embedded_store() -> bool:
    """Whether the store that a bare path opens is installed."""
    return _EMBEDDED in installed(STORES)


def _opened(
    name: str, opener: Callable[..., Store], config: StorageConfig, cache: CacheConfig | None, *, create: bool
) -> Store:
    takes = signature(opener).parameters
    more: dict[str, Any] = {"create": False} if not create and "create" in takes else {}
    if cache is not None:
        if not isinstance(cache, CacheConfig):
            raise TypeError(f"cache must be a CacheConfig, not {cache!r}")
        if "cache" not in takes:
            raise ValueError(f"{name}: has no journal, so it takes no CacheConfig: leave cache out")
        more["cache"] = cache
    return _called(name, opener, config, more)


def _called(name: str, opener: Callable[..., Store], config: StorageConfig, more: Mapping[str, Any]) -> Store:
    takes = signature(opener)
    options = [one for one in takes.parameters if one not in ("uri", "cache", "create")]
    try:
        takes.bind(config.address, **more, **config.options)
    except TypeError as failure:
        known = f"its options are {', '.join(options)}" if options else "it has no options"
        raise ValueError(f"{name}: {failure}; {known}") from None
    return opener(config.address, **more, **config.options)
