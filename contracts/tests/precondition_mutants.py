"""Gates that are broken in what they do with expected ticks."""

from __future__ import annotations

from gate_mutants import breaks
from reference_gate import ReferenceGate
from reference_worlds import LiveWorld


@breaks("G-601", "G-603", machine=False)
class IgnoresExpectedTicks(ReferenceGate):
    """Executes commands at any tick."""

    def expect(self, live: LiveWorld, tick: int | None, found: int) -> None:
        """Refuse nothing."""


@breaks("G-603", machine=False)
class ExpectsTicksTooEarly(ReferenceGate):
    """Looks at the tick when a call comes, and not when it is its turn."""

    def expect(self, live: LiveWorld, tick: int | None, found: int) -> None:
        if not live.turn.locked():
            super().expect(live, tick, found)


@breaks("G-601", machine=False)
class TakesLaterTicks(ReferenceGate):
    """Refuses a command only if its tick is over."""

    def expect(self, live: LiveWorld, tick: int | None, found: int) -> None:
        if tick is not None and tick < found:
            super().expect(live, tick, found)
