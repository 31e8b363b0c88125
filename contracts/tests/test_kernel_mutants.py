"""Every broken kernel is caught by the clauses that say what it breaks, and by the property where that reaches."""

from __future__ import annotations

from pathlib import Path

import pytest
from kernel_mutants import MUTANTS, Mutant

from archetype_contracts import KernelContract
from archetype_contracts.kernel.registry import REGISTRY
from archetype_core.engine import Kernel

pytestmark = pytest.mark.thorough


def adopter(mutant: Mutant) -> KernelContract:
    """Return the contract that an author of the broken kernel would write."""

    class Adopter(KernelContract):
        examples = 500

        def make_kernel(self) -> Kernel:
            return mutant.make()

    return Adopter()


CAUGHT = [(mutant, clause) for mutant in MUTANTS for clause in mutant.clauses]


@pytest.mark.parametrize(("mutant", "clause"), CAUGHT, ids=[f"{mutant.name}-{clause}" for mutant, clause in CAUGHT])
def test_the_right_clause_notices(mutant: Mutant, clause: str, tmp_path: Path) -> None:
    """A broken kernel breaks the clause that its author would expect, and the failure names it."""
    with pytest.raises(Exception) as caught:  # noqa: PT011  # reason: a broken kernel fails as it will
        adopter(mutant).check(REGISTRY.clauses[clause], tmp_path)
    assert f"{clause}: {REGISTRY.clauses[clause].sentence}" in "\n".join(caught.value.__notes__)


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_other_clauses_hold(mutant: Mutant, tmp_path: Path) -> None:
    """A broken kernel is broken in one way only: with nothing staged the rows still stand."""
    adopter(mutant).check(REGISTRY.clauses["K-009"], tmp_path)


REACHED = [mutant for mutant in MUTANTS if mutant.caught_at_random]


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("mutant", REACHED, ids=[mutant.name for mutant in REACHED])
def test_the_property_notices(mutant: Mutant, tmp_path: Path) -> None:
    """A few hundred mutations are enough to find what is broken."""
    with pytest.raises(Exception):  # noqa: B017, PT011  # reason: whatever it raises
        adopter(mutant).check(REGISTRY.clauses["K-301"], tmp_path)
