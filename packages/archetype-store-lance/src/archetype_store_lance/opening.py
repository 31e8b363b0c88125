"""What an address such as ``lance:./data`` opens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from archetype_core.config import CacheConfig
from archetype_core.journal import JournaledStore
from archetype_store_lance.place import Place

JOURNAL = "journal"
"""The directory of the journal beside the tables of a local store."""


def open_lance(
    uri: str,
    cache: CacheConfig | None = None,
    *,
    journal: str | Path | None = None,
    storage_options: Mapping[str, str] | None = None,
) -> JournaledStore:
    """The Lance store of a directory or an object store, with a journal before it: every tick is durable when it returns.

    ``journal`` is where that is, ``<directory>/journal`` unless said otherwise; an object store has no such place, so it
    has to be said. ``storage_options`` are the object store's, such as ``aws_access_key_id`` and ``endpoint``.
    """
    place = Place.of(uri, storage_options)
    if journal is None:
        if place.local is None:
            raise ValueError(f"{place} is no directory: say where its journal is, with the option journal=<directory>")
        journal = place.local / JOURNAL
    # It brings the engine along, which takes a second.
    from archetype_store_lance.store import LanceStore

    store = LanceStore(place.root, place.options)
    try:
        return JournaledStore(store, journal, cache)
    except BaseException:
        store.close()
        raise
