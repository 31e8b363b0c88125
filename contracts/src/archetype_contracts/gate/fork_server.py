"""The fork server of ``GateCrash``: it has imported the engine, so that no forked process pays for that."""

from __future__ import annotations

import asyncio
import faulthandler
import json
import os
import select
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

# Everything that a forked child uses is imported here or in `preload`, so that no child pays for it.
from archetype_contracts.crash.fork_server import Child, find, preload
from archetype_contracts.gate.session import GateSession
from archetype_core import read, store  # noqa: F401  # reason: preloaded for the children, which open and read stores

_TIMEOUT_S = 60.0


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Fork a child, and kill it ``delay_s`` after it reported ``acks`` answers."""
    descriptor, name = tempfile.mkstemp()
    reading, writing = os.pipe()
    hooks = find(request["opener"])()  # type: ignore[call-arg]  # reason: an adopter's class, not a store's opener
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        os.dup2(descriptor, 2)
        os.dup2(2, 1)
        _run_child(hooks, request, writing)
    os.close(writing)
    os.close(descriptor)
    child = Child(pid, reading, Path(name))
    kill_at, deadline, is_killed = None, time.monotonic() + _TIMEOUT_S, False
    while True:
        if kill_at is None and child.acknowledged() >= request["acks"]:
            kill_at = time.monotonic() + request["delay_s"]
        until = deadline if kill_at is None or is_killed else kill_at
        ready, _, _ = select.select([child.pipe], [], [], max(0.0, until - time.monotonic()))
        if ready:
            if not child.read():
                break
        elif not is_killed:
            is_killed = True
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    os.close(child.pipe)
    _, status = os.waitpid(pid, 0)
    stderr = child.stderr.read_text(errors="replace")[-4000:]
    child.stderr.unlink()
    return {
        "lines": child.lines,
        "status": os.waitstatus_to_exitcode(status),
        "hung": kill_at is None and is_killed,
        "stderr": stderr,
    }


def _run_child(hooks: Any, request: dict[str, Any], pipe: int) -> None:
    """Run the session and end the process, without returning to the parent's code."""
    status = 1
    try:
        faulthandler.enable(2)

        def report(**line: Any) -> None:
            os.write(pipe, json.dumps(line).encode() + b"\n")

        session = GateSession(hooks, Path(request["place"]), request["seed"], request["run"], report)
        try:
            asyncio.run(session.run(request["operations"]))
            status = 0
        except BaseException as failure:  # noqa: BLE001  # reason: every error is reported to the parent
            report(crash=f"{type(failure).__name__}: {failure}")
    finally:
        os._exit(status)


def main() -> None:
    """Answer requests until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    preload()
    # Only answers go to stdout.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        answers.write(json.dumps(run(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
