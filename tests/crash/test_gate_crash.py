"""The command service keeps every answered command when its process is killed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from archetype_contracts.assertion import ClauseFailed
from archetype_contracts.gate.crash import GateCrash

KILLS = int(os.environ.get("ARCHETYPE_GATE_KILLS", "25"))
SEED = int(os.environ.get("ARCHETYPE_CRASH_SEED", "1"))


def test_a_killed_gate_keeps_what_it_answered(tmp_path: Path) -> None:
    """Accepted commands apply once and have audit rows, the chain verifies, and no id is issued twice (G4, G5, R5)."""
    with GateCrash("gate_opener:Service", tmp_path, seed=SEED) as crash:
        crash.run(KILLS)
        assert crash.counts["answers"] > 5 * KILLS
        assert crash.counts["killed"] > KILLS // 2


@pytest.mark.parametrize("broken", ["ForgetsAppliedCommands", "IssuesIdsTooEarly", "AnswersTooEarly"])
def test_killing_notices_a_broken_gate(broken: str, tmp_path: Path) -> None:
    """A gate that applies commands twice, issues ids twice or answers too early is noticed (G5)."""
    with GateCrash(f"gate_opener:{broken}", tmp_path, seed=SEED) as crash, pytest.raises(ClauseFailed):
        crash.run(40)
