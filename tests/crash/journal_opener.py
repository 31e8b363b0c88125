"""How the crash contract opens a journal."""

from __future__ import annotations

from pathlib import Path

from archetype_core.journal import JournalStore


def open_store(place: Path) -> JournalStore:
    """The journal in a directory."""
    return JournalStore(place)
