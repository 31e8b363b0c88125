"""The process that gates under test are forked from, so that no life pays for importing the engine."""

from __future__ import annotations

import asyncio
import faulthandler
import importlib
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

# What a child will use is loaded here, once.
from archetype_contracts.crash.fork_server import LATE, Child, find
from archetype_contracts.gate.life import GateLife
from archetype_core import read, store  # noqa: F401  # reason: loaded for the children
from archetype_core.engine import daft as engine_daft  # noqa: F401  # reason: likewise

_PATIENCE_S = 60.0


def live(request: dict[str, Any]) -> dict[str, Any]:
    """Let a child live until it was told so much, and a moment longer; then kill it."""
    descriptor, name = tempfile.mkstemp()
    reading, writing = os.pipe()
    hooks = find(request["opener"])()  # type: ignore[call-arg]  # reason: an adopter's class, not a store's opener
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        os.dup2(descriptor, 2)
        os.dup2(2, 1)
        _be_child(hooks, request, writing)
    os.close(writing)
    os.close(descriptor)
    child = Child(pid, reading, Path(name))
    kill_at, deadline, is_killed = None, time.monotonic() + _PATIENCE_S, False
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


def _be_child(hooks: Any, request: dict[str, Any], pipe: int) -> None:
    """Live and end, without a step back into the parent's code."""
    status = 1
    try:
        faulthandler.enable(2)

        def tell(**line: Any) -> None:
            os.write(pipe, json.dumps(line).encode() + b"\n")

        life = GateLife(hooks, Path(request["place"]), request["seed"], request["life"], tell)
        try:
            asyncio.run(life.run(request["things"]))
            status = 0
        except BaseException as failure:  # noqa: BLE001  # reason: told to the parent, whatever it is
            tell(crash=f"{type(failure).__name__}: {failure}")
    finally:
        os._exit(status)


def main() -> None:
    """Answer requests until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in LATE:
        with suppress(ImportError):
            importlib.import_module(name)
    # Stdout belongs to the answers alone.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        answers.write(json.dumps(live(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
