"""Adapters that other packages bring: stores and kernels, found by name through entry points."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points

STORES = "archetype.stores"
KERNELS = "archetype.kernels"

# What to install for an adapter that is ours but not here; anything else is a name we never heard of.
PACKAGES = {
    "journal": "archetype-journal",
    "lance": "archetype-store-lance",
    "iceberg": "archetype-store-iceberg",
    "parquet": "archetype-native",
    "native": "archetype-native",
}


Adapters = Mapping[str, EntryPoint]


def installed(group: str) -> Adapters:
    """The adapters of a group that are installed, by name."""
    return {point.name: point for point in entry_points(group=group)}
