"""The near side of a cradle: starts it with the shim preloaded, and asks it for lives, inspections and races."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from archetype_contracts.crash.case import Life, Outcome
from archetype_contracts.crash.shim import library


class Nursery:
    """One warm process, asked by one thread at a time."""

    def __init__(self) -> None:
        environment = {
            **os.environ,
            "LD_PRELOAD": " ".join(filter(None, (str(library()), os.environ.get("LD_PRELOAD", "")))),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            # A pool of threads that is there before the fork is not there after it.
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONUNBUFFERED": "1",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "archetype_contracts.crash.fork_server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def live(self, life: Life) -> Outcome:
        """Let a process live, and say how it ended."""
        outcome = Outcome(**self._ask(verb="live", life=life.to_json()))
        if outcome.hung and not outcome.lines and not outcome.count:
            # A child can inherit a lock that nobody will open. It did nothing yet, so it says nothing about a store.
            outcome = Outcome(**self._ask(verb="live", life=life.to_json()))
        return outcome

    def inspect(self, inspection: dict[str, Any], patience_s: float) -> Outcome:
        """Look at a place, and step on from there."""
        return Outcome(**self._ask(verb="inspect", inspection=inspection, patience_s=patience_s))

    def race(self, opener: str, place: Path, rounds: int, patience_s: float) -> list[tuple[int, Outcome]]:
        """Let two processes race, and say who they were and how they ended; the third only read what is there then."""
        answer = self._ask(verb="race", opener=opener, place=str(place), rounds=rounds, patience_s=patience_s)
        return [(racer.pop("pid"), Outcome(**racer)) for racer in answer["racers"]]

    def wait(self) -> None:
        """Return once it is warm."""
        self._answer()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _ask(self, **request: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        if "failed" in answer:
            raise RuntimeError(f"the cradle could not do what it was asked:\n{answer['failed']}")
        return answer

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the cradle ended with status {self._process.wait()}; what it said is on stderr")
        return json.loads(line)


class Nurseries:
    """As many as there are processors to share, kept for the whole run."""

    _shared: Nurseries | None = None
    _lock = threading.Lock()

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self._all = [Nursery() for _ in range(jobs)]
        self._free: SimpleQueue[Nursery] = SimpleQueue()
        for nursery in self._all:
            nursery.wait()
            self._free.put(nursery)

    @classmethod
    def shared(cls) -> Nurseries:
        """The ones of this process, started when they are first asked for."""
        with cls._lock:
            if cls._shared is None:
                jobs = int(os.environ.get("ARCHETYPE_CRASH_JOBS", "0")) or min(4, os.cpu_count() or 1)
                cls._shared = cls(jobs)
                atexit.register(cls._shared.close)
            return cls._shared

    def take(self) -> Nursery:
        """One that nobody uses; waits for it."""
        return self._free.get()

    def give(self, nursery: Nursery) -> None:
        """Let somebody else use it."""
        self._free.put(nursery)

    def close(self) -> None:
        """End all of them."""
        for nursery in self._all:
            nursery.close()
