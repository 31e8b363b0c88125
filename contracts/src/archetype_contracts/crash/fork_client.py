"""The client of a fork server: it starts the server with the shim preloaded, and requests runs, inspections and races."""

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

from archetype_contracts.crash.case import Outcome, Run
from archetype_contracts.crash.shim import library


class ForkClient:
    """One fork server, used by one thread at a time."""

    def __init__(self) -> None:
        environment = {
            **os.environ,
            "LD_PRELOAD": " ".join(filter(None, (str(library()), os.environ.get("LD_PRELOAD", "")))),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            # A forked process does not inherit the threads of a pool.
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

    def run(self, run: Run) -> Outcome:
        """Run a process and return its outcome."""
        outcome = Outcome(**self._ask(verb="run", run=run.to_json()))
        if outcome.hung and not outcome.lines and not outcome.count:
            # A child can inherit a lock that no thread will release. It has not used the store yet, so try again.
            outcome = Outcome(**self._ask(verb="run", run=run.to_json()))
        return outcome

    def inspect(self, inspection: dict[str, Any], patience_s: float) -> Outcome:
        """Inspect a place, and step its worlds from there."""
        return Outcome(**self._ask(verb="inspect", inspection=inspection, patience_s=patience_s))

    def race(self, opener: str, place: Path, rounds: int, patience_s: float) -> list[tuple[int, Outcome]]:
        """Let two processes race and a third read the result; return the process id and outcome of each."""
        answer = self._ask(verb="race", opener=opener, place=str(place), rounds=rounds, patience_s=patience_s)
        return [(racer.pop("pid"), Outcome(**racer)) for racer in answer["racers"]]

    def wait(self) -> None:
        """Wait until the server is ready."""
        self._answer()

    def close(self) -> None:
        """End the server."""
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
            raise RuntimeError(f"the fork server failed on {request}:\n{answer['failed']}")
        return answer

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the fork server ended with status {self._process.wait()}: see its output on stderr")
        return json.loads(line)


class ForkClientPool:
    """A client per processor (at most four, or ``ARCHETYPE_CRASH_JOBS``), kept for the whole test run."""

    _shared: ForkClientPool | None = None
    _lock = threading.Lock()

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self._all = [ForkClient() for _ in range(jobs)]
        self._free: SimpleQueue[ForkClient] = SimpleQueue()
        for client in self._all:
            client.wait()
            self._free.put(client)

    @classmethod
    def shared(cls) -> ForkClientPool:
        """The pool of this process, started on first use."""
        with cls._lock:
            if cls._shared is None:
                jobs = int(os.environ.get("ARCHETYPE_CRASH_JOBS", "0")) or min(4, os.cpu_count() or 1)
                cls._shared = cls(jobs)
                atexit.register(cls._shared.close)
            return cls._shared

    def take(self) -> ForkClient:
        """Wait for a free client and reserve it."""
        return self._free.get()

    def give(self, client: ForkClient) -> None:
        """Release a client."""
        self._free.put(client)

    def close(self) -> None:
        """End all servers."""
        for client in self._all:
            client.close()
