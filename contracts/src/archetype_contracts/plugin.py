"""The pytest plugin: it fails runs that lose or skip a clause, and writes the report of ``--archetype-report``.

It recognises contracts by their attributes and imports none, so a run without contracts costs nothing.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

_PROPERTY = "archetype_clause"
_REMARK = "archetype_remark"
_REPORT = pytest.StashKey["Conformance"]()
_FORBIDDEN_MARKS = ("skip", "skipif", "xfail")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--archetype-report``."""
    group = parser.getgroup("archetype", "Archetype contracts")
    group.addoption(
        "--archetype-report",
        metavar="PATH",
        help="write the outcome of every clause of every contract as JSON",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Start the report if one is requested."""
    path = config.getoption("--archetype-report")
    if path and not hasattr(config, "workerinput"):
        config.stash[_REPORT] = Conformance(config, Path(path))
        config.pluginmanager.register(config.stash[_REPORT], "archetype-conformance")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Stop the run if a clause was removed, replaced, or marked ``skip``, ``skipif`` or ``xfail``."""
    verified = set()
    for item in items:
        contract = _contract_of(item)
        if contract is None:
            continue
        if contract not in verified:
            verified.add(contract)
            _verify(contract)
        clause = _clause_of(item)
        marks = [mark.name for mark in item.iter_markers() if mark.name in _FORBIDDEN_MARKS]
        if clause is not None and marks:
            raise pytest.UsageError(
                f"{item.nodeid}: clause {clause.id} is marked {marks[0]}: remove the mark and use known_failures"
            )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skipped clause into a failed one, and keep its outcome for the report."""
    report = yield
    clause, contract = _clause_of(item), _contract_of(item)
    if clause is None or contract is None:
        return report
    if report.when == "call":
        remarks = getattr(getattr(item, "instance", None), "remarks", ())
        report.user_properties += [(_REMARK, f"{contract.__name__} {clause.id}: {remark}") for remark in remarks]
    reason = getattr(report, "wasxfail", None)
    if report.skipped and reason is None:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: clause {clause.id} was skipped: let it run, or list it in known_failures"
    if report.when == "call" or report.failed:
        outcome = "known failure" if reason is not None else report.outcome
        known = contract.known_failures.get(clause.id) if reason is not None else None
        entry = {
            "class": _qualified_name(contract),
            "id": clause.id,
            "outcome": outcome,
            "reason": known or _reason(report),
        }
        report.user_properties.append((_PROPERTY, json.dumps({**entry, "about": _about(contract)})))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many cases were tried by the contracts whose number of cases can be changed."""
    reports = [one for group in terminalreporter.stats.values() for one in group]
    found = [text for one in reports for name, text in getattr(one, "user_properties", ()) if name == _REMARK]
    if found:
        terminalreporter.section("cases tried by contracts")
        for text in sorted(found):
            terminalreporter.write_line(str(text))


class Conformance:
    """Collects the outcome of every clause and writes the report at the end."""

    def __init__(self, config: pytest.Config, path: Path) -> None:
        self.path = path if path.is_absolute() else config.invocation_params.dir / path
        self.contracts: dict[str, dict[str, Any]] = {}
        self.outcomes: dict[tuple[str, str], tuple[str, str | None]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add one outcome. Reports of worker processes arrive here too."""
        for name, value in report.user_properties:
            if name != _PROPERTY:
                continue
            entry = json.loads(str(value))
            self.contracts[entry["class"]] = entry["about"]
            # A later report replaces an earlier one: a clause that passed and then failed to close has failed.
            self.outcomes[entry["class"], entry["id"]] = (entry["outcome"], entry["reason"])

    def pytest_sessionfinish(self) -> None:
        """Write the report."""
        written = [self._contract(name, about) for name, about in sorted(self.contracts.items())]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps({"format": 1, "contracts": written}, indent=2) + "\n")

    def _contract(self, name: str, about: dict[str, Any]) -> dict[str, Any]:
        clauses = []
        for clause in about["clauses"]:
            outcome, reason = self.outcomes.get((name, clause["id"]), ("not run", None))
            if clause["void"] is not None:
                outcome, reason = "not applicable", clause["void"]
            clauses.append({"id": clause["id"], "sentence": clause["sentence"], "outcome": outcome, "reason": reason})
        conforms = all(clause["outcome"] in ("passed", "not applicable") for clause in clauses)
        return {
            "class": name,
            "port": about["port"],
            "adapter": about["adapter"],
            "capabilities": about["capabilities"],
            "conforms": conforms,
            "clauses": clauses,
        }


def _contract_of(item: pytest.Item) -> Any:
    cls = getattr(item, "cls", None)
    return cls if cls is not None and hasattr(cls, "registry") and hasattr(cls, "voided") else None


def _clause_of(item: pytest.Item) -> Any:
    return getattr(getattr(item, "function", None), "clause", None)


def _verify(contract: Any) -> None:
    try:
        contract.require_whole()
    except TypeError as exc:
        raise pytest.UsageError(str(exc)) from exc


def _about(contract: Any) -> dict[str, Any]:
    voided = {clause.id: reason for clause, reason in contract.voided()}
    return {
        "port": contract.registry.port,
        "adapter": contract.adapter,
        "capabilities": sorted(contract.claims()),
        "clauses": [
            {"id": clause.id, "sentence": clause.sentence, "void": voided.get(clause.id)}
            for clause in contract.registry
        ],
    }


def _qualified_name(contract: type) -> str:
    return f"{contract.__module__}.{contract.__qualname__}"


def _reason(report: pytest.TestReport) -> str | None:
    if report.passed:
        return None
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(getattr(crash, "message", report.longrepr)).splitlines()[0]
