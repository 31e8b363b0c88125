"""The right clauses catch every broken kernel, and so does the property K-301 if it can."""

from __future__ import annotations

from pathlib import Path

import pytest
from kernel_mutants import MUTANTS, Mutant

from archetype_contracts import KernelContract
from archetype_contracts.kernel.registry import REGISTRY
from archetype_core.engine import Kernel

pytestmark = pytest.mark.thorough


def adopter(mutant: Mutant) -> KernelContract:
    """Return the contract that the author of the broken kernel would write."""

    class Adopter(KernelContract):
        examples = 500

        def make_kernel(self) -> Kernel:
            return mutant.make()

    return Adopter()


CAUGHT = [(mutant, clause) for mutant in MUTANTS for clause in mutant.clauses]


@pytest.mark.parametrize(("mutant", "clause"), CAUGHT, ids=[f"{mutant.name}-{clause}" for mutant, clause in CAUGHT])
def test_the_right_clause_notices(mutant: Mutant, clause: str, tmp_path: Path) -> None:
    """A broken kernel breaks the clause about its defect, and the failure names the clause and where to look."""
    with pytest.raises(Exception) as caught:  # noqa: PT011  # reason: a broken kernel may raise any error
        adopter(mutant).check(REGISTRY.clauses[clause], tmp_path)
    notes = "\n".join(caught.value.__notes__)
    assert f"{clause}: {REGISTRY.clauses[clause].sentence}" in notes
    assert "Look at: " in notes


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_other_clauses_pass(mutant: Mutant, tmp_path: Path) -> None:
    """A broken kernel has one defect only: if nothing is staged, it still keeps the rows."""
    adopter(mutant).check(REGISTRY.clauses["K-009"], tmp_path)


REACHED = [mutant for mutant in MUTANTS if mutant.caught_at_random]


@pytest.mark.usefixtures("no_shrinking")
@pytest.mark.parametrize("mutant", REACHED, ids=[mutant.name for mutant in REACHED])
def test_the_property_notices(mutant: Mutant, tmp_path: Path) -> None:
    """Five hundred examples are enough to find the defect."""
    with pytest.raises(Exception):  # noqa: B017, PT011  # reason: a broken kernel may raise any error
        adopter(mutant).check(REGISTRY.clauses["K-301"], tmp_path)
