"""No clause can be removed, replaced or skipped silently, and the report has the outcome of every clause."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from archetype_contracts.kernel.contract import KernelContract
from archetype_contracts.store.contract import StoreContract

HEAD = """
import asyncio
import pytest
from contextlib import asynccontextmanager
from archetype_contracts import Capability, KernelContract, StoreContract
from archetype_core.engine import PythonKernel
from archetype_core.store import MemoryStore

ALL = frozenset({Capability.TIME_TRAVEL, Capability.PERSISTENCE, Capability.SHARED})

class Adopter(StoreContract):
    capabilities = ALL
    examples = 5

    @asynccontextmanager
    async def open_store(self, place):
        store = MemoryStore(str(place))
        yield store
        store.close()
"""

Adopt = Callable[..., pytest.RunResult]


@pytest.fixture
def adopt(pytester: pytest.Pytester, pytestconfig: pytest.Config) -> Adopt:
    """Return a function that runs an adopter's test module with the strictest flags of pytest."""
    pytester.makeini("[pytest]\nxfail_strict = true\nfilterwarnings = error\n")
    installed = pytestconfig.pluginmanager.hasplugin("archetype_contracts")

    def run(body: str, *arguments: str) -> pytest.RunResult:
        pytester.makepyfile(test_adopter=HEAD + body)
        plugin = [] if installed else ["-p", "archetype_contracts.plugin"]
        strict = ["--strict-markers", "--strict-config", "-W", "error", "-rA", "-p", "no:cacheprovider"]
        return pytester.runpytest_inprocess(*plugin, *strict, *arguments)

    return run


def test_one_class_with_one_hook_is_enough(adopt: Adopt) -> None:
    """A subclass with a hook and its capabilities runs every clause that applies, under the strictest flags."""
    result = adopt("class TestMine(Adopter): pass\n")
    applicable = [
        clause
        for clause in StoreContract.registry
        if clause.id not in ("S-902", "S-903", "S-904", "S-906", "S-908", "S-909", "S-910")
    ]
    result.assert_outcomes(passed=len(applicable))


def test_a_kernel_adopts_in_the_same_form(adopt: Adopt) -> None:
    """The author of a kernel also writes one class with one hook."""
    result = adopt(
        "class TestMine(KernelContract):\n    examples = 5\n    def make_kernel(self): return PythonKernel()\n"
    )
    result.assert_outcomes(passed=len(KernelContract.registry.clauses))


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("class TestMine(Adopter):\n    def test_s001_empty_commit(self): pass\n", "overrides clause S-001"),
        ("class TestMine(Adopter):\n    test_s001_empty_commit = None\n", "overrides clause S-001"),
        ("class Mixin:\n    def test_s002_whole_tick(self): pass\nclass TestMine(Mixin, Adopter): pass\n", "S-002"),
        ("class TestMine(Adopter):\n    def test_s001_emtpy_commit(self): pass\n", "is named like a clause"),
        ("class TestMine(Adopter):\n    def check(self, clause, place): pass\n", "overrides a part of the contract"),
        ("class TestMine(Adopter):\n    known_failures = {'S-1': 'typo'}\n", "'S-1', which is not a clause"),
        ("class TestMine(Adopter):\n    known_failures = {'K-001': 'other port'}\n", "which is not a clause"),
        ("class TestMine(Adopter):\n    known_failures = {'S-902': 'x'}\n", "time_travel is claimed"),
        ("class TestMine(Adopter):\n    known_failures = {'S-906': 'x'}\n", "files not claimed"),
        ("class TestMine(Adopter):\n    known_failures = {'S-001': ' '}\n", "is empty: write the reason"),
        ("class TestMine(Adopter):\n    capabilities = frozenset({'time_travle'})\n", "Capability members"),
        ("class TestMine(Adopter):\n    capabilities = {Capability.FILES}\n", "Capability members"),
        (
            "class TestMine(StoreContract):\n    async def open_store(self, place): yield None\n",
            "declares no capabilities",
        ),
    ],
)
def test_a_class_that_breaks_a_rule_of_the_contract_is_a_collection_error(
    adopt: Adopt, body: str, complaint: str
) -> None:
    """A forbidden class definition fails before any test runs."""
    result = adopt(body)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*TypeError*{complaint}*"])


@pytest.mark.parametrize(
    "body",
    [
        "TestMine = Adopter\ndel TestMine.test_s001_empty_commit\n",
        "class TestMine(Adopter): pass\nTestMine.test_s001_empty_commit = None\n",
        "class TestMine(Adopter): pass\nTestMine.test_s001_empty_commit = lambda self: None\n",
        "@pytest.mark.skip\nclass TestMine(Adopter): pass\n",
        "class TestMine(Adopter):\n    pytestmark = pytest.mark.xfail\n",
        "pytestmark = pytest.mark.skipif(True, reason='no')\nclass TestMine(Adopter): pass\n",
    ],
)
def test_a_clause_lost_after_the_class_was_made_stops_the_run(adopt: Adopt, body: str) -> None:
    """Collection notices a clause that was removed, replaced or marked after the class was defined."""
    result = adopt(body)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.assert_outcomes()


def test_a_skipped_clause_has_failed(adopt: Adopt) -> None:
    """A clause fails if its hook calls ``pytest.skip``."""
    body = """
class TestMine(Adopter):
    @asynccontextmanager
    async def open_store(self, place):
        pytest.skip("a reason")
        yield
"""
    result = adopt(body, "-k", "s001")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert result.parseoutcomes().get("skipped", 0) == 0


def test_a_known_failure_that_fails_is_expected(adopt: Adopt) -> None:
    """A clause in known_failures must fail, and does not fail the run."""
    body = """
class Lossy(MemoryStore):
    def head(self, world_id, *, at=None):
        from dataclasses import replace
        return replace(super().head(world_id, at=at), applied=())

class TestMine(Adopter):
    known_failures = {"S-603": "applied ids are not kept yet"}
    @asynccontextmanager
    async def open_store(self, place):
        yield Lossy(str(place))
"""
    result = adopt(body, "-k", "s603")
    result.assert_outcomes(xfailed=1)
    result.stdout.fnmatch_lines(["*S-603: applied ids are not kept yet*"])


def test_a_known_failure_that_passes_is_a_failure(adopt: Adopt) -> None:
    """A known failure that passes fails the run until it is removed from the list."""
    result = adopt("class TestMine(Adopter):\n    known_failures = {'S-603': 'fixed long ago'}\n", "-k", "s603")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*S-603 is listed in known_failures*"])


def test_a_failure_says_what_to_look_at(adopt: Adopt) -> None:
    """A failure prints its id and sentence, the expected and actual values, the calls, and where to look."""
    body = """
class TestMine(Adopter):
    @asynccontextmanager
    async def open_store(self, place):
        store = MemoryStore(str(place))
        store.worlds = lambda: ()
        yield store
"""
    result = adopt(body, "-k", "s002")
    result.assert_outcomes(failed=1)
    sentence = StoreContract.registry.clauses["S-002"].sentence
    result.stdout.fnmatch_lines(
        [
            "*ClauseFailed: worlds of the store*",
            "*expected: *",
            "*actual: *",
            "*store = open('place')*",
            "*store.commit(*tick 0 of 'a'*",
            f"*S-002: {sentence}*",
            "*Look at: the calls above, and the files of the store in */test_s002*",
        ]
    )


def test_the_state_machine_prints_a_program(adopt: Adopt) -> None:
    """A program that breaks a store is minimized and printed as code."""
    body = """
class Lossy(MemoryStore):
    def worlds(self):
        return super().worlds()[:1]

class TestMine(Adopter):
    examples = 50
    @asynccontextmanager
    async def open_store(self, place):
        yield Lossy(str(place))
"""
    result = adopt(body, "-k", "s950")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*state = StoreMachine*", "*= state.open()*", "*state.teardown()*"])


def test_capabilities_choose_the_clauses(adopt: Adopt) -> None:
    """A claimed capability runs its clauses; an unclaimed one runs the clause about its refusal; none is skipped."""
    result = adopt(
        "class TestMine(Adopter):\n    capabilities = frozenset({Capability.TIME_TRAVEL})\n", "--collect-only", "-q"
    )
    listed = result.stdout.str()
    assert "test_s404_tick_range" in listed
    assert "test_s902_no_time_travel" not in listed
    assert "test_s903_no_persistence" in listed
    assert "test_s704_reopening" not in listed


def test_the_hook_is_entered_and_left_in_one_task(adopt: Adopt) -> None:
    """A hook may keep a cancel scope or a task group open around the store."""
    body = """
class TestMine(Adopter):
    @asynccontextmanager
    async def open_store(self, place):
        task = asyncio.current_task()
        async with asyncio.timeout(600), asyncio.TaskGroup():
            store = MemoryStore(str(place))
            yield store
            store.close()
        assert asyncio.current_task() is task
"""
    adopt(body, "-k", "s703 or s704").assert_outcomes(passed=2)


def test_a_hook_that_fails_to_close_fails_its_clause(adopt: Adopt) -> None:
    """An error on leaving the hook fails the clause."""
    body = """
class TestMine(Adopter):
    @asynccontextmanager
    async def open_store(self, place):
        yield MemoryStore(str(place))
        raise OSError("could not close")
"""
    result = adopt(body, "-k", "s001")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*OSError: could not close*"])


def test_the_report_has_the_outcome_of_every_clause(adopt: Adopt, pytester: pytest.Pytester) -> None:
    """`--archetype-report` names the adapter, its capabilities, and the outcome of every clause."""
    body = """
class Lossy(MemoryStore):
    def head(self, world_id, *, at=None):
        from dataclasses import replace
        return replace(super().head(world_id, at=at), applied=())

class TestMine(Adopter):
    known_failures = {"S-603": "applied ids are not kept yet"}
    @asynccontextmanager
    async def open_store(self, place):
        yield Lossy(str(place))
"""
    adopt(body, "-k", "s001 or s603 or s605", "--archetype-report=out/report.json")
    report = json.loads((pytester.path / "out" / "report.json").read_text())
    (contract,) = report["contracts"]
    assert contract["port"] == "Store"
    assert contract["adapter"] == "Lossy"
    assert contract["capabilities"] == ["persistence", "shared", "time_travel"]
    assert contract["conforms"] is False
    clauses = {clause["id"]: clause for clause in contract["clauses"]}
    assert list(clauses) == sorted(StoreContract.registry.clauses)
    assert clauses["S-001"]["sentence"] == StoreContract.registry.clauses["S-001"].sentence
    assert clauses["S-001"]["outcome"] == "passed"
    assert clauses["S-603"] == {
        "id": "S-603",
        "sentence": StoreContract.registry.clauses["S-603"].sentence,
        "outcome": "known failure",
        "reason": "applied ids are not kept yet",
    }
    assert clauses["S-605"]["outcome"] == "failed"
    assert "applied" in clauses["S-605"]["reason"]
    assert clauses["S-902"]["outcome"] == "not applicable"
    assert clauses["S-002"]["outcome"] == "not run"


@pytest.mark.parametrize("contract", [StoreContract, KernelContract])
def test_every_clause_has_a_sentence(contract: type[StoreContract | KernelContract]) -> None:
    """Every sentence is unique, short, and ends with a full stop."""
    sentences = [clause.sentence for clause in contract.registry]
    assert len(set(sentences)) == len(sentences)
    assert all(sentence.endswith(".") and len(sentence) < 140 for sentence in sentences)
