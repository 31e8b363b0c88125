"""The journal: ticks made durable by one SQLite transaction each."""

from archetype_core.journal.inspection import Finding, Report, verify
from archetype_core.journal.journaled import JournaledStore
from archetype_core.journal.repair import Repair, repair
from archetype_core.journal.store import JournalStore, open_journal

__all__ = ["Finding", "JournalStore", "JournaledStore", "Repair", "Report", "open_journal", "repair", "verify"]
