"""Entity ids after a kill: a world goes on as one that was not killed, and no caller's id is given out twice."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from stage import ADMIN, Position, create_world, journal_at, open_gate, open_world, run_scenario, run_steps, step

from archetype_core.command import AddHandler, Custom, Digest, GetWorldInfo, Spawn
from archetype_core.store import Segment
from archetype_gate import SqliteLedger, verify
from archetype_gate.ledger import LedgerWorld

CHILD = Path(__file__).with_name("ids_child.py")
TICKS = 4


def run_child(place: Path, ticks: int, moment: str) -> list[int]:
    """Run the program; return the ids that it was told."""
    command = [sys.executable, str(CHILD), str(place), str(ticks), moment]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == (0 if moment == "never" else -signal.SIGKILL), done.stderr
    return [int(one) for one in json.loads(done.stdout)]


def digests(place: Path) -> list[str]:
    """The digest of every tick."""
    found: list[str] = []

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = (await open_world(gate, journal_at(place))).world_id
            last = (await gate.execute(ADMIN, GetWorldInfo(), world_id)).tick
            found.extend([await gate.execute(ADMIN, Digest(at), world_id) for at in range(last)])

    run_scenario(scenario)
    return found


def test_a_killed_world_goes_on_with_the_same_ids(tmp_path: Path) -> None:
    """Killed without a close and opened again, a world whose processors spawn is the same as one never killed (R5, G5)."""
    killed, twin = tmp_path / "killed", tmp_path / "twin"
    for moment in ("quiet", "quiet", "never"):
        run_child(killed, TICKS, moment)
    run_child(twin, 3 * TICKS, "never")
    assert digests(killed) == digests(twin)
    assert verify(journal_at(killed)) == []


def test_no_id_of_a_killed_process_is_given_out_twice(tmp_path: Path) -> None:
    """Ids that callers got from executed and queued spawns before a kill stay theirs (G5, G6)."""
    told = [one for _ in range(3) for one in run_child(tmp_path, TICKS, "told")]
    assert len(set(told)) == len(told) == 7

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = (await open_world(gate, journal_at(tmp_path))).world_id
            assert await gate.execute(ADMIN, Spawn((Position(),)), world_id) > max(told)

    run_scenario(scenario)
    assert verify(journal_at(tmp_path)) == []


def is_told(place: Path) -> bool:
    """Whether the ledger notes that callers may know ids that no tick has."""
    ledger = SqliteLedger(place / "data" / "ledger.sqlite")
    try:
        (world,) = ledger.worlds()
        return world.is_told
    finally:
        ledger.close()


@pytest.mark.parametrize("by", ["spawn", "custom"])
def test_the_mark_is_on_disk_before_an_id_is_told(tmp_path: Path, by: str) -> None:
    """The ledger notes a told id before the caller has it, and forgets it at the second commit after it (G5)."""
    seen: list[bool] = []

    def spawns(scope: Any, _: Any) -> None:
        scope.spawn(Position())
        seen.append(is_told(tmp_path))

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await create_world(gate, journal_at(tmp_path))
            await gate.execute(ADMIN, AddHandler("spawns", spawns), world_id)
            assert not is_told(tmp_path)
            for _ in range(2):
                if by == "spawn":
                    await gate.execute(ADMIN, Spawn((Position(),)), world_id)
                else:
                    await gate.execute(ADMIN, Custom("spawns", None), world_id)
                assert is_told(tmp_path)
                await step(gate, world_id)
                await gate.flush()
                assert is_told(tmp_path)
                await step(gate, world_id)
                await gate.flush()
                assert not is_told(tmp_path)
        assert all(seen)

    run_scenario(scenario)


def test_ids_of_a_gate_that_is_still_open_are_not_reused(tmp_path: Path) -> None:
    """While another gate has the ledger open, its reserved ids are left to it, told or not (G5)."""

    async def scenario() -> None:
        async with open_gate() as one:
            world_id = await create_world(one, journal_at(tmp_path))
            first = await one.execute(ADMIN, Spawn((Position(),)), world_id)
            await run_steps(one, world_id, 3)
            await one.flush()
            assert not is_told(tmp_path)
            async with open_gate() as two:
                await open_world(two, journal_at(tmp_path))
                theirs = await two.execute(ADMIN, Spawn((Position(),)), world_id)
                mine = await one.execute(ADMIN, Spawn((Position(),)), world_id)
                assert len({first, theirs, mine}) == 3

    run_scenario(scenario)


def test_a_mark_is_kept_if_another_gate_reserved_ids(tmp_path: Path) -> None:
    """Forgetting applies only to a gate's own last block, and a write that failed or waits does not undo a newer mark (G5)."""
    path = tmp_path / "ledger.sqlite"
    one, two = SqliteLedger(path), SqliteLedger(path)
    one.add_world(LedgerWorld(Segment("w", "run", 0, None, "w", 1)))
    one.reserve_ids("w", 1, 10)
    one.mark_told("w")
    two.reserve_ids("w", 11, 10)
    one.settle_tick("w", 1, forgets_to=11)
    one.sync()
    (world,) = two.worlds()
    assert world.is_told
    two.settle_tick("w", 2, forgets_to=21)
    two.mark_told("w")
    two.sync()
    assert two.worlds()[0].is_told
    two.settle_tick("w", 3, forgets_to=21)
    two.sync()
    assert not two.worlds()[0].is_told
    assert not two.may_reuse_ids("w")
    one.close()
    assert two.may_reuse_ids("w")
    two.reserve_ids("w", 21, 10, is_told=True)
    assert not two.may_reuse_ids("w")
    assert two.verify() == []
    two.close()
