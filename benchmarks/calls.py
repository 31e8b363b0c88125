"""How many functions of ours one call of a world's handle enters, on every thread that takes part.

``--trace`` prints them in order, indented by depth on their thread. Comprehensions, generated methods and functions of
dependencies do not count, nor does the thread that writes the audit in the background: it is idle when a call begins.
Every round has a new runtime, and the figures are those of most rounds: a thread that answers early saves a call.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import _measure
import _movement

import archetype
import archetype_core
import archetype_gate
from archetype import ArchetypeRuntime

PACKAGES = tuple(str(Path(str(package.__file__)).parent) for package in (archetype, archetype_core, archetype_gate))
ROUNDS = 3
BACKGROUND = ("archetype-ledger",)
QUIET_S = 0.5
PROBES = ("__hash__", "__eq__")  # how often a dict compares keys depends on addresses

Call = tuple[str, int, str]


def is_ours(code: CodeType) -> bool:
    """Whether a function is written in a package of ours, and called by a caller rather than by a dict."""
    is_written = not code.co_name.startswith("<") or code.co_name == "<lambda>"
    return is_written and code.co_name not in PROBES and code.co_filename.startswith(PACKAGES)


def depth(frame: FrameType) -> int:
    """How many functions of ours are on the stack below this one."""
    found, above = 0, frame.f_back
    while above is not None:
        found += is_ours(above.f_code)
        above = above.f_back
    return found


class Recorder:
    """Notes the functions that are entered while it is on; a coroutine that is resumed is not entered again."""

    def __init__(self) -> None:
        self.is_on = False
        self.last_background = time.monotonic()
        self._frames: list[FrameType] = []
        self._seen: set[int] = set()
        self._calls: list[Call] = []
        self._lock = threading.Lock()

    def __call__(self, frame: FrameType, event: str, _argument: Any) -> None:
        """Take an event of the interpreter."""
        if threading.current_thread().name.startswith(BACKGROUND):
            self.last_background = time.monotonic()
            return
        if not self.is_on or event != "call" or not is_ours(frame.f_code):
            return
        with self._lock:
            if id(frame) in self._seen:
                return
            self._seen.add(id(frame))
            self._frames.append(frame)  # alive, so that no other frame gets its id
            module = frame.f_globals["__name__"]
            self._calls.append((threading.current_thread().name, depth(frame), f"{module}.{frame.f_code.co_qualname}"))

    async def record(self, work: Callable[[], Awaitable[Any]]) -> list[Call]:
        """The functions that a piece of work enters, in order, once background threads are idle."""
        while time.monotonic() - self.last_background < QUIET_S:  # noqa: ASYNC110  # reason: nothing announces idleness
            await asyncio.sleep(QUIET_S / 10)
        gc.collect()
        gc.disable()
        self.is_on = True
        try:
            await work()
        finally:
            self.is_on = False
            gc.enable()
        found = self._calls
        self._calls, self._frames, self._seen = [], [], set()
        return found


async def round_of(recorder: Recorder) -> dict[str, list[Call]]:
    """What one call of each verb enters, after calls that were not counted."""
    async with ArchetypeRuntime("memory:") as runtime:
        world = runtime.world("calls", processors=[_movement.Movement()])

        async def spawn() -> None:
            await world.spawn(_movement.Position(), _movement.Velocity(dx=1.0))

        async def run() -> None:
            await world.run(steps=1)

        async def query() -> None:
            await world.query(_movement.Position)

        verbs: dict[str, Callable[[], Awaitable[Any]]] = {"spawn": spawn, "run": run, "query": query}
        for _ in range(2):
            for work in verbs.values():
                await work()
        found = {name: await recorder.record(work) for name, work in verbs.items()}
        assert len((await world.query(_movement.Position)).to_pydict()["entity_id"]) == 2 + 2 + 3 - 1
        return found


def traced() -> list[dict[str, list[Call]]]:
    """The calls of every round; threads that start from here on are watched too."""
    recorder = Recorder()
    threading.setprofile(recorder)
    sys.setprofile(recorder)
    try:
        return [asyncio.run(round_of(recorder)) for _ in range(ROUNDS)]
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def main() -> None:
    """Count and report."""
    is_traced = "--trace" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--trace"]
    options = _measure.arguments(str(__doc__))
    rounds = traced()
    figures: dict[str, int] = {}
    for verb in rounds[0]:
        usual = statistics.mode(len(found[verb]) for found in rounds)
        calls = next(found[verb] for found in rounds if len(found[verb]) == usual)
        figures[f"{verb}_calls"] = len(calls)
        figures[f"{verb}_deepest"] = 1 + max(level for _, level, _ in calls)
        figures[f"{verb}_threads"] = len({thread for thread, _, _ in calls})
        for thread, level, name in calls if is_traced else ():
            print(f"{verb:6} {thread:24} {'  ' * level}{name}")
    _measure.report("calls", figures, {}, options.out)


if __name__ == "__main__":
    main()
