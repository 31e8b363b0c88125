"""How fast many entities are changed at once in the engine: update_table, update_where and despawn, with the tick."""

from __future__ import annotations

import asyncio
from functools import partial

import _measure
import _movement
import numpy as np
import pyarrow as pa

from archetype_core import MemoryStore, World

ROUNDS = 7


async def figures(quick: bool) -> dict[str, float]:
    """All figures by name; a rate counts staging and the tick that applies it, unless it says staged."""
    rows = 1_000 if quick else 100_000
    world = World(MemoryStore(), seed=1)
    ids = np.asarray(world.spawn_table(pa.table(_movement.columns(rows)), _movement.Position, _movement.Velocity))
    await world.step()
    rng = np.random.default_rng(1)
    best: dict[str, float] = {}

    def keep(name: str, seconds: float) -> None:
        best[name] = min(best.get(name, seconds), seconds)

    for _ in range(2 if quick else ROUNDS):
        values = rng.random((2, rows))
        columns = {_movement.Position.c.x: values[0], _movement.Position.c.y: values[1]}
        staged, _ = _measure.timed(partial(world.update_table, columns, entities=ids))
        took = (await _measure.rounds(1, step=world.step))["step"]
        keep("update_table_staged", staged)
        keep("update_table", staged + took)
        assert np.array_equal(world.snapshot(_movement.Position).to_arrow().column("position__x"), values[0])
        condition, double = _movement.Position.c.x >= 0.5, _movement.Position.c.x * 2.0
        staged, count = _measure.timed(partial(world.update_where, condition, {_movement.Position.c.y: double}))
        took = (await _measure.rounds(1, step=world.step))["step"]
        assert count == int((values[0] >= 0.5).sum())
        keep("update_where", staged + took)
    staged, _ = _measure.timed(lambda: world.despawn(ids[::2]))
    took = (await _measure.rounds(1, step=world.step))["step"]
    assert len(world) == rows - len(ids[::2])
    found = {f"{name}_per_s": rows / seconds for name, seconds in best.items()}
    return {**found, "despawn_per_s": len(ids[::2]) / (staged + took)}


BOUNDS = {"update_table_per_s": (">=", 2_000_000.0), "despawn_per_s": (">=", 300_000.0)}

if __name__ == "__main__":
    options = _measure.arguments(__doc__)
    _measure.report("many", asyncio.run(figures(options.quick)), BOUNDS, options.out)
