"""Functions that open journals for the crash contract."""

from __future__ import annotations

from pathlib import Path

from archetype_core import CacheConfig
from archetype_journal import JournaledStore, JournalStore

INTERVAL_S = 0.02


def open_store(place: Path) -> JournalStore:
    """Open a journal that syncs every tick."""
    return JournalStore(place)


def open_interval(place: Path) -> JournalStore:
    """Open a journal that syncs at an interval."""
    return JournalStore(place, durability="interval", interval_s=INTERVAL_S)


def open_sealing(place: Path) -> JournaledStore:
    """Open a journal in front of another one, with small limits, so that it seals all the time."""
    inner = JournalStore(place / "inner")
    try:
        return JournaledStore(inner, place / "journal", CacheConfig(rows=40, idle_s=0.005))
    except BaseException:
        inner.close()
        raise
