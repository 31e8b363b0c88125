"""How the crash contract opens journals."""

from __future__ import annotations

from pathlib import Path

from archetype_core import CacheConfig
from archetype_journal import JournaledStore, JournalStore

INTERVAL_S = 0.02


def open_store(place: Path) -> JournalStore:
    """The journal in a directory."""
    return JournalStore(place)


def open_interval(place: Path) -> JournalStore:
    """The same, not waited for."""
    return JournalStore(place, durability="interval", interval_s=INTERVAL_S)


def open_sealing(place: Path) -> JournaledStore:
    """A journal before another one, with hand-overs all the time."""
    beneath = JournalStore(place / "beneath")
    try:
        return JournaledStore(beneath, place / "journal", CacheConfig(rows=40, idle_s=0.005))
    except BaseException:
        beneath.close()
        raise
