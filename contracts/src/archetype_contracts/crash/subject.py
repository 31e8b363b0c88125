"""The store under test: lives of processes over places of it, and the verdict on what each left behind."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from archetype_contracts.crash.case import Call, Fault, Kind, Life, Outcome
from archetype_contracts.crash.effort import Effort
from archetype_contracts.crash.fork_client import Nurseries, Nursery
from archetype_contracts.crash.inspection import Inspection
from archetype_contracts.verdict import Broken
from archetype_core.store import Capability

SHORT = 3
"""Ticks of a run that is tried at every call: enough for a fork, a new run, tombstones and a large table."""


@dataclass(slots=True)
class Acknowledged:
    """The last tick of every world that a process was told is durable, over several lives of one place."""

    known: dict[str, int] = field(default_factory=dict)
    required: dict[str, int] = field(default_factory=dict)
    """The last that must be there: all of them, or those older than the window that the store may lose."""

    def take(self, outcome: Outcome, window_ns: int | None) -> None:
        """Add what one life was told before it ended; what it found when it began was there, acknowledged or not."""
        for found in outcome.said("found"):
            for world, tick in found.items():
                self.known[world] = max(tick, self.known.get(world, -1))
        for world, tick, when in outcome.acknowledged:
            self.known[world] = max(tick, self.known.get(world, -1))
            if window_ns is not None and when <= outcome.ended_ns - window_ns:
                self.required[world] = max(tick, self.required.get(world, -1))


@dataclass(slots=True)
class Trial:
    """One place, and a nursery to fork lives over it from."""

    subject: CrashSubject
    nursery: Nursery
    place: Path
    told: Acknowledged = field(default_factory=Acknowledged)

    def live(self, until: int = SHORT, **how: Any) -> Outcome:
        """Let a process live over the place; what no store may do fails here."""
        subject = self.subject
        life = Life(
            place=str(self.place),
            opener=subject.opener,
            seed=subject.effort.seed,
            until=until,
            patience_s=subject.patience_s,
            **how,
        )
        outcome = self.nursery.live(life)
        self.told.take(outcome, subject.window_ns)
        found = judged(life, outcome)
        if found:
            raise Broken(_report(found, life, outcome))
        return outcome

    def inspect(self, outcome: Outcome | None, about: object, until: int = SHORT, onward: int = 1) -> None:
        """Open the place and hold what it shows, and how it goes on, against what was acknowledged."""
        subject = self.subject
        inspection = Inspection(
            place=str(self.place),
            opener=subject.opener,
            seed=subject.effort.seed,
            until=until,
            required=self.told.required,
            known=self.told.known,
            onward=onward,
        )
        seen = self.nursery.inspect(asdict(inspection), subject.patience_s)
        found = [*seen.said("fault"), *seen.said("crash")]
        if seen.hung:
            found.append(f"reading the place took more than {subject.patience_s:.0f} s")
        elif seen.said("end") != ["done"] and not found:
            found.append(f"the process that read the place died with status {seen.status}")
        # What was stepped on here is closed properly, so all of it has to stay.
        self.told.take(seen, 0)
        if found:
            found = [f"after {about}, opened again:", *found]
            raise Broken(_report(found, about, outcome, seen.stderr))


class CrashSubject:
    """Tries lives side by side, each over a place of its own."""

    def __init__(
        self,
        opener: str,
        claims: frozenset[Capability],
        place: Path,
        effort: Effort,
        *,
        window_s: float | None = 0.0,
        patience_s: float = 60.0,
        volatile: tuple[str, ...] = (),
    ) -> None:
        self.opener, self.claims, self.place, self.effort = opener, claims, place, effort
        self.window_ns = None if window_s is None else int(window_s * 1e9)
        self.patience_s = patience_s
        self.volatile = volatile
        self.remarks: list[str] = []
        self._nurseries = Nurseries.shared()
        self._places = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self.place.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A failed place is kept: pytest tells where it is.
        if error is None:
            shutil.rmtree(self.place, ignore_errors=True)

    @contextmanager
    def trial(self, template: Path | None = None, told: Acknowledged | None = None) -> Iterator[Trial]:
        """An empty place, or a copy of another; it is removed if all went well."""
        with self._lock:
            self._places += 1
            place = self.place / f"place {self._places}"
        if template is None:
            place.mkdir()
        else:
            shutil.copytree(template, place)
        nursery = self._nurseries.take()
        try:
            known = Acknowledged(dict(told.known), dict(told.required)) if told else Acknowledged()
            yield Trial(self, nursery, place, known)
        finally:
            self._nurseries.give(nursery)
        shutil.rmtree(place)

    def side_by_side(self, trial: Callable[[int], None], numbers: Iterable[int]) -> None:
        """Run a trial for every number, as many at once as there are nurseries; the first failure ends the rest."""
        with ThreadPoolExecutor(self._nurseries.jobs) as pool:
            running = [pool.submit(trial, number) for number in numbers]
            done, waiting = wait(running, return_when=FIRST_EXCEPTION)
            for one in waiting:
                one.cancel()
            for one in done:
                one.result()

    def every_call(
        self,
        fault: Fault,
        *,
        together: bool = False,
        until: int = SHORT,
        template: Path | None = None,
        told: Acknowledged | None = None,
    ) -> None:
        """Let a life meet a fault at every call of one run, each over a place of its own."""
        with self.trial(template, told) as trial:
            # Without a fault first: what fails here fails for another reason. Its calls are those that are tried.
            probe = Fault(Kind.NOTHING, 0, fault.classes)
            count = trial.live(until, together=together, fault=probe).count
            trial.inspect(None, "an undisturbed life", until)

        def one(number: int) -> None:
            with self.trial(template, told) as trial:
                meant = replace(fault, call=number)
                outcome = trial.live(until, together=together, fault=meant)
                how = "worlds at once" if together else "worlds in turn"
                trial.inspect(outcome, f"{meant} (seed {self.effort.seed}, {how})", until)

        self.side_by_side(one, self.spread(count, Call(fault.classes)))

    def spread(self, count: int, classes: Call) -> list[int]:
        """The calls to try: all, or evenly spread ones where there are more than the budget; noted either way."""
        if self.effort.at:
            self.remarks.append(f"only call {self.effort.at} of {count} was tried, as asked")
            return [self.effort.at]
        stride = -(-count // self.effort.calls) if count > self.effort.calls else 1
        numbers = list(range(1, count + 1, stride))
        which = "calls" if classes == Call.ANY else f"calls of {'/'.join(str(one.name).lower() for one in classes)}"
        if stride > 1:
            self.remarks.append(
                f"{len(numbers)} of {count} {which} tried, one in {stride}: more than {self.effort.calls}"
            )
        else:
            self.remarks.append(f"every one of {count} {which} tried")
        return numbers


def judged(life: Life, outcome: Outcome) -> list[str]:
    """What no process under test may do, whatever is done to it."""
    found = [*outcome.said("raw"), *outcome.said("broken"), *outcome.said("crash")]
    is_killed = life.stop is not None or (
        life.fault is not None and life.fault.kind in (Kind.KILL_BEFORE, Kind.KILL_AFTER)
    )
    if outcome.hung:
        found.append(f"the process did not end within {life.patience_s:.0f} s")
    elif outcome.status and not (is_killed and outcome.status == -9):
        found.append(f"the process died with status {outcome.status}")
    elif not outcome.status:
        end = outcome.said("end")
        # A fault that is over is no reason to give up.
        if end != ["done"] and not (end == ["gave up"] and life.fault and life.fault.stays):
            found.append(f"the process could not go on: {end}")
    if outcome.said("error") and not outcome.fired:
        found.append("errors although nothing was done to it")
    return found


def _report(found: list[str], life: object, outcome: Outcome | None, stderr: str = "") -> str:
    lines = [str(life), *found]
    if outcome is not None:
        lines += ["", f"The process was told: {outcome.lines[-12:]}", f"Its last calls, of {outcome.count}:"]
        lines += [f"  {call}" for call in outcome.tail]
        lines += [f"faulted: call {outcome.fired}", outcome.stderr]
    return "\n".join([*lines, stderr]).rstrip()
