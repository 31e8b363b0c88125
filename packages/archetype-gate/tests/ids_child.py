"""A program with a gated world whose processor spawns, which kills itself: ``ids_child.py DIRECTORY TICKS MOMENT``.

Makes the ticks. Then it dies at a moment: ``quiet`` once everything is written, ``told`` right after an outside spawn,
``never`` not at all. It prints the ids that outside callers got as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from daft import DataFrame
from stage import ADMIN, Position, journal_at, open_world, run_steps

from archetype_core import Commands, Processor
from archetype_core.command import AddProcessor, CreateWorld, Spawn
from archetype_core.errors import StorageNotFound
from archetype_gate import ServiceContainer


class Breeds(Processor):
    """Spawns an entity in every tick, and draws a number for each entity from its id."""

    components = (Position,)

    def process(self, df: DataFrame, commands: Commands, arrays: Any, rng: Any) -> Any:
        commands.spawn(Position())
        return {Position.c.x: arrays[Position.c.x] + rng.by_entity.random()}


async def main(place: Path, ticks: int, moment: str) -> None:
    """Open or create the world, make the ticks, and die."""
    gate = ServiceContainer().gate
    told = []
    try:
        world_id = (await open_world(gate, journal_at(place))).world_id
        is_new = False
    except StorageNotFound:
        world_id = (await gate.execute(ADMIN, CreateWorld("w", journal_at(place), seed=1))).world_id
        is_new = True
    await gate.execute(ADMIN, AddProcessor(Breeds()), world_id)
    if is_new:
        told.append(await gate.execute(ADMIN, Spawn((Position(),)), world_id))
    await run_steps(gate, world_id, ticks)
    if moment == "told":
        told.append(await gate.execute(ADMIN, Spawn((Position(),)), world_id))
        told.append((await gate.submit(ADMIN, Spawn((Position(),)), world_id, tick=10**6)).entity_ids.start)
    if moment == "quiet":
        await gate.flush()
    print(json.dumps(told), flush=True)
    if moment != "never":
        os.kill(os.getpid(), signal.SIGKILL)
    await gate.close()
    # Without the interpreter's shutdown, as Daft's threads may stop it.
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
