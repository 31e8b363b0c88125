"""Commits one tick with a fault at each call of the commit, then other rows for the same tick, each time in a new place.

Prints one JSON line per case: what became of the first commit and of the second, and what the place shows afterwards.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from archetype_contracts.crash.case import Fault, Kind
from archetype_contracts.crash.fork_server import find
from archetype_contracts.crash.session import Opener, Report
from archetype_contracts.crash.shim import Shim
from archetype_contracts.sample import SPOT, mottos, spots
from archetype_contracts.script import Script
from archetype_contracts.store.observation import read, scan_of
from archetype_core.errors import ArchetypeError, CommitUncertain, TickConflict
from archetype_core.store import Store, TickCommit

SCRIPT = Script()
FIRST = [SCRIPT.tick(spots({1: 0.0}), attempt="zero"), SCRIPT.tick(spots({1: 1.0}), attempt="one")]
TRIED = SCRIPT.draft(spots({1: 2.0}), mottos({2: ("tried", b"", 2)}), attempt="tried")
OTHER = SCRIPT.draft(spots({1: -2.0}), attempt="other")


def outcome_of(store: Store, commit: TickCommit) -> str:
    """What became of a commit."""
    try:
        store.commit([commit])
    except TickConflict:
        return "conflict"
    except CommitUncertain:
        return "uncertain"
    except ArchetypeError:
        return "refused"
    return "stored"


def shown(store: Store) -> list[Any]:
    """The newest tick, its attempt, and the value of its one row in the first table."""
    head = store.head(SCRIPT.segment.world_id)
    rows = read(store, scan_of(SPOT, head.segment, head.tick, columns=("spot__x",)))
    return [head.tick, head.attempt, rows.column(0).to_pylist()]


def in_child(work: Callable[[Report], None]) -> dict[str, Any]:
    """Fork, and return what the child reports before it ends or kills itself."""
    reading, writing = os.pipe()
    if os.fork() == 0:

        def report(**found: Any) -> None:
            os.write(writing, json.dumps(found).encode() + b"\n")

        try:
            work(report)
        except BaseException as failure:  # noqa: BLE001  # reason: reported to the test
            report(raw=f"{type(failure).__name__}: {failure}")
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        found = {key: value for line in pipe for key, value in json.loads(line).items()}
    os.wait()
    return found


def write(report: Report, shim: Shim, open_store: Opener, place: Path, fault: Fault, *, is_killed: bool) -> None:
    """Commit a tick with a fault; unless killed then, read the head, and commit other rows for the tick."""
    store = open_store(place)
    store.commit(FIRST)
    shim.reset()
    shim.arm(place, fault)
    tried = outcome_of(store, TRIED)
    shim.disarm()
    report(tried=tried, fired=bool(shim.fired[0]))
    if is_killed:
        os.kill(os.getpid(), signal.SIGKILL)
    report(between=shown(store), other=outcome_of(store, OTHER), here=shown(store))
    store.close()


def look(report: Report, open_store: Opener, place: Path) -> None:
    """Read the head of the opened place, and commit other rows for the tick."""
    store = open_store(place)
    report(found=shown(store), late=outcome_of(store, OTHER), kept=shown(store))
    store.close()


def main(opener: str, root: str) -> None:
    """Try every call of the commit with every error, with a kill right after it and without."""
    shim, open_store = Shim(), find(opener)
    for error, is_killed in itertools.product((errno.EIO, errno.ENOSPC), (False, True)):
        for number in itertools.count(1):
            place = Path(root) / f"{error} {is_killed} {number}"
            place.mkdir(parents=True)
            fault = Fault(Kind.FAIL, number, error=error)
            case = {"error": errno.errorcode[error], "killed": is_killed, "call": number}
            case |= in_child(
                partial(write, shim=shim, open_store=open_store, place=place, fault=fault, is_killed=is_killed)
            )
            case |= in_child(partial(look, open_store=open_store, place=place))
            case["again"] = in_child(partial(look, open_store=open_store, place=place)).get("found")
            print(json.dumps(case))
            if not case.get("fired"):
                break


if __name__ == "__main__":
    main(*sys.argv[1:])
