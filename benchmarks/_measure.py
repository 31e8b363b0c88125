"""What the benchmarks share: interleaved rounds, medians, ratios within one run, and JSON out."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any


def arguments(description: str) -> argparse.Namespace:
    """``--quick`` for a run that only shows that it works, ``--out`` for where the JSON goes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


async def rounds(count: int, **works: Callable[[], Awaitable[Any]]) -> dict[str, float]:
    """The median seconds of each piece of work, run in turn so that all meet the same weather."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(count):
        for name, work in works.items():
            began = time.perf_counter()
            await work()
            taken[name].append(time.perf_counter() - began)
    return {name: statistics.median(times) for name, times in taken.items()}


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """The seconds that a piece of work took, and its result."""
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def report(name: str, figures: Mapping[str, Any], bounds: Mapping[str, tuple[str, float]], out: Path | None) -> None:
    """Print the figures, say which keep their bounds, and write them all as JSON."""
    verdicts = {}
    for figure, (relation, bound) in bounds.items():
        value = figures[figure]
        kept = value <= bound if relation == "<=" else value >= bound
        verdicts[figure] = {"value": value, "bound": f"{relation} {bound}", "kept": kept}
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
