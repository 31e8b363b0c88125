"""Side by side with the public package of this idea: the same movement work, in the same run, each in its own environment.

Each side runs in a process of its own, one after the other, the whole several times over; the figures are ratios of medians.
Ours is the default store, with every tick on disk before the next begins; the peer's is its default, which syncs nothing.
``--peer`` names the Python of an environment that has the peer; ``nox -s bench-peer`` makes one. Without it only our side is
measured, and nothing is compared.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import _measure

HERE = Path(__file__).resolve().parent
SIDES = {"ours": "_peer_ours.py", "peer": "_peer_theirs.py"}
# Entities and ticks, and the least that ours has to be faster.
FULL = {"1": (1, 500, 20.0), "1 k": (1_000, 500, 30.0), "100 k": (100_000, 30, 10.0), "1 M": (1_000_000, 10, 10.0)}
QUICK = {"1": (1, 20, 1.0), "1 k": (1_000, 20, 1.0)}


def side(python: str, script: str, place: Path, entities: int, ticks: int) -> dict[str, Any]:
    """What one side measured: ticks per second, one tick read, resume; in milliseconds where it is a time."""
    command = [python, str(HERE / script), str(place), str(entities), str(ticks)]
    run = subprocess.run(command, check=False, capture_output=True, text=True, env=_environment())
    if run.returncode:
        raise SystemExit(f"{script} failed:\n{run.stdout[-2000:]}\n{run.stderr[-4000:]}")
    found: dict[str, Any] = json.loads(run.stdout.strip().splitlines()[-1])
    return found


def _environment() -> dict[str, str]:
    return {**os.environ, "DO_NOT_TRACK": "true", "LANCE_LOG": "error", "PYTHONPATH": ""}


def main() -> None:
    """Measure, check, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", help="the Python of an environment with the peer")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--dir", type=Path)
    options = parser.parse_args()
    pythons = {"ours": sys.executable, **({"peer": options.peer} if options.peer else {})}
    figures: dict[str, Any] = {}
    bounds: dict[str, _measure.Bound] = {}
    for label, (entities, ticks, least) in (QUICK if options.quick else FULL).items():
        seen: dict[str, list[dict[str, Any]]] = {name: [] for name in pythons}
        # The large ones take the peer minutes and gigabytes.
        for _ in range(1 if options.quick or entities > 1_000 else options.rounds):
            for name, interpreter in pythons.items():
                with tempfile.TemporaryDirectory(dir=options.dir) as directory:
                    place = Path(directory) / "world"
                    seen[name].append(side(interpreter, SIDES[name], place, entities, ticks))
                    shutil.rmtree(place, ignore_errors=True)
        checks = {name: {run["sum"] for run in runs} for name, runs in seen.items()}
        assert all(found == {1.0} for found in checks.values()), f"the two did other work than was asked: {checks}"
        for key in ("ticks_s", "one_tick_ms", "resume_ms"):
            both = {name: statistics.median(run[key] for run in runs) for name, runs in seen.items()}
            figures |= {f"{label} entities, {key}, {name}": value for name, value in both.items()}
            if "peer" in both:
                ratio = both["ours"] / both["peer"] if key == "ticks_s" else both["peer"] / both["ours"]
                figures[f"{label} entities, {key}, times better"] = ratio
        # The same with the time that it takes to move all of them from the journal into Lance tables.
        sealed = statistics.median(run["sealed_ticks_s"] for run in seen["ours"])
        figures[f"{label} entities, sealed ticks_s, ours"] = sealed
        if options.peer:
            bounds[f"{label} entities, ticks_s, times better"] = (">=", least)
    if options.peer and not options.quick:
        bounds["1 k entities, one_tick_ms, times better"] = (">=", 20.0)
        bounds["100 k entities, resume_ms, times better"] = (">=", 10.0)
    _measure.report("peer", figures, bounds, options.out)


if __name__ == "__main__":
    main()
