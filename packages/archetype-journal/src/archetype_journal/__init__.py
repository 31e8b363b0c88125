"""The journal: ticks made durable by one SQLite transaction each, alone or in front of any store."""

from archetype_journal.background import BackgroundTask
from archetype_journal.catalog import Catalog, SegmentEntry
from archetype_journal.contents import SegmentStatus, has_journal, read_segments
from archetype_journal.database import FILE, make_directory, sync_directory, sync_path
from archetype_journal.inspection import Finding, Report, read_only, verify
from archetype_journal.journaled import JournaledStore
from archetype_journal.reader import View
from archetype_journal.repair import Repair, repair
from archetype_journal.store import JournalStore, open_journal
from archetype_journal.wal import use_wal

__all__ = [
    "FILE",
    "BackgroundTask",
    "Catalog",
    "Finding",
    "JournalStore",
    "JournaledStore",
    "Repair",
    "Report",
    "SegmentEntry",
    "SegmentStatus",
    "View",
    "has_journal",
    "make_directory",
    "open_journal",
    "read_only",
    "read_segments",
    "repair",
    "sync_directory",
    "sync_path",
    "use_wal",
    "verify",
]
