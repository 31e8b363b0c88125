"""A clause on leftovers of killed processes: they may exist, but must not accumulate."""

from __future__ import annotations

from pathlib import Path

from archetype_contracts.assertion import require
from archetype_contracts.crash.case import Fault, Kind
from archetype_contracts.crash.program import FORKED
from archetype_contracts.crash.registry import clause
from archetype_contracts.crash.subject import CrashSubject
from archetype_core.store import Capability

_SLACK = 1 << 20


@clause(
    "X-005",
    "Leftovers of killed processes are reclaimed: the place stays small however many processes die over one tick.",
    needs=[Capability.PERSISTENCE],
)
def leftovers(subject: CrashSubject) -> None:
    with subject.trial() as trial:
        trial.run()
        normal = _size(trial.place)
    with subject.trial() as trial:
        trial.run(1)
        # The next tick has a large table. Each process is killed one call later in it than the process before.
        runs, number = 0, 0
        while True:
            number += 1
            outcome = trial.run(2, fault=Fault(Kind.KILL_BEFORE, number))
            begun = outcome.reported("found")
            if not outcome.fired or outcome.acknowledged or (begun and begun[0].get(FORKED, -1) > 0):
                break
            runs += 1
        outcome = trial.run()
        trial.inspect(outcome, f"{runs} processes that were killed during one tick")
        size = _size(trial.place)
        subject.remarks.append(
            f"{runs} processes killed during one tick; the place has {size:,} bytes, {normal:,} without kills"
        )
        files = sorted((path.stat().st_size, path.name) for path in trial.place.rglob("*") if path.is_file())
        require(
            size <= 2 * normal + _SLACK,
            f"size of the place after {runs} processes were killed during one tick\n"
            f"  expected: at most {2 * normal + _SLACK:,} bytes (without kills it has {normal:,})\n  actual:   {size:,} bytes; "
            f"the largest of {len(files)} files are {files[-8:]}",
        )


def _size(place: Path) -> int:
    return sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
