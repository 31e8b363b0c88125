"""A program that steps a journaled world for ever and says after every tick what it has been told is durable."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import Any

from archetype_core import AsyncProcessor, Component, World
from archetype_journal import JournalStore


class Line(list[Any]):
    """Commits that wait for their transaction, and an event once there are so many."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.is_full = size, threading.Event()

    def append(self, commit: Any) -> None:
        super().append(commit)
        if len(self) >= self.size:
            self.is_full.set()


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


async def main(path: str) -> None:
    """Go on with the world in a directory, or begin one; a line per acknowledged tick."""
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
            # Large enough for files of its own.
            world.spawn_table({"x": [0.5] * 100_000}, Place)
        if tick > 5:
            world.update(labelled - 4, Label(text="again"))
            world.despawn(labelled - 9)
        await world.step()
        print(tick, world.digest(), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
