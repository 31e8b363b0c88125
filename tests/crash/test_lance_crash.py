"""A Lance store behind its journal keeps the crash contract, with maintenance after every commit."""

from __future__ import annotations

from archetype_contracts import Capability, CrashContract

EVERYTHING = frozenset({Capability.TIME_TRAVEL, Capability.PERSISTENCE, Capability.SHARED, Capability.SEARCH})


class TestJournaledLanceCrash(CrashContract):
    """A journal that seals into Lance, which compacts and cleans up, during kills and faults."""

    capabilities = EVERYTHING
    opener = "lance_opener:open_journaled"
    # The broken stores are noticed within 10 kills; `crash-long` kills 2000 times.
    kills, calls, cuts, races = 60, 5, 6, 20
