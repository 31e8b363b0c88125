"""Lookup of stores and kernels that installed packages provide through entry points."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points

STORES = "archetype.stores"
KERNELS = "archetype.kernels"

# Our own adapters, so that a missing one can name the package to install.
PACKAGES = {
    "journal": "archetype-journal",
    "lance": "archetype-store-lance",
    "iceberg": "archetype-store-iceberg",
    "parquet": "archetype-native",
    "native": "archetype-native",
}


Adapters = Mapping[str, EntryPoint]


def installed(group: str) -> Adapters:
    """Return the installed adapters of an entry-point group, by name."""
    return {point.name: point for point in entry_points(group=group)}
