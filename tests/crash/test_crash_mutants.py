"""The crash contract accepts a correct store, and the right clause catches every broken one."""

from __future__ import annotations

from pathlib import Path

import pytest
from crash_mutants import MUTANTS, Mutant
from file_store import FileStore

from archetype_contracts import Capability, CrashContract
from archetype_contracts.assertion import ClauseFailed
from archetype_contracts.crash.registry import REGISTRY
from archetype_core.store import Store

_: type[Store] = FileStore


class TestFileStore(CrashContract):
    """A correct store in one file."""

    capabilities = frozenset({Capability.TIME_TRAVEL, Capability.PERSISTENCE, Capability.SHARED})
    opener = "file_store:FileStore"
    calls = 16
    cuts = 15
    kills = 10


def adopter(mutant: Mutant, calls: int = 60) -> CrashContract:
    """Return the contract that the author of the broken store would write."""
    tried = calls

    class Adopter(CrashContract):
        capabilities = frozenset({Capability.TIME_TRAVEL, Capability.PERSISTENCE, Capability.SHARED})
        opener = f"crash_mutants:{mutant.store.__name__}"
        patience_s = mutant.patience_s
        kills = 10
        calls = tried
        # The first cut that is noticed is the last.
        cuts = 400

    return Adopter()


CAUGHT = [(mutant, clause) for mutant in MUTANTS for clause in mutant.clauses]
NAMES = [f"{mutant.store.__name__}-{clause}" for mutant, clause in CAUGHT]


@pytest.mark.parametrize(("mutant", "clause"), CAUGHT, ids=NAMES)
def test_the_right_clause_notices(mutant: Mutant, clause: str, tmp_path: Path) -> None:
    """A broken store breaks the clause about its defect, and the failure names the clause and where to look."""
    with pytest.raises(ClauseFailed) as caught:
        adopter(mutant).check(REGISTRY.clauses[clause], tmp_path)
    notes = "\n".join(caught.value.__notes__)
    assert f"{clause}: {REGISTRY.clauses[clause].sentence}" in notes
    assert "Look at: " in notes


SOUND = [mutant for mutant in MUTANTS if mutant.sound]


@pytest.mark.parametrize("mutant", SOUND, ids=[mutant.store.__name__ for mutant in SOUND])
def test_other_clauses_pass(mutant: Mutant, tmp_path: Path) -> None:
    """A broken store has one defect only: an unrelated clause still passes."""
    contract = adopter(mutant, calls=8)
    assert mutant.sound is not None
    contract.check(REGISTRY.clauses[mutant.sound], tmp_path)


def test_every_clause_catches_a_store() -> None:
    """Every clause of the contract catches at least one broken store."""
    assert {clause for mutant in MUTANTS for clause in mutant.clauses} == set(REGISTRY.clauses)
    assert len(MUTANTS) >= 20
