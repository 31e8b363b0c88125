"""Worlds for the journal's tests, and a program that steps one until it is killed.

The program prints a line for every tick that the journal acknowledged.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from archetype_core import AsyncProcessor, CacheConfig, Component, Store, World
from archetype_journal import JournaledStore, JournalStore


class Place(Component):
    x: float = 0.0


class Speed(Component):
    dx: float = 1.0


class Label(Component):
    text: str = ""


class Drift(AsyncProcessor):
    components = (Place, Speed)

    async def process(self, df):
        return df.with_column("place__x", Place.x + Speed.dx)


def drive(scenario: Coroutine[Any, Any, Any]) -> Any:
    """Run a scenario to its end."""
    return asyncio.run(scenario)


def digests(world: World) -> list[str]:
    """The digest of every tick of a world."""
    return [world.digest(tick) for tick in range(world.tick)]


async def small_world(store: Store, name: str = "w", ticks: int = 3) -> World:
    """A world of one moving entity."""
    world = World(store, name, seed=1, processors=[Drift()])
    world.spawn(Place(), Speed())
    await world.run(ticks)
    return world


async def two_table_world(store: Store, ticks: int) -> World:
    """A world of a table that moves and one that does not."""
    world = World(store, "w", seed=1, processors=[Drift()])
    world.spawn_many([(Place(x=float(n)), Speed()) for n in range(100)])
    world.spawn(Label(text="still"))
    await world.run(ticks)
    return world


async def three_table_world(store: Store, ticks: int = 5) -> World:
    """A world of a table that moves, one that does not, and one that is large enough for a chunk file."""
    world = World(store, "w", seed=1, processors=[Drift()])
    world.spawn_many([(Place(x=float(n)), Speed()) for n in range(10)])
    world.spawn(Label(text="still"))
    world.spawn_table({"x": [0.5] * 50_000}, Place)
    await world.run(ticks)
    return world


def journal_over_journal(path: Path, **cache: Any) -> JournaledStore:
    """A journal in front of another one; it seals only when it is asked to or closed, unless ``cache`` says otherwise."""
    config = CacheConfig(**{"idle_s": 3600.0, **cache})
    return JournaledStore(JournalStore(path / "beneath"), path / "journal", config)


async def step_until_killed(path: str) -> None:
    """Open or create the world in a directory and step it for ever."""
    store = JournalStore(path)
    if store.worlds():
        world = await World.open(store, "endless", processors=[Drift()])
    else:
        world = World(store, "endless", seed=1, processors=[Drift()])
    while True:
        tick = world.tick
        world.spawn(Place(), Speed(dx=float(tick)))
        labelled = world.spawn(Label(text=f"tick {tick}"))
        if tick == 3:
            # Large enough for a chunk file.
            world.spawn_table({"x": [0.5] * 100_000}, Place)
        if tick > 5:
            world.update(labelled - 4, Label(text="again"))
            world.despawn(labelled - 9)
        await world.step()
        print(tick, world.digest(), flush=True)


if __name__ == "__main__":
    asyncio.run(step_until_killed(sys.argv[1]))
