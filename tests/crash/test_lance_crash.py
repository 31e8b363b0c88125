"""The Lance store keeps the crash contract: by itself, and behind its journal with hand-overs all the time."""

from __future__ import annotations

from archetype_contracts import Capability, CrashContract

EVERYTHING = frozenset({Capability.TIME_TRAVEL, Capability.PERSISTENCE, Capability.SHARED, Capability.SEARCH})


class TestLanceCrash(CrashContract):
    """Every tick is a few inserts and one file of the log."""

    capabilities = EVERYTHING
    opener = "lance_opener:open_store"
    kills, calls, cuts, races = 10, 5, 6, 6


class TestTendedLanceCrash(CrashContract):
    """Compaction and cleaning after every tick, so that most faults meet them."""

    capabilities = EVERYTHING
    opener = "lance_opener:open_tended"
    kills, calls, cuts, races = 10, 5, 6, 6


class TestJournaledLanceCrash(CrashContract):
    """Ticks move from the journal into Lance while all of this happens."""

    capabilities = EVERYTHING
    opener = "lance_opener:open_journaled"
    kills, calls, cuts, races = 40, 6, 8, 8
