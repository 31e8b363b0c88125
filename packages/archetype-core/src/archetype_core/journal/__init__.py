"""The journal: ticks made durable by one SQLite transaction each."""

from archetype_core.journal.journaled import JournaledStore
from archetype_core.journal.store import JournalStore, open_journal

__all__ = ["JournalStore", "JournaledStore", "open_journal"]
