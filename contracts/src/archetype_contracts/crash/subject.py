"""The store under test: it runs processes over places of the store, and inspects what each of them leaves."""

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

from archetype_contracts.assertion import ClauseFailed
from archetype_contracts.crash.attempts import Attempts
from archetype_contracts.crash.case import Call, Fault, Kind, Outcome, Run
from archetype_contracts.crash.fork_client import ForkClient, ForkClientPool
from archetype_contracts.crash.inspection import Inspection
from archetype_contracts.crash.settings import CrashSettings
from archetype_core.store import Capability

SHORT = 3
"""Ticks of a run that is tried at every call: enough for a fork, a new run, tombstones and a large table."""


@dataclass(slots=True)
class Acknowledged:
    """The last acknowledged tick of every world, and the attempts of all its ticks, over several runs in one place."""

    known: dict[str, int] = field(default_factory=dict)
    required: dict[str, int] = field(default_factory=dict)
    """The last tick that must exist: all acknowledged ones, or those older than the window that the store may lose."""
    attempts: Attempts = field(default_factory=Attempts)

    def copy(self) -> Acknowledged:
        """A copy that later runs do not change."""
        return Acknowledged(dict(self.known), dict(self.required), self.attempts.copy())

    def add(self, outcome: Outcome, window_ns: int | None) -> None:
        """Add the ticks that one run acknowledged, and those that it found when it started."""
        self.attempts.note(outcome.lines)
        for found in outcome.reported("found"):
            for world, tick in found.items():
                self.known[world] = max(tick, self.known.get(world, -1))
        for world, tick, when in outcome.acknowledged:
            self.known[world] = max(tick, self.known.get(world, -1))
            if window_ns is not None and when <= outcome.ended_ns - window_ns:
                self.required[world] = max(tick, self.required.get(world, -1))


@dataclass(slots=True)
class Trial:
    """One place, and a fork server for runs in it."""

    subject: CrashSubject
    client: ForkClient
    place: Path
    acknowledged: Acknowledged = field(default_factory=Acknowledged)

    def run(self, until: int = SHORT, **how: Any) -> Outcome:
        """Run a process in the place; raise ``ClauseFailed`` if it does what no store may do."""
        subject = self.subject
        run = Run(
            place=str(self.place),
            opener=subject.opener,
            seed=subject.settings.seed,
            until=until,
            patience_s=subject.patience_s,
            **how,
        )
        outcome = self.client.run(run)
        self.acknowledged.add(outcome, subject.window_ns)
        found = problems_of(run, outcome)
        if found:
            raise ClauseFailed(_report(found, run, outcome))
        return outcome

    def inspect(self, outcome: Outcome | None, about: object, until: int = SHORT, onward: int = 1) -> None:
        """Open the place in a new process, compare it with the acknowledged ticks, and step its worlds."""
        subject = self.subject
        inspection = Inspection(
            place=str(self.place),
            opener=subject.opener,
            seed=subject.settings.seed,
            until=until,
            required=self.acknowledged.required,
            known=self.acknowledged.known,
            attempts=self.acknowledged.attempts.to_json(),
            onward=onward,
        )
        seen = self.client.inspect(asdict(inspection), subject.patience_s)
        found = [*seen.reported("problem"), *seen.reported("crash")]
        if seen.hung:
            found.append(f"expected to read the place within {subject.patience_s:.0f} s, but it took longer")
        elif seen.reported("end") != ["done"] and not found:
            found.append(
                f"expected the process that read the place to end normally, but it died with status {seen.status}"
            )
        # This process closed its store, so all of its ticks must stay, whatever the window.
        self.acknowledged.add(seen, 0)
        if found:
            found = [f"the place after {about}, opened again:", *found]
            raise ClauseFailed(_report(found, about, outcome, seen.stderr))


class CrashSubject:
    """Runs trials in parallel, each in a place of its own."""

    def __init__(
        self,
        opener: str,
        claims: frozenset[Capability],
        place: Path,
        settings: CrashSettings,
        *,
        window_s: float | None = 0.0,
        patience_s: float = 60.0,
        volatile: tuple[str, ...] = (),
    ) -> None:
        self.opener, self.claims, self.place, self.settings = opener, claims, place, settings
        self.window_ns = None if window_s is None else int(window_s * 1e9)
        self.patience_s = patience_s
        self.volatile = volatile
        self.remarks: list[str] = []
        self._clients = ForkClientPool.shared()
        self._places = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self.place.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Keep the place of a failure for inspection.
        if error is None:
            shutil.rmtree(self.place, ignore_errors=True)

    @contextmanager
    def trial(self, template: Path | None = None, acknowledged: Acknowledged | None = None) -> Iterator[Trial]:
        """Make an empty place, or a copy of another one; it is removed unless the trial fails."""
        with self._lock:
            self._places += 1
            place = self.place / f"place {self._places}"
        if template is None:
            place.mkdir()
        else:
            shutil.copytree(template, place)
        client = self._clients.take()
        try:
            known = acknowledged.copy() if acknowledged else Acknowledged()
            yield Trial(self, client, place, known)
        finally:
            self._clients.give(client)
        shutil.rmtree(place)

    def in_parallel(self, trial: Callable[[int], None], numbers: Iterable[int]) -> None:
        """Run a trial for every number, as many at once as there are fork servers; the first failure cancels the rest."""
        with ThreadPoolExecutor(self._clients.jobs) as pool:
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
        dies_on_error: bool = False,
        until: int = SHORT,
        template: Path | None = None,
        acknowledged: Acknowledged | None = None,
    ) -> None:
        """Repeat one run with a fault at each of its calls, each time in a new place."""
        with self.trial(template, acknowledged) as trial:
            # The first run has no fault: it checks the program and counts the calls.
            probe = Fault(Kind.NOTHING, 0, fault.classes)
            count = trial.run(until, together=together, fault=probe).count
            trial.inspect(None, "a run without a fault", until)

        def one(number: int) -> None:
            with self.trial(template, acknowledged) as trial:
                fault_here = replace(fault, call=number)
                outcome = trial.run(until, together=together, fault=fault_here, dies_on_error=dies_on_error)
                how = "worlds at once" if together else "worlds in turn"
                how += ", died after the error" if dies_on_error else ""
                trial.inspect(outcome, f"{fault_here} (seed {self.settings.seed}, {how})", until)

        self.in_parallel(one, self.spread(count, Call(fault.classes)))

    def spread(self, count: int, classes: Call) -> list[int]:
        """The calls to try: all, or evenly spread ones if there are more than the setting allows. Adds a remark."""
        if self.settings.at:
            self.remarks.append(f"only call {self.settings.at} of {count} tried, as ARCHETYPE_CRASH_AT or `at` says")
            return [self.settings.at]
        stride = -(-count // self.settings.calls) if count > self.settings.calls else 1
        numbers = list(range(1, count + 1, stride))
        which = "calls" if classes == Call.ANY else f"calls of {'/'.join(str(one.name).lower() for one in classes)}"
        if stride > 1:
            self.remarks.append(
                f"{len(numbers)} of {count} {which} tried, one in {stride}, because the limit is {self.settings.calls}"
            )
        else:
            self.remarks.append(f"all {count} {which} tried")
        return numbers


def problems_of(run: Run, outcome: Outcome) -> list[str]:
    """What the process did that no process may do, whatever its fault."""
    found = [*outcome.reported("raw"), *outcome.reported("broken"), *outcome.reported("crash")]
    is_killed = run.kill is not None or (
        run.fault is not None and (run.dies_on_error or run.fault.kind in (Kind.KILL_BEFORE, Kind.KILL_AFTER))
    )
    if outcome.hung:
        found.append(f"expected the process to end within {run.patience_s:.0f} s, but it hung")
    elif outcome.status and not (is_killed and outcome.status == -9):
        found.append(f"expected the process to end normally, but it died with status {outcome.status}")
    elif not outcome.status:
        end = outcome.reported("end")
        # Only a fault that stays is a reason to give up.
        if end != ["done"] and not (end == ["gave up"] and run.fault and run.fault.stays):
            found.append(f"expected the process to step all ticks, but it ended with {end}")
    if outcome.reported("error") and not outcome.fired:
        found.append(f"expected no errors without a fault, got {outcome.reported('error')[:3]}")
    return found


def _report(found: list[str], run: object, outcome: Outcome | None, stderr: str = "") -> str:
    lines = [str(run), *found]
    if outcome is not None:
        lines += [
            "",
            f"Last reports of the process: {outcome.lines[-12:]}",
            f"Its last system calls, of {outcome.count}:",
        ]
        lines += [f"  {call}" for call in outcome.tail]
        lines += [
            f"The fault was at call {outcome.fired}." if outcome.fired else "No call got the fault.",
            outcome.stderr,
        ]
    return "\n".join([*lines, stderr]).rstrip()
