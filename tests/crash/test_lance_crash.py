"""What an address opens keeps the crash contract: a Lance store that is tended after every commit, behind its journal."""

from __future__ import annotations

from archetype_contracts import Capability, CrashContract

EVERYTHING = frozenset({Capability.TIME_TRAVEL, Capability.PERSISTENCE, Capability.SHARED, Capability.SEARCH})


class TestJournaledLanceCrash(CrashContract):
    """Ticks move from the journal into Lance, and are compacted and cleaned there, while all of this happens."""

    capabilities = EVERYTHING
    opener = "lance_opener:open_journaled"
    kills, calls, cuts, races = 200, 5, 6, 20
