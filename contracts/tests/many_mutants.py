"""Gates that break a promise about mutations of many entities, or of none."""

from __future__ import annotations

from gate_mutants import breaks
from reference_gate import LiveWorld, ReferenceGate
from reference_ledger import Waiting


@breaks("G-551", machine=True)
class StagesNoOps(ReferenceGate):
    """A command that changes nothing is staged all the same."""

    def put(self, live: LiveWorld, waiting: Waiting, *, is_skippable: bool = False) -> None:
        super().put(live, waiting)
