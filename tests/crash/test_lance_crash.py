"""A Lance store behind its journal keeps the crash contract, with maintenance after every commit."""

from __future__ import annotations

from archetype_contracts import Capability, CrashContract

EVERYTHING = frozenset({Capability.TIME_TRAVEL, Capability.PERSISTENCE, Capability.SHARED, Capability.SEARCH})


class TestJournaledLanceCrash(CrashContract):
    """A journal that seals into Lance, which compacts and cleans up, during kills and faults."""

    capabilities = EVERYTHING
    opener = "lance_opener:open_journaled"
    kills, calls, cuts, races = 200, 5, 6, 20
