"""A clause on what killed processes leave unfinished: it may be there, but it does not pile up."""

from __future__ import annotations

from pathlib import Path

from archetype_contracts.crash.book import clause
from archetype_contracts.crash.case import Fault, Kind
from archetype_contracts.crash.program import FORKED
from archetype_contracts.crash.subject import CrashSubject
from archetype_contracts.verdict import require
from archetype_core.store import Capability

_SLACK = 1 << 20


@clause(
    "X-005",
    "What killed processes leave unfinished is reclaimed: however often one dies over the same tick, the place stays small.",
    needs=[Capability.PERSISTENCE],
)
def residue(subject: CrashSubject) -> None:
    with subject.trial() as trial:
        trial.live()
        usual = _size(trial.place)
    with subject.trial() as trial:
        trial.live(1)
        # The next tick has a large table. Process after process dies over it, each one call later than the one before.
        lives, number = 0, 0
        while True:
            number += 1
            outcome = trial.live(2, fault=Fault(Kind.KILL_BEFORE, number))
            begun = outcome.said("found")
            if not outcome.fired or outcome.acknowledged or (begun and begun[0].get(FORKED, -1) > 0):
                break
            lives += 1
        outcome = trial.live()
        trial.inspect(outcome, f"{lives} processes that died over one tick")
        size = _size(trial.place)
        subject.remarks.append(f"{lives} processes died over one tick; {size:,} bytes are left, {usual:,} without them")
        files = sorted((path.stat().st_size, path.name) for path in trial.place.rglob("*") if path.is_file())
        require(
            size <= 2 * usual + _SLACK,
            f"after {lives} processes died over one tick the place has {size:,} bytes; without them it has {usual:,}. "
            f"Of {len(files)} files the largest are {files[-8:]}",
        )


def _size(place: Path) -> int:
    return sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
