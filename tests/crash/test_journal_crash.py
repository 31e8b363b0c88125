"""The journal keeps the crash contract: alone, with interval durability, and in front of another store."""

from __future__ import annotations

from journal_opener import INTERVAL_S

from archetype_contracts import Capability, CrashContract

EVERYTHING = frozenset({Capability.TIME_TRAVEL, Capability.PERSISTENCE, Capability.SHARED})


class TestJournalCrash(CrashContract):
    """A journal that syncs every tick."""

    capabilities = EVERYTHING
    opener = "journal_opener:open_store"
    kills, calls, cuts, races = 50, 24, 12, 50


class TestIntervalCrash(CrashContract):
    """Interval durability: a kill loses no tick, a power cut no more than the declared window."""

    capabilities = EVERYTHING
    opener = "journal_opener:open_interval"
    durability = "interval"
    # The thread that syncs may have to wait for a processor.
    window_s = INTERVAL_S + 0.2
    kills, calls, cuts, races = 10, 8, 12, 10


class TestSealingCrash(CrashContract):
    """A journal that seals into another journal during kills and faults."""

    capabilities = EVERYTHING
    opener = "journal_opener:open_sealing"
    kills, calls, cuts, races = 20, 8, 10, 20
