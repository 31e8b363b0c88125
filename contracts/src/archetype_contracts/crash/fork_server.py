"""The fork server of the crash contract: it has imported everything, opened no store, and preloaded the shim.

It answers one JSON request per line. A fork takes milliseconds; starting Python and importing the engine takes seconds.
The server itself starts no thread, because a fork would lose it.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import importlib
import json
import os
import select
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

# Everything that a forked child uses is imported here or in `preload`, so that no child pays for it.
from archetype_contracts.crash import racer
from archetype_contracts.crash.case import Outcome, Run, TimedKill
from archetype_contracts.crash.inspection import Inspection, Inspector, digests
from archetype_contracts.crash.program import FORK, Buoy, Current, prepare
from archetype_contracts.crash.session import Opener, Report, Session, trace_of
from archetype_contracts.crash.shim import Shim
from archetype_core import read  # noqa: F401  # reason: preloaded for the children, which read their worlds
from archetype_core.store import MemoryStore

Work = Callable[[Report], None]


@dataclass(slots=True)
class Child:
    """A forked process, and the pipe on which it reports."""

    pid: int
    pipe: int
    stderr: Path
    lines: list[dict[str, Any]] = field(default_factory=list)
    rest: bytes = b""

    def read(self) -> bool:
        """Read what is in the pipe; return false at its end."""
        data = os.read(self.pipe, 1 << 20)
        *whole, self.rest = (self.rest + data).split(b"\n")
        # An incomplete last line was interrupted by a kill and does not count.
        self.lines += [json.loads(line) for line in whole]
        return bool(data)

    def acknowledged(self) -> int:
        """The number of ticks acknowledged so far."""
        return sum("ack" in line for line in self.lines)


class ForkServer:
    """Forks a child for every request and returns its outcome."""

    def __init__(self) -> None:
        self.shim = Shim()
        self.expected: dict[int, dict[str, dict[int, str]]] = {}
        self._scratch = Path(tempfile.mkdtemp(prefix="archetype-crash-"))

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a request."""
        verb = request["verb"]
        if verb == "run":
            run = Run.from_json(request["run"])
            find(run.opener)
            prepare(run.seed, run.until)
            child = self._fork(lambda report: self._run(run, report))
            return asdict(self._outcome(child, run.patience_s, run.kill))
        if verb == "inspect":
            inspection = Inspection.from_json(request["inspection"])
            opener = find(inspection.opener)
            expected = self._reference(inspection.seed, inspection.until + 2)
            child = self._fork(lambda report: self._inspect(inspection, opener, expected, report))
            return asdict(self._outcome(child, request["patience_s"], None))
        if verb == "race":
            find(request["opener"])
            return self._race(request)
        raise ValueError(f"unknown request {verb!r}")

    def close(self) -> None:
        """Remove the files of the children."""
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _run(self, run: Run, report: Report) -> None:
        def report_and_mark(**line: Any) -> None:
            if run.log and line.keys() & {"ack", "refused"}:
                self.shim.mark(json.dumps(line))
            report(**line)

        def die() -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        place = Path(run.place)
        self.shim.arm(place, run.fault)
        if run.log:
            self.shim.trace(Path(run.log))
        session = Session(
            find(run.opener),
            place,
            run.seed,
            run.until,
            report_and_mark,
            together=run.together,
            die=die if run.dies_on_error else None,
        )
        asyncio.run(session.run())

    def _inspect(self, inspection: Inspection, opener: Opener, expected: Any, report: Report) -> None:
        # Armed without a fault: no power is cut here, so syncs need not wait for the disk.
        self.shim.arm(Path(inspection.place), None)
        inspector = Inspector(inspection, opener, expected)
        try:
            asyncio.run(inspector.run())
        finally:
            for line in inspector.lines:
                if line.keys() & {"ack", "tried", "read"}:
                    report(**line)
            for problem in inspector.problems:
                report(problem=problem)
        report(end="done")

    def _reference(self, seed: int, until: int) -> dict[str, dict[int, str]]:
        """The digests of a run over memory. A child makes them, so that this process never steps a world."""
        known = self.expected.get(seed)
        prepare(seed, until)
        if known is not None and max(known[FORK]) >= until - 1:
            return known

        def run(report: Report) -> None:
            store = MemoryStore("reference")
            session = Session(lambda _: MemoryStore("reference"), Path(), seed, until, lambda **_: None, together=False)
            asyncio.run(session.run())
            report(digests=digests(store, seed))

        outcome = self._outcome(self._fork(run), 300.0, None)
        if outcome.status or not outcome.reported("digests"):
            raise RuntimeError(f"the reference run failed: {outcome.lines} {outcome.stderr}")
        (found,) = outcome.reported("digests")
        made = {world: {int(tick): text for tick, text in ticks.items()} for world, ticks in found.items()}
        self.expected[seed] = made
        return made

    def _fork(self, work: Work) -> Child:
        self.shim.reset()
        descriptor, name = tempfile.mkstemp(dir=self._scratch)
        reading, writing = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            os.dup2(descriptor, 2)
            # Output of a store must not mix with the answers.
            os.dup2(2, 1)
            _run_child(self.shim, work, writing)
        os.close(writing)
        os.close(descriptor)
        return Child(pid, reading, Path(name))

    def _outcome(self, child: Child, patience_s: float, kill: TimedKill | None) -> Outcome:
        deadline = time.monotonic() + patience_s
        hung, killed_ns, kill_at = False, 0, None
        while True:
            now = time.monotonic()
            if kill is not None and kill_at is None and child.acknowledged() >= kill.acks:
                kill_at = now + kill.delay_s
            if kill_at is not None and now >= kill_at and not killed_ns:
                killed_ns = time.monotonic_ns()
                os.kill(child.pid, signal.SIGKILL)
            if now >= deadline and not hung:
                hung = True
                # SIGABRT makes faulthandler print where the process hangs.
                os.kill(child.pid, signal.SIGABRT)
                deadline = now + 2.0
            elif now >= deadline:
                os.kill(child.pid, signal.SIGKILL)
            until = deadline if kill_at is None or killed_ns else kill_at
            ready, _, _ = select.select([child.pipe], [], [], max(0.0, until - now))
            if ready and not child.read():
                break
        return self._ended(child, hung, killed_ns)

    def _ended(self, child: Child, hung: bool, killed_ns: int) -> Outcome:
        os.close(child.pipe)
        _, status = os.waitpid(child.pid, 0)
        ended_ns = killed_ns or time.monotonic_ns()
        fired, fired_ns = self.shim.fired
        if os.WIFSIGNALED(status) and not killed_ns and not hung:
            # The shim killed it, before this process noticed.
            ended_ns = fired_ns or ended_ns
        outcome = Outcome(
            lines=child.lines,
            status=os.waitstatus_to_exitcode(status),
            hung=hung,
            count=self.shim.count,
            fired=fired,
            ended_ns=ended_ns,
            tail=self.shim.tail(),
            stderr=child.stderr.read_text(errors="replace")[-6000:],
        )
        child.stderr.unlink()
        return outcome

    def _race(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Run two children that start every round at the same moment, then one that reads the result."""
        opener, place, rounds = find(request["opener"]), Path(request["place"]), int(request["rounds"])
        barriers = [os.pipe() for _ in range(2)]

        def runner(index: int) -> Work:
            def work(report: Report) -> None:
                self.shim.arm(place, None)
                for number, (reading, writing) in enumerate(barriers):
                    os.close(writing)
                    if number != index:
                        os.close(reading)
                asyncio.run(racer.run(opener, place, rounds, barriers[index][0], report))

            return work

        children = [self._fork(runner(index)) for index in range(2)]
        outcomes = self._start_rounds(children, [writing for _, writing in barriers], rounds, request["patience_s"])
        for barrier in barriers:
            for descriptor in barrier:
                os.close(descriptor)
        reader = self._fork(lambda report: racer.read(opener, place, report))
        children.append(reader)
        outcomes.append(self._outcome(reader, request["patience_s"], None))
        return {"racers": [{"pid": child.pid, **asdict(one)} for child, one in zip(children, outcomes, strict=True)]}

    def _start_rounds(
        self, children: list[Child], barriers: list[int], rounds: int, patience_s: float
    ) -> list[Outcome]:
        deadline, opened, hung = time.monotonic() + patience_s, 0, False
        running = list(children)
        while running:
            ready, _, _ = select.select([one.pipe for one in running], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                hung = True
                for one in running:
                    os.kill(one.pid, signal.SIGABRT)
                deadline = time.monotonic() + 5.0
            running = [one for one in running if one.pipe not in ready or one.read()]
            waiting = [sum("ready" in line for line in one.lines) for one in children]
            if opened < rounds + 1 and min(waiting) > opened:
                opened += 1
                for barrier in barriers:
                    os.write(barrier, b"g")
        return [self._ended(one, hung, 0) for one in children]


def find(opener: str) -> Opener:
    """Import the function of ``module:function``."""
    module, _, name = opener.partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found  # type: ignore[no-any-return]  # reason: a wrong name fails when it is called


def preload() -> None:
    """Import what the engine imports only at its first tick, which takes longer than the rest of a short run."""
    _ = Buoy.x + Current.dx  # an expression: it imports Daft
    pa.array([0])  # it imports pandas, where that is installed
    for name in ("daft.extension_type", "numpy.ma"):
        with suppress(ImportError):
            importlib.import_module(name)


def _run_child(shim: Shim, work: Work, pipe: int) -> None:
    """Do the work and end the process, without returning to the parent's code."""
    status = 1
    try:
        shim.follow_parent()
        faulthandler.enable(2)

        def report(**line: Any) -> None:
            os.write(pipe, json.dumps(line).encode() + b"\n")

        try:
            work(report)
            status = 0
        except BaseException as failure:  # noqa: BLE001  # reason: every error is reported to the parent
            report(crash=trace_of(failure))
    finally:
        shim.disarm()
        os._exit(status)


def main() -> None:
    """Answer requests until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server = ForkServer()
    preload()
    # Objects of this process are never collected, so children need not copy their pages.
    gc.freeze()
    # Only answers go to stdout.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    answers.write(json.dumps({"ready": True}) + "\n")
    answers.flush()
    for line in sys.stdin:
        try:
            answer = server.answer(json.loads(line))
        except Exception as failure:  # noqa: BLE001  # reason: every error is returned to the client
            answer = {"failed": trace_of(failure)}
        with suppress(BrokenPipeError):
            answers.write(json.dumps(answer) + "\n")
            answers.flush()
    server.close()


if __name__ == "__main__":
    main()
