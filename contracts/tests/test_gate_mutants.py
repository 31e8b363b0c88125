"""The right clauses catch every broken gate, and so does the state machine if it can."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import history_mutants  # noqa: F401  # reason: importing it registers its mutants
import key_mutants  # noqa: F401  # reason: importing it registers its mutants
import many_mutants  # noqa: F401  # reason: importing it registers its mutants
import precondition_mutants  # noqa: F401  # reason: as above
import pytest
import sight_mutants  # noqa: F401  # reason: as above
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
    """Return the contract that the author of the broken gate would write."""

    class Adopter(GateContract):
        examples = 250

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
    """A broken gate breaks the clause about its defect, and the failure names the clause, the calls and where to look."""
    with pytest.raises(Exception) as caught:  # noqa: PT011  # reason: a broken gate may raise any error
        adopter(mutant).check(REGISTRY.clauses[clause], tmp_path)
    notes = "\n".join(caught.value.__notes__)
    assert f"{clause}: {REGISTRY.clauses[clause].sentence}" in notes
    assert "The calls so far:" in notes
    assert "Look at: the calls above" in notes


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_other_clauses_pass(mutant: Mutant, tmp_path: Path) -> None:
    """A broken gate has one defect only: an unrelated clause still passes."""
    adopter(mutant).check(REGISTRY.clauses[mutant.sound], tmp_path)


REACHED = [mutant for mutant in MUTANTS if mutant.machine]


@pytest.mark.usefixtures("no_shrinking")
@pytest.mark.parametrize("mutant", REACHED, ids=[mutant.name for mutant in REACHED])
def test_the_state_machine_notices(mutant: Mutant, tmp_path: Path) -> None:
    """A few hundred programs are enough to find the defect."""
    with pytest.raises(Exception):  # noqa: B017, PT011  # reason: a broken gate may raise any error
        adopter(mutant).check(REGISTRY.clauses["G-901"], tmp_path)


def test_mutants_cover_the_groups() -> None:
    """Every group of clauses catches a broken gate."""
    groups = {clause[:3] for mutant in MUTANTS for clause in mutant.clauses}
    assert groups >= {"G-0", "G-1", "G-2", "G-3", "G-4", "G-5", "G-6"}
    assert len(MUTANTS) >= 12
