"""How fast entities enter a world, and what a live one costs beside its columns."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc

import _measure
import _movement
import pyarrow as pa

from archetype_core import MemoryStore, World


def world() -> World:
    """An empty world."""
    return World(MemoryStore(), seed=1)


async def figures(quick: bool) -> dict[str, float]:
    """All figures by name."""
    scale = 100 if quick else 1
    found: dict[str, float] = {}

    rows = 1_000_000 // scale
    table = pa.table(_movement.columns(rows))
    target = world()
    took, ids = _measure.timed(lambda: target.spawn_table(table, _movement.Position, _movement.Velocity))
    assert len(ids) == rows
    found["spawn_table_per_s"] = rows / took
    took_step = (await _measure.rounds(1, step=target.step))["step"]
    assert len(target) == rows
    found["spawn_table_and_tick_per_s"] = rows / (took + took_step)

    bundles = [(_movement.Position(x=1.0, y=2.0), _movement.Velocity(dx=1.0, dy=1.0)) for _ in range(200_000 // scale)]
    target = world()
    took, ids = _measure.timed(lambda: target.spawn_many(bundles))
    found["spawn_many_per_s"] = len(ids) / took
    await target.step()
    assert len(target) == len(ids)

    singles = bundles[: 50_000 // scale]
    target = world()
    took, _ = _measure.timed(lambda: [target.spawn(*bundle) for bundle in singles])
    found["spawn_per_s"] = len(singles) / took
    await target.step()
    assert len(target) == len(singles)

    found.update(await bookkeeping(rows, table))
    return found


async def bookkeeping(rows: int, table: pa.Table) -> dict[str, float]:
    """Bytes of Python and numpy memory per live entity, spawned as columns and one by one; Arrow's memory is the columns'."""
    found = {}
    for name in ("bulk", "single"):
        gc.collect()
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        arrow_before = pa.total_allocated_bytes()
        target = world()
        if name == "bulk":
            target.spawn_table(table, _movement.Position, _movement.Velocity)
        else:
            bundle = (_movement.Position(x=1.0), _movement.Velocity(dx=1.0))
            target.spawn_many([bundle] * rows)
        await target.step()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        # Entity ids are a column too, but one that only the engine needs: they count.
        arrow = pa.total_allocated_bytes() - arrow_before
        columns = 4 * 8 * rows
        found[f"bytes_per_entity_{name}"] = (after - before + max(0, arrow - columns)) / rows
        assert len(target) == rows
    return found


BOUNDS = {
    "spawn_table_per_s": (">=", 1_000_000.0),
    "spawn_table_and_tick_per_s": (">=", 1_000_000.0),
    "spawn_many_per_s": (">=", 100_000.0),
    "spawn_per_s": (">=", 20_000.0),
    "bytes_per_entity_bulk": ("<=", 150.0),
    "bytes_per_entity_single": ("<=", 150.0),
}

if __name__ == "__main__":
    options = _measure.arguments(__doc__)
    _measure.report("spawn", asyncio.run(figures(options.quick)), BOUNDS, options.out)
