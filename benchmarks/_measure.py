"""What the benchmarks share: interleaved rounds, medians, ratios within one run, and JSON out."""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any


def arguments(description: str) -> argparse.Namespace:
    """``--quick`` for a run that only shows that it works, ``--out`` for where the JSON goes, ``--dir`` to choose the disk."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument(
        "--dir", type=Path, help="where files are written and removed again, the system's temporary place"
    )
    return parser.parse_args()


async def rounds(count: int, **works: Callable[[], Awaitable[Any]]) -> dict[str, float]:
    """The median seconds of each piece of work, run in turn so that all meet the same weather."""
    return {name: statistics.median(times) for name, times in (await samples(count, **works)).items()}


async def samples(count: int, **works: Callable[[], Awaitable[Any]]) -> dict[str, list[float]]:
    """The seconds that each piece of work took in every round; all meet the same weather.

    The order is drawn anew for every round, so that none always follows the same neighbour.
    """
    taken: dict[str, list[float]] = {name: [] for name in works}
    order = list(works)
    draw = random.Random(1)
    for _ in range(count):
        draw.shuffle(order)
        for name in order:
            began = time.perf_counter()
            await works[name]()
            taken[name].append(time.perf_counter() - began)
    return taken


_MALLOPT = {"M_TRIM_THRESHOLD": (-1, -1), "M_MMAP_MAX": (-4, 0), "M_ARENA_MAX": (-8, 1)}


def keep_memory(megabytes: int) -> None:
    """Touch so much memory, and let this process keep what it frees from now on.

    The first use of memory costs anything from 0.2 to 4 ms a megabyte, depending on the machine and on what ran before; a
    run that allocates would measure that. Does nothing where the C library is not glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in _MALLOPT.values():
            mallopt(option, value)
        bytearray(b"x") * (megabytes << 20)


def percentile(times: Sequence[float], percent: int) -> float:
    """The value that so many percent of the times stay below."""
    return sorted(times)[min(len(times) - 1, len(times) * percent // 100)]


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """The seconds that a piece of work took, and its result."""
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


Bound = tuple[str, float] | tuple[float, float]


def report(name: str, figures: Mapping[str, Any], bounds: Mapping[str, Bound], out: Path | None) -> None:
    """Print the figures, say which keep their bounds (one-sided, or a lowest and a highest value), and write them as JSON."""
    verdicts = {}
    for figure, (relation, bound) in bounds.items():
        value = figures[figure]
        if isinstance(relation, float):
            kept, text = relation <= value <= bound, f"{relation} to {bound}"
        else:
            kept, text = value <= bound if relation == "<=" else value >= bound, f"{relation} {bound}"
        verdicts[figure] = {"value": value, "bound": text, "kept": kept}
    for figure, value in figures.items():
        verdict = verdicts.get(figure)
        text = f"{value:.4g}" if isinstance(value, float) else value
        print(
            f"{name}  {figure:46} {text!s:>12}  {verdict['bound'] + (' ok' if verdict['kept'] else ' MISSED') if verdict else ''}"
        )
    if out is not None:
        machine = {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()}
        out.write_text(
            json.dumps({"benchmark": name, "machine": machine, "figures": figures, "bounds": verdicts}, indent=2)
        )
