"""The journal: ticks made durable by one SQLite transaction each."""

from archetype_core.journal.store import JournalStore, open_journal

__all__ = ["JournalStore", "open_journal"]
