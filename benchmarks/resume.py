"""How long a stored world takes to come back, and that this does not grow with its history.

``wide`` is two tables that are all live; ``long`` is as many stored rows, a thousand ticks of a table with a thousandth of
them. Each is opened with a fresh store handle: in this process, round by round; in fresh processes after their imports; and
there once more after the kernel has dropped its copy of the files, as after a restart of the machine. ``whole`` also counts
the start of the interpreter and the imports.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import _journal
import _measure
import _movement
import numpy as np

from archetype_core import Component, MemoryStore, World
from archetype_journal import JournalStore

NAME = "resumed"


class Tag(Component):
    """What sets the second table apart."""

    kind: int = 0


async def fill(path: Path, entities: int, ticks: int, tables: int) -> None:
    """A closed journal whose world has so many ticks, its entities spread over one table or two."""
    store = JournalStore(path)
    world = World(store, NAME, seed=1, processors=[_movement.Movement()])
    for number in range(tables):
        each = entities // tables
        tagged = {"tag__kind": np.full(each, number)} if number else {}
        kinds: list[type[Component]] = [_movement.Position, _movement.Velocity, *([Tag] if number else [])]
        world.spawn_table({**_movement.columns(each), **tagged}, *kinds)
    await world.run(ticks)
    check(world, entities, ticks, tables)
    await world.close()
    store.close()


def check(world: World, entities: int, ticks: int, tables: int) -> None:
    """Every entity is there, and where its velocity brought it."""
    assert world.tick == ticks
    assert len(world) == entities
    found = world.tables()
    assert len(found) == tables
    for rows in found.values():
        start = _movement.columns(entities // tables)
        for axis in ("x", "y"):
            expected = start[f"position__{axis}"] + start[f"velocity__d{axis}"] * (ticks - 1)
            assert np.array_equal(rows.columns[f"position__{axis}"].arrow.to_numpy(), expected)


async def resume(path: Path) -> tuple[JournalStore, World]:
    """The world of a journal through a handle of its own."""
    store = JournalStore(path)
    return store, await World.open(store, NAME, processors=[_movement.Movement()])


def resumed(path: Path) -> Callable[[], Awaitable[None]]:
    """Opening and closing as a piece of work for the rounds."""

    async def work() -> None:
        store, world = await resume(path)
        await world.close()
        store.close()

    return work


async def goes_on(path: Path, entities: int, ticks: int, tables: int) -> None:
    """What comes back is whole, and its next tick is right."""
    store, world = await resume(path)
    check(world, entities, ticks, tables)
    await world.step()
    check(world, entities, ticks + 1, tables)
    await world.close()
    store.close()


async def alone(path: Path) -> dict[str, float]:
    """Seconds to come back as the first thing a process does after its imports, and to make a tick then."""
    # The engine imports Daft late; here that is an import like the others.
    import archetype_core.read  # noqa: F401  # reason: imported for the time that it takes

    World(MemoryStore(), "imports the executor")

    began = time.perf_counter()
    store, world = await resume(path)
    opened = time.perf_counter() - began
    assert len(world)
    began = time.perf_counter()
    await world.step()
    stepped = time.perf_counter() - began
    store.close()
    return {"resume": opened, "first_tick": stepped}


def in_processes(path: Path, count: int) -> dict[str, float]:
    """Median seconds in fresh processes, with the kernel's copy of the files and without."""
    taken: dict[str, list[float]] = {}
    for suffix in ("", "_from_disk"):
        for _ in range(count):
            if suffix:
                _journal.forget_cached(path)
            began = time.perf_counter()
            command: list[str | Path] = [sys.executable, __file__, "--alone", path]
            run = subprocess.run(command, capture_output=True, check=True, text=True)
            taken.setdefault(f"process{suffix}_whole_s", []).append(time.perf_counter() - began)
            for name, seconds in json.loads(run.stdout).items():
                taken.setdefault(f"process{suffix}_{name}_s", []).append(seconds)
    return {name: statistics.median(times) for name, times in taken.items()}


async def figures(place: Path, quick: bool) -> dict[str, float]:
    """All figures by name."""
    rows = 200_000 if quick else 2_000_000
    many = 100 if quick else 1_000
    each = rows // many
    shapes = {"wide": (rows, 3, 2), "long": (each, many, 1), "after_10": (each, 10, 1), "longer": (each, 5 * many, 1)}
    for name, shape in shapes.items():
        await fill(place / name, *shape)
    found: dict[str, float] = {"rows": rows, "ticks_long": many, "ticks_longer": 5 * many}
    median = await _measure.rounds(3 if quick else 31, **{name: resumed(place / name) for name in shapes})
    for name, value in median.items():
        found[f"{name}_s"] = value
    found["long_over_after_10"] = median["long"] / median["after_10"]
    found["longer_over_after_10"] = median["longer"] / median["after_10"]
    for name, shape in shapes.items():
        await goes_on(place / name, *shape)
    # Processes make a tick of their own, so what they find is checked above, before.
    for name in ("wide",) if quick else ("wide", "long"):
        found.update({f"{name}_{what}": value for what, value in in_processes(place / name, 1 if quick else 5).items()})
    return found


BOUNDS: dict[str, _measure.Bound] = {
    "wide_s": ("<=", 0.5),
    "long_s": ("<=", 0.5),
    "wide_process_resume_s": ("<=", 0.5),
    "long_over_after_10": ("<=", 1.2),
    "longer_over_after_10": ("<=", 1.2),
}

if __name__ == "__main__":
    if sys.argv[1:2] == ["--alone"]:
        print(json.dumps(asyncio.run(alone(Path(sys.argv[2])))))
    else:
        options = _measure.arguments(__doc__)
        with _journal.place(options.dir) as directory:
            _measure.report("resume", asyncio.run(figures(directory, options.quick)), BOUNDS, options.out)
