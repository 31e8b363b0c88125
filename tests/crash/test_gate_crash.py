"""The command service keeps every answered command when its process is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import held_child
import pytest
from gate_opener import Service
from held_child import ADMIN

from archetype_contracts import GateLimits
from archetype_contracts.assertion import ClauseFailed
from archetype_contracts.gate.crash import GateCrash
from archetype_contracts.gate.sample import Coin
from archetype_core.clock import SystemClock
from archetype_core.command import AuditFilter, CommandGate, GetHistory, OpenWorld, QuerySnapshot, Run
from archetype_core.config import RunConfig
from archetype_gate import SqliteLedger

KILLS = int(os.environ.get("ARCHETYPE_GATE_KILLS", "25"))
SEED = int(os.environ.get("ARCHETYPE_CRASH_SEED", "1"))


def test_a_killed_gate_keeps_what_it_answered(tmp_path: Path) -> None:
    """Accepted commands, also of many entities, apply once and whole, the chain verifies, no id is issued twice (G4, G5, R5)."""
    with GateCrash("gate_opener:Service", tmp_path, seed=SEED) as crash:
        crash.run(KILLS)
        assert crash.counts["answers"] > 5 * KILLS
        assert crash.counts["killed"] > KILLS // 2
        assert crash.counts["changes"] > KILLS // 5
        assert crash.counts["despawns"] > KILLS // 20


@pytest.mark.parametrize(("moment", "is_committed"), [("before", False), ("after", True)])
def test_a_kill_in_a_commit_loses_and_repeats_nothing(moment: str, is_committed: bool, tmp_path: Path) -> None:
    """What a processor sent durably is applied once if its tick was committed, and never if it was not (T7, G5)."""
    child = subprocess.run([sys.executable, held_child.__file__, tmp_path, moment], check=False)
    assert child.returncode == -signal.SIGKILL
    service = Service()

    async def coins(gate: CommandGate, name: str) -> list[int]:
        world = (await gate.execute(ADMIN, OpenWorld(name, service.storage(tmp_path)))).world_id
        await gate.execute(ADMIN, Run(RunConfig(steps=2)), world)
        frame = await gate.execute(ADMIN, QuerySnapshot((Coin,)), world)
        rows = await gate.execute(ADMIN, GetHistory(AuditFilter(type="spawn")), world)
        assert {row.status for row in rows} <= {"applied"}
        assert len(rows) == frame.count_rows()
        return sorted(frame.to_pydict()["coin__number"])

    async def inspect() -> None:
        for _ in range(2):
            async with service.open_gate(tmp_path, limits=GateLimits(), clock=SystemClock()) as gate:
                assert await coins(gate, "alpha") == ([1, 2, 4] if is_committed else [1])
                assert await coins(gate, "beta") == ([3] if is_committed else [])
            assert service.verify(tmp_path) == []
        with closing(SqliteLedger(tmp_path / "store" / "ledger.sqlite")) as ledger:
            assert ledger.held_entries() == []

    asyncio.run(inspect())


@pytest.mark.parametrize(
    "broken", ["ForgetsAppliedCommands", "ForgetsHeldCommands", "IssuesIdsTooEarly", "AnswersTooEarly"]
)
def test_killing_notices_a_broken_gate(broken: str, tmp_path: Path) -> None:
    """A gate that loses commands, applies them twice, issues ids twice or answers too early is noticed (G5)."""
    with GateCrash(f"gate_opener:{broken}", tmp_path, seed=SEED) as crash, pytest.raises(ClauseFailed):
        crash.run(200)
