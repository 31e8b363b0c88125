"""Our side of ``peer.py``: the default store, every tick on disk before the next."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from typing import Any

import _movement
import numpy as np

from archetype_core import World, open_store


async def main(place: str, entities: int, ticks: int) -> dict[str, Any]:
    """What is measured of both."""
    store = open_store(place)
    world = World(store, "movement", seed=1, processors=[_movement.Movement()])
    still = np.zeros(entities)
    start = {"position__x": still, "position__y": still, "velocity__dx": still + 1.0, "velocity__dy": still + 0.5}
    world.spawn_table(start, _movement.Position, _movement.Velocity)
    await world.step()
    began = time.perf_counter()
    await world.run(ticks)
    took = time.perf_counter() - began
    last = world.tick - 1
    reads, sums = [], []
    # A new handle after everything is sealed, so that no state of the writer helps.
    began = time.perf_counter()
    await world.close()
    store.close()
    sealed = took + time.perf_counter() - began
    began = time.perf_counter()
    store = open_store(place)
    world = await World.open(store, store.worlds()[0].world_id)
    assert sum(rows.num_rows for rows in world.tables().values()) == entities
    resumed = 1_000 * (time.perf_counter() - began)
    for number in range(1, 6):
        began = time.perf_counter()
        rows = world.snapshot(_movement.Position, _movement.Velocity, at=last - number).collect()
        reads.append(time.perf_counter() - began)
        table = rows.to_arrow()
        assert table.num_rows == entities
        sums.append(table.column("position__x").to_numpy().sum())
    await world.close()
    store.close()
    return {
        "ticks_s": ticks / took,
        "sealed_ticks_s": ticks / sealed,
        "one_tick_ms": 1_000 * statistics.median(reads),
        "resume_ms": resumed,
        "sum": round(float(sums[0] - sums[1]) / entities, 6),
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))), flush=True)
