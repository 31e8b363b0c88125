"""The journal: every tick is one durable SQLite transaction, alone or in front of any store.

For users: ``JournalStore``, ``JournaledStore``, ``open_journal``; ``verify`` and ``repair`` with their reports.
For adapters: ``read_segments``, ``has_journal`` and ``is_journal`` say what a journal holds; ``BackgroundTask``, ``Disk``,
``use_wal``, the directory functions, and the packing of attempt ids are the parts that durable stores share.
"""

from archetype_journal.attempt import pack_attempt, unpack_attempt
from archetype_journal.background import BackgroundTask
from archetype_journal.contents import IN_FRONT, SegmentStatus, has_journal, is_journal, read_segments
from archetype_journal.disk import Disk, make_directory, sync_directory, sync_path
from archetype_journal.inspection import JournalFinding, JournalReport, verify
from archetype_journal.journaled import JournaledStore
from archetype_journal.read_only import copy_database, is_journal_writable, is_writable
from archetype_journal.repair import Repair, repair
from archetype_journal.store import JournalStore, open_journal
from archetype_journal.wal_check import use_wal

__all__ = [
    "IN_FRONT",
    "BackgroundTask",
    "Disk",
    "JournalFinding",
    "JournalReport",
    "JournalStore",
    "JournaledStore",
    "Repair",
    "SegmentStatus",
    "copy_database",
    "has_journal",
    "is_journal",
    "is_journal_writable",
    "is_writable",
    "make_directory",
    "open_journal",
    "pack_attempt",
    "read_segments",
    "repair",
    "sync_directory",
    "sync_path",
    "unpack_attempt",
    "use_wal",
    "verify",
]
