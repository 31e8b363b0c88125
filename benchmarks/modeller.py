"""What the engine adds to a modeller's own numpy: movement, and an epidemic on the default store.

The bare maths runs in the same rounds on arrays of its own. Results of world and bare maths are compared at the end.
"""

from __future__ import annotations

import asyncio
import os
import statistics
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import _journal
import _measure
import numpy as np
import pyarrow as pa

from archetype_core import Arrays, AsyncProcessor, Component, EntityRng, MemoryStore, Store, World, open_store

SUSCEPTIBLE, INFECTED, RECOVERED = 0, 1, 2
REGIONS, DAYS_ILL, CONTAGION = 1_000, 10, 0.3

Columns = dict[str, np.ndarray[Any, Any]]


class Body(Component):
    """Five columns, of which movement writes two."""

    x: float = 0.0
    y: float = 0.0
    dx: float = 0.0
    dy: float = 0.0
    mass: float = 1.0


class Person(Component):
    """One person of an epidemic."""

    region: Annotated[int, pa.int32()] = 0
    age: Annotated[int, pa.int16()] = 0
    state: Annotated[int, pa.int8()] = SUSCEPTIBLE
    days: Annotated[int, pa.int16()] = 0


def moved(body: Arrays | Columns) -> Columns:
    """Positions one tick later, in fresh arrays."""
    return {"body__x": body["body__x"] + body["body__dx"], "body__y": body["body__y"] + body["body__dy"]}


def spread(person: Arrays | Columns, draws: np.ndarray[Any, Any]) -> Columns:
    """An epidemic one day later: contagion within regions, recovery after some days."""
    state, region = person["person__state"], person["person__region"]
    ill = state == INFECTED
    share = np.bincount(region[ill], minlength=REGIONS) / np.bincount(region, minlength=REGIONS)
    caught = (state == SUSCEPTIBLE) & (draws < CONTAGION * share[region])
    days = np.where(ill, person["person__days"] + np.int16(1), person["person__days"])
    after = state.copy()
    after[caught] = INFECTED
    after[ill & (days >= DAYS_ILL)] = RECOVERED
    return {"person__state": after, "person__days": days}


def draws_of(tick: int, rows: int) -> np.ndarray[Any, Any]:
    """The same random numbers for the world and for the bare maths."""
    return np.random.default_rng(tick).random(rows, dtype=np.float32)


class Movement(AsyncProcessor):
    """Adds the velocity to the position."""

    components = (Body,)

    def process(self, arrays: Arrays) -> Columns:
        """The moved positions."""
        return moved(arrays)


class Epidemic(AsyncProcessor):
    """One day of contagion and recovery."""

    components = (Person,)

    def process(self, arrays: Arrays, tick: int) -> Columns:
        """Who is ill, and for how long."""
        return spread(arrays, draws_of(tick, len(arrays)))


def bodies(rows: int) -> Columns:
    """Bodies whose positions sum exactly."""
    steps = np.arange(rows) % 7
    start = {"body__x": np.zeros(rows), "body__y": np.ones(rows), "body__dx": steps + 1.0, "body__dy": steps + 0.5}
    return {**start, "body__mass": np.full(rows, 2.0)}


def people(rows: int) -> Columns:
    """People of whom one in a thousand is ill."""
    ids = np.arange(rows)
    return {
        "person__region": (ids % REGIONS).astype(np.int32),
        "person__age": (ids % 90).astype(np.int16),
        "person__state": np.where(ids % 1_000 < 2, INFECTED, SUSCEPTIBLE).astype(np.int8),
        "person__days": np.zeros(rows, np.int16),
    }


async def world(start: Columns, component: type[Component], processor: AsyncProcessor, store: Store) -> World:
    """A world with these rows, after the tick that brings them in."""
    made = World(store, seed=1, processors=[processor])
    made.spawn_table(start, component)
    await made.step()
    return made


class Bare:
    """The same maths on arrays of its own, without an engine."""

    def __init__(self, start: Columns, change: Callable[[Columns, int], Columns]) -> None:
        self.columns = dict(start)
        self.tick = 1
        self._change = change

    async def step(self) -> None:
        """One tick."""
        self.columns |= self._change(self.columns, self.tick)
        self.tick += 1


def agree(world: World, bare: Bare) -> None:
    """World and bare maths are at the same tick and hold the same values."""
    assert world.tick == bare.tick, (world.tick, bare.tick)
    (rows,) = world.tables().values()
    for name, values in bare.columns.items():
        assert np.array_equal(rows.columns[name].arrow.to_numpy(zero_copy_only=False), values), name


def whole(work: Callable[[], Any]) -> Callable[[], Awaitable[None]]:
    """A function as a piece of work."""

    async def act() -> None:
        work()

    return act


def stepping(world: World) -> Callable[[], Awaitable[Any]]:
    """A step as a piece of work."""
    return world.step


async def figures(quick: bool, directory: Path | None) -> dict[str, float]:
    """All figures by name."""
    rows = 10_000 if quick else 1_000_000
    count = 3 if quick else 15
    found: dict[str, float] = {}
    _measure.keep_memory(64 if quick else 1_500)

    start = bodies(rows)
    moving, bare = await world(start, Body, Movement(), MemoryStore()), Bare(start, lambda columns, _: moved(columns))
    times = await _measure.samples(count, tick=stepping(moving), maths=bare.step)
    agree(moving, bare)
    median = {name: statistics.median(taken) for name, taken in times.items()}
    found["movement_maths_ms"] = median["maths"] * 1e3
    found["movement_tick_ms"] = median["tick"] * 1e3
    found["movement_tick_minus_maths_ms"] = (median["tick"] - median["maths"]) * 1e3

    start = bodies(rows)
    drawing = await world(start, Body, Movement(), MemoryStore())
    ids = next(iter(drawing.tables().values()))
    times = await _measure.samples(
        count,
        by_entity=whole(lambda: EntityRng((1, drawing.tick), ids).random()),
        numpy=whole(lambda: np.random.default_rng(drawing.tick).random(rows)),
    )
    median = {name: statistics.median(taken) for name, taken in times.items()}
    found["by_entity_draw_ms"] = median["by_entity"] * 1e3
    found["by_entity_draw_over_numpy"] = median["by_entity"] / median["numpy"]

    start = people(rows)
    with _journal.place(directory) as place:
        store = open_store(str(place / "worlds"))
        memory = await world(start, Person, Epidemic(), MemoryStore())
        stored = await world(start, Person, Epidemic(), store)
        bare = Bare(start, lambda columns, tick: spread(columns, draws_of(tick, rows)))
        # State is one byte a person, days are two.
        floor = _journal.Floor(place, 3 * rows)
        times = await _measure.samples(
            count,
            memory=stepping(memory),
            stored=stepping(stored),
            maths=bare.step,
            floor=floor.work(os.fdatasync),
        )
        floor.close()
        agree(memory, bare)
        agree(stored, bare)
        assert memory.digest() == stored.digest()
        store.close()
    median = {name: statistics.median(taken) for name, taken in times.items()}
    for name, value in median.items():
        found[f"epidemic_{name}_ms"] = value * 1e3
    found["epidemic_memory_over_maths"] = median["memory"] / median["maths"]
    found["epidemic_stored_minus_maths_over_floor"] = (median["stored"] - median["maths"]) / median["floor"]
    return found


BOUNDS = {
    "movement_tick_minus_maths_ms": ("<=", 3.0),
    "by_entity_draw_ms": ("<=", 30.0),
    "epidemic_memory_over_maths": ("<=", 1.2),
    "epidemic_stored_minus_maths_over_floor": ("<=", 1.5),
}

if __name__ == "__main__":
    options = _measure.arguments(__doc__)
    _measure.report("modeller", asyncio.run(figures(options.quick, options.dir)), BOUNDS, options.out)
