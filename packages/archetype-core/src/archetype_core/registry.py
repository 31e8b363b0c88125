"""Finds adapters by name: stores by the scheme of a storage address, kernels by their own, both through entry points."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from inspect import signature
from pathlib import PurePath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from archetype_core.config import CacheConfig, StorageConfig
from archetype_core.errors import AdapterMissing, UnknownScheme
from archetype_core.kernel import PythonKernel
from archetype_core.memory import open_memory
from archetype_core.ports import Kernel, Store

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

STORES = "archetype.stores"
KERNELS = "archetype.kernels"

# What to install for an adapter that is ours but not here; anything else is a name we never heard of.
_OURS = {
    "lance": "archetype-store-lance",
    "iceberg": "archetype-store-iceberg",
    "parquet": "archetype-native",
    "native": "archetype-native",
}
_EMBEDDED = "lance"


def _open_journal(uri: str, cache: CacheConfig | None = None) -> Store:
    # Brings SQLite along.
    from archetype_core.journal import open_journal

    return open_journal(uri, cache)


_BUILT_IN: Mapping[str, Callable[..., Store]] = MappingProxyType({"memory": open_memory, "journal": _open_journal})
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")


def open_store(storage: str | PurePath | StorageConfig, cache: CacheConfig | None = None) -> Store:
    """Open the store behind an address such as ``memory:`` or ``lance:./data``; a bare path is the embedded store.

    ``cache`` says how its journal keeps ticks; a store without one refuses it. ``UnknownScheme`` for a scheme nobody knows,
    ``AdapterMissing`` with the package to install for one of ours.
    """
    config = storage if isinstance(storage, StorageConfig) else StorageConfig(uri=str(storage))
    found = _SCHEME.match(config.uri)
    name = config.backend or (found.group(1).lower() if found else _EMBEDDED)
    if name in _BUILT_IN:
        return _opened(name, _BUILT_IN[name], config, cache)
    known = _found(STORES)
    if name not in known:
        if name in _OURS:
            raise AdapterMissing("store", name, f"pip install {_OURS[name]}")
        raise UnknownScheme(config.uri, name, sorted({*_BUILT_IN, *known}))
    return _opened(name, known[name].load(), config, cache)


def has_embedded_store() -> bool:
    """Whether the store that a bare path means is installed."""
    return _EMBEDDED in _found(STORES)


def _opened(name: str, opener: Callable[..., Store], config: StorageConfig, cache: CacheConfig | None) -> Store:
    if cache is None:
        return _called(name, opener, config, {})
    if not isinstance(cache, CacheConfig):
        raise TypeError(f"cache is a CacheConfig, not {cache!r}")
    if "cache" not in signature(opener).parameters:
        raise ValueError(f"{name}: has no journal, so there is nothing that a CacheConfig could say about it")
    return _called(name, opener, config, {"cache": cache})


def _called(name: str, opener: Callable[..., Store], config: StorageConfig, more: Mapping[str, Any]) -> Store:
    takes = signature(opener)
    options = [one for one in takes.parameters if one not in ("uri", "cache")]
    try:
        takes.bind(config.address, **more, **config.options)
    except TypeError as failure:
        known = f"its options are {', '.join(options)}" if options else "it has no options"
        raise ValueError(f"{name}: {failure}; {known}") from None
    return opener(config.address, **more, **config.options)


def load_kernel(kernel: str | Kernel) -> Kernel:
    """The kernel of a name, ``python`` or ``native``; an instance is taken as it is."""
    if not isinstance(kernel, str):
        return kernel
    if kernel == "python":
        return PythonKernel()
    known = _found(KERNELS)
    if kernel not in known:
        remedy = (
            f"pip install {_OURS[kernel]}"
            if kernel in _OURS
            else f"installed kernels: {', '.join(sorted({'python', *known}))}"
        )
        raise AdapterMissing("kernel", kernel, remedy)
    factory: Callable[[], Any] = known[kernel].load()
    found: Kernel = factory()
    return found


def _found(group: str) -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=group)}
