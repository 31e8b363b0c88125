"""What the forms of a processor cost: the same movement in numpy, in expressions, as a Daft query and row by row in Python.

The worlds are compared at the end.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Awaitable, Callable
from typing import Any

import _measure
import daft
import numpy as np

from archetype_core import Arrays, Component, MemoryStore, Processor, World


class Mover(Component):
    """A position and a speed."""

    x: float = 0.0
    speed: float = 1.0


class InNumpy(Processor):
    """Adds the speed to the position, as numpy arrays."""

    components = (Mover,)

    def process(self, arrays: Arrays) -> Any:
        """The moved positions."""
        return {Mover.c.x: arrays[Mover.c.x] + arrays[Mover.c.speed]}


class InExpressions(Processor):
    """Adds the speed to the position, as an expression."""

    components = (Mover,)

    def process(self) -> Any:
        """The moved positions."""
        return {Mover.c.x: Mover.c.x + Mover.c.speed}


class AsQuery(Processor):
    """Adds the speed to the position, after a group and a join whose column is dropped."""

    components = (Mover,)

    def process(self, df: daft.DataFrame) -> Any:
        """The moved positions, from a plan with a group and a join."""
        means = df.groupby("mover__speed").agg(daft.col("mover__x").count().alias("_count"))
        joined = df.join(means, on="mover__speed")
        return joined.with_column("mover__x", Mover.c.x + Mover.c.speed).exclude("_count")


class InPython(Processor):
    """Adds the speed to the position, row by row."""

    components = (Mover,)

    def process(self, arrays: Arrays) -> Any:
        """The moved positions."""
        pairs = zip(arrays[Mover.c.x].tolist(), arrays[Mover.c.speed].tolist(), strict=True)
        return {Mover.c.x: [x + speed for x, speed in pairs]}


FORMS: dict[str, type[Processor]] = {
    "numpy": InNumpy,
    "expressions": InExpressions,
    "query": AsQuery,
    "python": InPython,
}


async def world(form: type[Processor], rows: int) -> World:
    """A world of movers, after the tick that brings them in."""
    made = World(MemoryStore(), seed=1, processors=[form()])
    made.spawn_table({"x": np.zeros(rows), "speed": np.arange(rows) % 7 + 1.0}, Mover)
    await made.step()
    return made


def stepping(one: World) -> Callable[[], Awaitable[Any]]:
    """A step as a piece of work."""
    return one.step


async def figures(quick: bool) -> dict[str, float]:
    """All figures by name."""
    found: dict[str, float] = {}
    sizes = {"small": (1_000, 5 if quick else 200), "large": (10_000 if quick else 1_000_000, 3 if quick else 15)}
    _measure.keep_memory(64 if quick else 1_500)
    for size, (rows, count) in sizes.items():
        worlds = {name: await world(form, rows) for name, form in FORMS.items()}
        times = await _measure.samples(count, **{name: stepping(one) for name, one in worlds.items()})
        median = {name: statistics.median(taken) for name, taken in times.items()}
        for name, value in median.items():
            found[f"{size}_{name}_ms"] = value * 1e3
            found[f"{size}_{name}_over_expressions"] = value / median["expressions"]
        assert len({one.digest() for one in worlds.values()}) == 1
    return found


BOUNDS = {
    "small_numpy_over_expressions": ("<=", 1.5),
    "large_numpy_over_expressions": ("<=", 1.5),
}

if __name__ == "__main__":
    options = _measure.arguments(__doc__)
    _measure.report("forms", asyncio.run(figures(options.quick)), BOUNDS, options.out)
