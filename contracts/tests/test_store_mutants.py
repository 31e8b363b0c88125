"""The right clauses catch every broken store, and so does the state machine if it can."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import broken_attempts  # noqa: F401  # reason: importing it registers its stores
import broken_commits  # noqa: F401  # reason: importing it registers its stores
import broken_continuations  # noqa: F401  # reason: importing it registers its stores
import broken_lifetimes  # noqa: F401  # reason: importing it registers its stores
import broken_reads  # noqa: F401  # reason: importing it registers its stores
import broken_searches  # noqa: F401  # reason: importing it registers its stores
import broken_values  # noqa: F401  # reason: importing it registers its stores
import pytest
from store_mutants import MUTANTS, Mutant

from archetype_contracts import StoreContract
from archetype_contracts.store.registry import REGISTRY
from archetype_core.store import Store

pytestmark = pytest.mark.thorough


def adopter(mutant: Mutant) -> StoreContract:
    """Return the contract that the author of the broken store would write."""

    class Adopter(StoreContract):
        capabilities = mutant.capabilities
        examples = 200

        @asynccontextmanager
        async def open_store(self, place: Path) -> AsyncIterator[Store]:
            store = mutant.make(str(place))
            yield store
            store.close()

    return Adopter()


CAUGHT = [(mutant, clause) for mutant in MUTANTS for clause in mutant.clauses]


@pytest.mark.parametrize(("mutant", "clause"), CAUGHT, ids=[f"{mutant.name}-{clause}" for mutant, clause in CAUGHT])
def test_the_right_clause_notices(mutant: Mutant, clause: str, tmp_path: Path) -> None:
    """A broken store breaks the clause about its defect, and the failure names the clause, the calls and where to look."""
    with pytest.raises(Exception) as caught:  # noqa: PT011  # reason: a broken store may raise any error
        adopter(mutant).check(REGISTRY.clauses[clause], tmp_path)
    notes = "\n".join(caught.value.__notes__)
    assert f"{clause}: {REGISTRY.clauses[clause].sentence}" in notes
    assert "The calls so far:" in notes
    assert "Look at: the calls above" in notes


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_other_clauses_pass(mutant: Mutant, tmp_path: Path) -> None:
    """A broken store has one defect only: an unrelated clause still passes."""
    adopter(mutant).check(REGISTRY.clauses[mutant.sound], tmp_path)


REACHED = [mutant for mutant in MUTANTS if mutant.machine]


@pytest.mark.usefixtures("no_shrinking")
@pytest.mark.parametrize("mutant", REACHED, ids=[mutant.name for mutant in REACHED])
def test_the_state_machine_notices(mutant: Mutant, tmp_path: Path) -> None:
    """Two hundred programs are enough to find the defect."""
    with pytest.raises(Exception):  # noqa: B017, PT011  # reason: a broken store may raise any error
        adopter(mutant).check(REGISTRY.clauses["S-950"], tmp_path)


def test_mutants_cover_the_groups() -> None:
    """Every group of clauses catches a broken store."""
    groups = {clause[:3] for mutant in MUTANTS for clause in mutant.clauses}
    assert groups >= {"S-0", "S-1", "S-2", "S-3", "S-4", "S-5", "S-6", "S-7", "S-8", "S-9"}
    assert len(MUTANTS) >= 20
