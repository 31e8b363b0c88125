"""The crash contract tests itself: a store that is right passes, and every broken one is caught by the clause that should."""

from __future__ import annotations

import pytest
from crash_mutants import MUTANTS, Mutant
from file_store import FileStore

from archetype_contracts import Capability, CrashContract
from archetype_contracts.assertion import ClauseFailed
from archetype_contracts.crash.registry import REGISTRY
from archetype_core.store import Store

_: type[Store] = FileStore


class TestFileStore(CrashContract):
    """A store that is as simple as its promises allow."""

    capabilities = frozenset({Capability.TIME_TRAVEL, Capability.PERSISTENCE, Capability.SHARED})
    opener = "file_store:FileStore"
    calls = 16
    cuts = 15
    kills = 10


def adopter(mutant: Mutant) -> CrashContract:
    """Return the contract that an author of the broken store would write."""

    class Adopter(CrashContract):
        capabilities = frozenset({Capability.TIME_TRAVEL, Capability.PERSISTENCE, Capability.SHARED})
        opener = f"crash_mutants:{mutant.store.__name__}"
        patience_s = mutant.patience_s
        kills = 10
        calls = 60
        cuts = 20

    return Adopter()


CAUGHT = [(mutant, clause) for mutant in MUTANTS for clause in mutant.clauses]
NAMES = [f"{mutant.store.__name__}-{clause}" for mutant, clause in CAUGHT]


@pytest.mark.parametrize(("mutant", "clause"), CAUGHT, ids=NAMES)
def test_the_right_clause_notices(mutant, clause, tmp_path):
    """A broken store breaks the clause that its author would expect, and the failure names it."""
    with pytest.raises(ClauseFailed) as caught:
        adopter(mutant).check(REGISTRY.clauses[clause], tmp_path)
    assert f"{clause}: {REGISTRY.clauses[clause].sentence}" in "\n".join(caught.value.__notes__)


SOUND = [mutant for mutant in MUTANTS if mutant.sound]


@pytest.mark.parametrize("mutant", SOUND, ids=[mutant.store.__name__ for mutant in SOUND])
def test_other_clauses_hold(mutant, tmp_path):
    """A broken store is broken in one way only: an unrelated clause still holds."""
    contract = adopter(mutant)
    type(contract).calls = 8
    contract.check(REGISTRY.clauses[mutant.sound], tmp_path)


def test_every_clause_notices_something():
    """No clause is there that nothing was ever caught by."""
    assert {clause for mutant in MUTANTS for clause in mutant.clauses} == set(REGISTRY.clauses)
    assert len(MUTANTS) >= 20
