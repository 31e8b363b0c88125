"""The journal keeps the crash contract."""

from __future__ import annotations

from archetype_contracts import Capability, CrashContract


class TestJournalCrash(CrashContract):
    """Every tick is a transaction of SQLite; large columns are files that were synced before."""

    capabilities = frozenset({Capability.TIME_TRAVEL, Capability.PERSISTENCE, Capability.SHARED})
    opener = "journal_opener:open_store"
    kills = 200
    known_failures = {"X-005": "the file of a large column stays when its process dies before the tick is committed"}
