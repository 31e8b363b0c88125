"""Every broken gate is caught by the clauses that say what it breaks, and by the state machine where that reaches."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from gate_mutants import MUTANTS, Mutant
from reference_gate import LEDGERS

from archetype_contracts import GateContract, GateLimits
from archetype_contracts.gate.contract import Tampering
from archetype_contracts.gate.registry import REGISTRY
from archetype_core.clock import Clock
from archetype_core.command import CommandGate
from archetype_core.config import StorageConfig

pytestmark = pytest.mark.thorough


def adopter(mutant: Mutant) -> GateContract:
    """Return the contract that an author of the broken gate would write."""

    class Adopter(GateContract):
        examples = 60

        @asynccontextmanager
        async def open_gate(self, place: Path, *, limits: GateLimits, clock: Clock) -> AsyncIterator[CommandGate]:
            gate = mutant.make(place, limits, clock)
            yield gate
            await gate.close()

        def storage(self, place: Path) -> StorageConfig:
            return StorageConfig(f"memory:{place}")

        def verify(self, place: Path) -> Sequence[str]:
            return LEDGERS[place].verify()

        def tamper(self, place: Path, how: Tampering) -> None:
            LEDGERS[place].tamper(how)

    return Adopter()


CAUGHT = [(mutant, clause) for mutant in MUTANTS for clause in mutant.clauses]


@pytest.mark.parametrize(("mutant", "clause"), CAUGHT, ids=[f"{mutant.name}-{clause}" for mutant, clause in CAUGHT])
def test_the_right_clause_notices(mutant: Mutant, clause: str, tmp_path: Path) -> None:
    """A broken gate breaks the clause that its author would expect, and the failure names it."""
    with pytest.raises(Exception) as caught:  # noqa: PT011  # reason: a broken gate fails as it will
        adopter(mutant).check(REGISTRY.clauses[clause], tmp_path)
    notes = "\n".join(caught.value.__notes__)
    assert f"{clause}: {REGISTRY.clauses[clause].sentence}" in notes
    assert "The calls so far:" in notes


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_other_clauses_hold(mutant: Mutant, tmp_path: Path) -> None:
    """A broken gate is broken in one way only: an unrelated clause still holds."""
    adopter(mutant).check(REGISTRY.clauses[mutant.sound], tmp_path)


REACHED = [mutant for mutant in MUTANTS if mutant.machine]


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("mutant", REACHED, ids=[mutant.name for mutant in REACHED])
def test_the_state_machine_notices(mutant: Mutant, tmp_path: Path) -> None:
    """Sixty programs are enough to find what is broken."""
    with pytest.raises(Exception):  # noqa: B017, PT011  # reason: whatever it raises
        adopter(mutant).check(REGISTRY.clauses["G-901"], tmp_path)


def test_mutants_cover_the_groups() -> None:
    """Every group of clauses is shown to notice something."""
    groups = {clause[:3] for mutant in MUTANTS for clause in mutant.clauses}
    assert groups >= {"G-0", "G-1", "G-2", "G-3", "G-4", "G-5"}
    assert len(MUTANTS) >= 12
