"""The journal keeps the crash contract: alone, not waited for, and in front of another store."""

from __future__ import annotations

from journal_opener import INTERVAL_S

from archetype_contracts import Capability, CrashContract

EVERYTHING = frozenset({Capability.TIME_TRAVEL, Capability.PERSISTENCE, Capability.SHARED})


class TestJournalCrash(CrashContract):
    """Every tick is a transaction of SQLite; large columns are files that were synced before."""

    capabilities = EVERYTHING
    opener = "journal_opener:open_store"
    kills, calls, cuts, races = 50, 24, 12, 50


class TestIntervalCrash(CrashContract):
    """Ticks that are not waited for: killed processes lose none, power cuts no more than the declared window."""

    capabilities = EVERYTHING
    opener = "journal_opener:open_interval"
    durability = "interval"
    # A thread whose time has come may have to wait for a processor.
    window_s = INTERVAL_S + 0.2
    kills, calls, cuts, races = 10, 8, 12, 10


class TestSealingCrash(CrashContract):
    """Ticks move from one journal into another while all of this happens."""

    capabilities = EVERYTHING
    opener = "journal_opener:open_sealing"
    kills, calls, cuts, races = 20, 8, 10, 20
