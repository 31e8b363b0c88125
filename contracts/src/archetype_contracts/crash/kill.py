"""Clauses on processes that are killed, at any instant and again and again."""

from __future__ import annotations

import random
from pathlib import Path

from archetype_contracts.crash.book import clause
from archetype_contracts.crash.case import Fault, Kind, Stop
from archetype_contracts.crash.subject import SHORT, Acknowledged, CrashSubject
from archetype_core.store import Capability

_LASTS = [Capability.PERSISTENCE]
_LIVES = 5
"""How many processes are killed over one place before the next place."""
_LONG = 20


@clause(
    "X-001",
    "Killed at any instant, again and again, a store opens with every acknowledged tick whole and at most one more.",
    needs=_LASTS,
)
def random_kills(subject: CrashSubject) -> None:
    kills = subject.effort.kills

    def series(number: int) -> None:
        chance = random.Random(f"{subject.effort.seed} kills {number}")  # noqa: S311  # reason: told again by its seed
        with subject.trial() as trial:
            for life in range(min(_LIVES, kills - number * _LIVES)):
                stop = Stop(chance.randint(0, 7), chance.random() ** 2 * 0.02)
                outcome = trial.live(_LONG, together=chance.random() < 0.7, stop=stop)
                about = f"life {life + 1} over place {number} of seed {subject.effort.seed}, {stop}"
                trial.inspect(outcome, about, _LONG)

    subject.side_by_side(series, range(-(-kills // _LIVES)))
    subject.remarks.append(f"{kills} processes killed at random")


@clause(
    "X-002", "Killed before any call that changes the disk, a store opens with every acknowledged tick.", needs=_LASTS
)
def kill_before(subject: CrashSubject) -> None:
    subject.every_call(Fault(Kind.KILL_BEFORE, 0))


@clause(
    "X-003",
    "Killed right after any call that changes the disk, while worlds commit at once, it opens with every acknowledged tick.",
    needs=_LASTS,
)
def kill_after(subject: CrashSubject) -> None:
    subject.every_call(Fault(Kind.KILL_AFTER, 0), together=True)


@clause(
    "X-004",
    "Killed at any call while it opens and goes on after a kill, it opens with every acknowledged tick.",
    needs=_LASTS,
)
def kill_again(subject: CrashSubject) -> None:
    template, told = _left_behind(subject)
    subject.every_call(Fault(Kind.KILL_BEFORE, 0), template=template, told=told, until=SHORT + 1)


def _left_behind(subject: CrashSubject) -> tuple[Path, Acknowledged]:
    """A place whose process was killed on its way, and what it was told."""
    template = subject.place / "left behind"
    with subject.trial() as trial:
        count = trial.live().count
    with subject.trial() as trial:
        trial.live(fault=Fault(Kind.KILL_AFTER, count * 2 // 3), together=True)
        trial.place.rename(template)
        trial.place.mkdir()
        return template, trial.told
