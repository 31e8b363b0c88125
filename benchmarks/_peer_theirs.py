"""The peer's side of ``peer.py``, run by the Python of an environment that has it: its default store, as it comes."""

import asyncio
import json
import shutil
import statistics
import sys
import time
from pathlib import Path

from daft import col

from archetype import ArchetypeRuntime, AsyncProcessor, Component


class Position(Component):
    x: float = 0.0
    y: float = 0.0


class Velocity(Component):
    dx: float = 0.0
    dy: float = 0.0


class Movement(AsyncProcessor):
    components = (Position, Velocity)
    priority = 10

    async def process(self, df, **_):
        return df.with_columns(
            {
                "position__x": col("position__x") + col("velocity__dx"),
                "position__y": col("position__y") + col("velocity__dy"),
            }
        )


async def main(place: str, entities: int, ticks: int) -> dict:
    async with ArchetypeRuntime() as runtime:
        world = runtime.world("movement", storage=place, processors=[Movement()])
        for begin in range(0, entities, 50_000):
            await world.spawn_batch(Position(), Velocity(dx=1.0, dy=0.5), count=min(50_000, entities - begin))
        await world.step()
        began = time.perf_counter()
        await world.run(steps=ticks)
        took = time.perf_counter() - began
        world_id = world.world_id
        reads, rows = [], None
        frame = await world.query(Position, Velocity)
        last = frame.max("tick").to_pydict()["tick"][0]
        for number in range(1 if entities * ticks > 5_000_000 else 5):
            began = time.perf_counter()
            frame = await world.query(Position, Velocity)
            rows = frame.where(col("tick") == last - number).collect()
            reads.append(time.perf_counter() - began)
            assert len(rows) == entities, (len(rows), entities)
        pair = (
            (await world.query(Position)).where(col("tick") >= last - 1).groupby("tick").sum("position__x").sort("tick")
        )
        before, after = pair.to_pydict()["position__x"]
    # What a shutdown destroys is the live world; the rows stay.
    async with ArchetypeRuntime() as runtime:
        began = time.perf_counter()
        await runtime.resume(world_id, storage=place)
        resumed = 1_000 * (time.perf_counter() - began)
    return {
        "ticks_s": ticks / took,
        "one_tick_ms": 1_000 * statistics.median(reads),
        "resume_ms": resumed,
        "sum": round((after - before) / entities, 6),
    }


if __name__ == "__main__":
    found = asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
    shutil.rmtree(Path(sys.argv[1]), ignore_errors=True)
    print(json.dumps(found), flush=True)
