"""Clauses on killed processes."""

from __future__ import annotations

import random
from pathlib import Path

from archetype_contracts.crash.case import Fault, Kind, TimedKill
from archetype_contracts.crash.registry import clause
from archetype_contracts.crash.subject import SHORT, Acknowledged, CrashSubject
from archetype_core.store import Capability

_PERSISTENT = [Capability.PERSISTENCE]
_RUNS_PER_PLACE = 5
"""How many processes are killed over one place."""
_LONG = 20


@clause(
    "X-001",
    "After kills at random instants a store opens with every acknowledged tick complete and at most one more tick.",
    needs=_PERSISTENT,
)
def random_kills(subject: CrashSubject) -> None:
    kills = subject.settings.kills

    def series(number: int) -> None:
        chance = random.Random(f"{subject.settings.seed} kills {number}")  # noqa: S311  # reason: repeatable by its seed
        with subject.trial() as trial:
            for run in range(min(_RUNS_PER_PLACE, kills - number * _RUNS_PER_PLACE)):
                kill = TimedKill(chance.randint(0, 7), chance.random() ** 2 * 0.02)
                outcome = trial.run(_LONG, together=chance.random() < 0.7, kill=kill)
                about = f"run {run + 1} over place {number} of seed {subject.settings.seed}, {kill}"
                trial.inspect(outcome, about, _LONG)

    subject.in_parallel(series, range(-(-kills // _RUNS_PER_PLACE)))
    subject.remarks.append(f"{kills} processes killed at random")


@clause(
    "X-002",
    "After a kill before any call that changes the disk, a store opens with every acknowledged tick.",
    needs=_PERSISTENT,
)
def kill_before(subject: CrashSubject) -> None:
    subject.every_call(Fault(Kind.KILL_BEFORE, 0))


@clause(
    "X-003",
    "After a kill right after any call that changes the disk, while worlds commit at once, every acknowledged tick exists.",
    needs=_PERSISTENT,
)
def kill_after(subject: CrashSubject) -> None:
    subject.every_call(Fault(Kind.KILL_AFTER, 0), together=True)


@clause(
    "X-004",
    "After a kill at any call while the store recovers from an earlier kill, it opens with every acknowledged tick.",
    needs=_PERSISTENT,
)
def kill_again(subject: CrashSubject) -> None:
    template, acknowledged = _killed_place(subject)
    subject.every_call(Fault(Kind.KILL_BEFORE, 0), template=template, acknowledged=acknowledged, until=SHORT + 1)


def _killed_place(subject: CrashSubject) -> tuple[Path, Acknowledged]:
    """Make a place whose process was killed half-way; return it and its acknowledged ticks."""
    template = subject.place / "killed"
    with subject.trial() as trial:
        count = trial.run().count
    with subject.trial() as trial:
        trial.run(fault=Fault(Kind.KILL_AFTER, count * 2 // 3), together=True)
        trial.place.rename(template)
        trial.place.mkdir()
        return template, trial.acknowledged
