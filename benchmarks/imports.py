"""Import time of core in a fresh interpreter, alone and as a multiple of the import time of its dependencies."""

from __future__ import annotations

import statistics
import subprocess
import sys

import _measure

PROGRAM = "import time; began = time.perf_counter(); {}; print(time.perf_counter() - began)"
WORKS = {
    "core": "import archetype_core",
    # With one model: pydantic imports most of its modules when the first model is defined.
    "dependencies": "import pyarrow.compute, pydantic, opentelemetry.trace, opentelemetry.metrics, asyncio;"
    " pydantic.create_model('Model', x=(int, 0))",
}


def figures(quick: bool) -> dict[str, float]:
    """Return the medians of several imports by name."""
    taken: dict[str, list[float]] = {name: [] for name in WORKS}
    for _ in range(2 if quick else 11):
        for name, statement in WORKS.items():
            run = subprocess.run(
                [sys.executable, "-c", PROGRAM.format(statement)], capture_output=True, check=True, text=True
            )
            taken[name].append(float(run.stdout))
    medians = {name: statistics.median(times) for name, times in taken.items()}
    return {
        "import_s": medians["core"],
        "dependencies_s": medians["dependencies"],
        "import_over_dependencies": medians["core"] / medians["dependencies"],
    }


BOUNDS = {"import_s": ("<=", 0.6)}

if __name__ == "__main__":
    options = _measure.arguments(__doc__)
    _measure.report("imports", figures(options.quick), BOUNDS, options.out)
