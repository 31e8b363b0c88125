"""The process that cases are forked from: everything is imported, no store was ever opened, and the shim is preloaded.

It answers requests, a line of JSON each, one after the other. A fork takes milliseconds where starting Python and
importing takes seconds, and no thread that a store or an engine starts is there to be lost in it.
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

# What a child will use is loaded here, once.
from archetype_contracts.crash import race
from archetype_contracts.crash.case import Life, Outcome, Stop
from archetype_contracts.crash.inspection import Inspection, Inspector, digests
from archetype_contracts.crash.program import FORK, prepare
from archetype_contracts.crash.shim import Shim
from archetype_contracts.crash.stepping import Opener, Play, Tell, trace_of
from archetype_core import read  # noqa: F401  # reason: loaded for the children
from archetype_core.engine import daft as engine_daft  # noqa: F401  # reason: likewise
from archetype_core.store import MemoryStore

# The engine loads these at its first tick, which would take longer than the rest of a short life.
LATE = ("daft.extension_type", "numpy.ma")

Work = Callable[[Tell], None]


@dataclass(slots=True)
class Child:
    """A forked process and the pipe it tells on."""

    pid: int
    pipe: int
    stderr: Path
    lines: list[dict[str, Any]] = field(default_factory=list)
    rest: bytes = b""

    def read(self) -> bool:
        """Take what the pipe holds; false at its end."""
        data = os.read(self.pipe, 1 << 20)
        *whole, self.rest = (self.rest + data).split(b"\n")
        # A line that was cut short by a kill was never told.
        self.lines += [json.loads(line) for line in whole]
        return bool(data)

    def acknowledged(self) -> int:
        """Ticks acknowledged so far."""
        return sum("ack" in line for line in self.lines)


class Cradle:
    """Forks a child for every request and tells what became of it."""

    def __init__(self) -> None:
        self.shim = Shim()
        self.expected: dict[int, dict[str, dict[int, str]]] = {}
        self._scratch = Path(tempfile.mkdtemp(prefix="archetype-crash-"))

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Do what a request says."""
        verb = request["verb"]
        if verb == "live":
            life = Life.from_json(request["life"])
            find(life.opener)
            prepare(life.seed, life.until)
            child = self._fork(lambda tell: self._live(life, tell))
            return asdict(self._outcome(child, life.patience_s, life.stop))
        if verb == "inspect":
            inspection = Inspection.from_json(request["inspection"])
            opener = find(inspection.opener)
            expected = self._reference(inspection.seed, inspection.until + 2)
            child = self._fork(lambda tell: self._inspect(inspection, opener, expected, tell))
            return asdict(self._outcome(child, request["patience_s"], None))
        if verb == "race":
            find(request["opener"])
            return self._race(request)
        raise ValueError(verb)

    def close(self) -> None:
        """Remove what was needed for the children."""
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _live(self, life: Life, tell: Tell) -> None:
        def told(**line: Any) -> None:
            if "ack" in line:
                world, tick, when = line["ack"]
                if life.log:
                    self.shim.mark(json.dumps([world, tick, when]))
            tell(**line)

        place = Path(life.place)
        self.shim.arm(place, life.fault)
        if life.log:
            self.shim.trace(Path(life.log))
        asyncio.run(Play(find(life.opener), place, life.seed, life.until, told, together=life.together).run())

    def _inspect(self, inspection: Inspection, opener: Opener, expected: Any, tell: Tell) -> None:
        # Armed without a fault: nothing is cut here, so syncs need not wait for the disk.
        self.shim.arm(Path(inspection.place), None)
        inspector = Inspector(inspection, opener, expected)
        try:
            asyncio.run(inspector.run())
        finally:
            for line in inspector.lines:
                if "ack" in line:
                    tell(**line)
            for fault in inspector.faults:
                tell(fault=fault)
        tell(end="done")

    def _reference(self, seed: int, until: int) -> dict[str, dict[int, str]]:
        """The digests of a run over memory, made in a child so that this process stays as it is."""
        known = self.expected.get(seed)
        prepare(seed, until)
        if known is not None and max(known[FORK]) >= until - 1:
            return known

        def run(tell: Tell) -> None:
            store = MemoryStore("reference")
            play = Play(lambda _: MemoryStore("reference"), Path(), seed, until, lambda **_: None, together=False)
            asyncio.run(play.run())
            tell(digests=digests(store, seed))

        outcome = self._outcome(self._fork(run), 300.0, None)
        if outcome.status or not outcome.said("digests"):
            raise RuntimeError(f"the reference run failed: {outcome.lines} {outcome.stderr}")
        (found,) = outcome.said("digests")
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
            # Whatever a store prints is not an answer.
            os.dup2(2, 1)
            _be_child(self.shim, work, writing)
        os.close(writing)
        os.close(descriptor)
        return Child(pid, reading, Path(name))

    def _outcome(self, child: Child, patience_s: float, stop: Stop | None) -> Outcome:
        deadline = time.monotonic() + patience_s
        hung, killed_ns, kill_at = False, 0, None
        while True:
            now = time.monotonic()
            if stop is not None and kill_at is None and child.acknowledged() >= stop.acks:
                kill_at = now + stop.delay_s
            if kill_at is not None and now >= kill_at and not killed_ns:
                killed_ns = time.monotonic_ns()
                os.kill(child.pid, signal.SIGKILL)
            if now >= deadline and not hung:
                hung = True
                # Where it hangs is worth knowing; SIGABRT makes faulthandler tell.
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
            # It killed itself, earlier than it was noticed here.
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
        """Two children that wait for one another before every round."""
        opener, place, rounds = find(request["opener"]), Path(request["place"]), int(request["rounds"])
        gates = [os.pipe() for _ in range(2)]

        def runner(index: int) -> Work:
            def work(tell: Tell) -> None:
                self.shim.arm(place, None)
                for number, (reading, writing) in enumerate(gates):
                    os.close(writing)
                    if number != index:
                        os.close(reading)
                asyncio.run(race.run(opener, place, rounds, gates[index][0], tell))

            return work

        children = [self._fork(runner(index)) for index in range(2)]
        outcomes = self._referee(children, [writing for _, writing in gates], rounds, request["patience_s"])
        for gate in gates:
            for descriptor in gate:
                os.close(descriptor)
        reader = self._fork(lambda tell: race.read(opener, place, tell))
        children.append(reader)
        outcomes.append(self._outcome(reader, request["patience_s"], None))
        return {"racers": [{"pid": child.pid, **asdict(one)} for child, one in zip(children, outcomes, strict=True)]}

    def _referee(self, children: list[Child], gates: list[int], rounds: int, patience_s: float) -> list[Outcome]:
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
                for gate in gates:
                    os.write(gate, b"g")
        return [self._ended(one, hung, 0) for one in children]


def find(opener: str) -> Opener:
    """What ``module:function`` names."""
    module, _, name = opener.partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found  # type: ignore[no-any-return]  # reason: whatever it is, calling it says so


def _be_child(shim: Shim, work: Work, pipe: int) -> None:
    """Do the work and end, without a step back into the parent's code."""
    status = 1
    try:
        shim.follow_parent()
        faulthandler.enable(2)

        def tell(**line: Any) -> None:
            os.write(pipe, json.dumps(line).encode() + b"\n")

        try:
            work(tell)
            status = 0
        except BaseException as failure:  # noqa: BLE001  # reason: told to the parent, whatever it is
            tell(crash=trace_of(failure))
    finally:
        shim.disarm()
        os._exit(status)


def main() -> None:
    """Answer requests until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cradle = Cradle()
    for name in LATE:
        with suppress(ImportError):
            importlib.import_module(name)
    # What is here stays, so children need not copy the pages that a collection would touch.
    gc.freeze()
    # Stdout belongs to the answers alone.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    answers.write(json.dumps({"ready": True}) + "\n")
    answers.flush()
    for line in sys.stdin:
        try:
            answer = cradle.answer(json.loads(line))
        except Exception as failure:  # noqa: BLE001  # reason: told to whoever asked
            answer = {"failed": trace_of(failure)}
        with suppress(BrokenPipeError):
            answers.write(json.dumps(answer) + "\n")
            answers.flush()
    cradle.close()


if __name__ == "__main__":
    main()
