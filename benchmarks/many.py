"""How fast many entities are spawned and changed at once, in the engine and through the gate, and single calls of a handle."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import _measure
import _movement
import numpy as np
import pyarrow as pa

from archetype import ArchetypeRuntime, SyncArchetypeRuntime
from archetype_core import MemoryStore, StorageConfig, World
from archetype_core.command import (
    ActorCtx,
    CreateWorld,
    DestroyWorld,
    GetWorldInfo,
    SpawnMany,
    Step,
    UpdateTable,
)
from archetype_gate import Quotas, ServiceContainer

ADMIN = ActorCtx("bench", {"admin"})

ROUNDS = 7


async def figures(quick: bool) -> dict[str, float]:
    """The figures of the engine; a rate counts staging and the tick that applies it, unless it says staged."""
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


async def through_the_gate(quick: bool) -> dict[str, float]:
    """Mutations of many through the gate, as ratios to the engine, and the longest time that they kept the event loop."""
    rows = 1_000 if quick else 100_000
    bundles = [(_movement.Position(x=1.0, y=2.0), _movement.Velocity(dx=1.0, dy=1.0)) for _ in range(rows)]
    # A full collection of the bundles' objects would stop every thread, whatever the gate does.
    gc.collect()
    gc.freeze()
    best: dict[str, float] = {}
    container = ServiceContainer(quotas=Quotas(exempt=frozenset({ADMIN.id})))
    gate, store = container.gate, StorageConfig("memory:")
    gaps = asyncio.create_task(_longest_gap())
    try:
        for number in range(2 if quick else ROUNDS):
            world = World(MemoryStore(), seed=1)
            gated = (await gate.execute(ADMIN, CreateWorld(f"many-{number}", store, seed=1))).world_id
            values = np.random.default_rng(number).random((2, rows))
            columns = {_movement.Position.c.x: values[0], _movement.Position.c.y: values[1]}
            ids = np.arange(1, rows + 1)

            async def spawn(gated: str = gated) -> None:
                await gate.execute(ADMIN, SpawnMany(tuple(bundles)), gated)

            async def update(
                gated: str = gated, columns: dict[Any, Any] = columns, ids: np.ndarray[Any, Any] = ids
            ) -> None:
                await gate.execute(ADMIN, UpdateTable(columns, ids), gated)

            pairs: dict[str, tuple[Callable[[], Awaitable[None]], Callable[[], object]]] = {
                "spawn_many": (spawn, partial(world.spawn_many, bundles)),
                "update_table": (update, partial(world.update_table, columns, entities=ids)),
            }
            for name, (through, direct) in pairs.items():
                # The last round's audit rows are on disk, so that nothing runs beside the two.
                await gate.flush()
                # The engine works in a thread too, so that the gaps of the loop are the gate's.
                times = (
                    (await asyncio.to_thread(_measure.timed, direct))[0],
                    (await _measure.rounds(1, gate=through))["gate"],
                )
                for kind, seconds in zip(("engine", "gate"), times, strict=True):
                    key = f"{name}_{kind}"
                    best[key] = min(best.get(key, seconds), seconds)
                await world.step()
                await gate.execute(ADMIN, Step(), gated)
            info = await gate.execute(ADMIN, GetWorldInfo(), gated)
            assert info.entities == len(world) == rows
            await gate.execute(ADMIN, DestroyWorld(), gated)
    finally:
        gaps.cancel()
        longest = await gaps
        await container.shutdown()
        gc.unfreeze()
    return {
        "spawn_many_per_s": rows / best["spawn_many_engine"],
        "spawn_many_gate_over_engine": best["spawn_many_gate"] / best["spawn_many_engine"],
        "update_table_gate_over_engine": best["update_table_gate"] / best["update_table_engine"],
        "longest_gap_of_loop_ms": longest * 1e3,
    }


async def _longest_gap() -> float:
    """The longest time for which a task that always has something to do was not called."""
    longest, before = 0.0, time.perf_counter()
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            longest, before = max(longest, now - before - 0.001), now
    return longest


SINGLE = ("spawn", "update", "despawn")


def _call(name: str, world: Any, entity: int) -> Any:
    """One call of a handle."""
    if name == "spawn":
        return world.spawn(_movement.Position(x=1.0, y=2.0), _movement.Velocity(dx=1.0, dy=1.0))
    return world.update(entity, _movement.Position(x=1.0)) if name == "update" else world.despawn(entity)


async def single_calls(quick: bool) -> dict[str, float]:
    """Calls of a handle for one entity, awaited one after the other."""
    count, found = 500 if quick else 20_000, {}
    async with ArchetypeRuntime() as runtime:
        world = runtime.world("single", seed=1)
        ids = await world.spawn_table(_movement.columns(count), _movement.Position, _movement.Velocity)
        await world.step()
        for name in SINGLE:
            began = time.perf_counter()
            for entity in ids:
                await _call(name, world, entity)
            found[f"{name}_async_per_s"] = count / (time.perf_counter() - began)
            await world.step()
    return found


def single_sync_calls(quick: bool) -> dict[str, float]:
    """The same calls of the sync twin."""
    count, found = 500 if quick else 20_000, {}
    with SyncArchetypeRuntime() as runtime:
        world = runtime.world("single", seed=1)
        ids = world.spawn_table(_movement.columns(count), _movement.Position, _movement.Velocity)
        world.step()
        for name in SINGLE:
            began = time.perf_counter()
            for entity in ids:
                _call(name, world, entity)
            found[f"{name}_sync_per_s"] = count / (time.perf_counter() - began)
            world.step()
    return found


BOUNDS = {
    "spawn_many_per_s": (">=", 300_000.0),
    "spawn_many_gate_over_engine": ("<=", 1.3),
    "update_table_gate_over_engine": ("<=", 1.2),
    "longest_gap_of_loop_ms": ("<=", 50.0),
    **{f"{name}_async_per_s": (">=", 20_000.0) for name in SINGLE},
    **{f"{name}_sync_per_s": (">=", 10_000.0) for name in SINGLE},
    "update_table_per_s": (">=", 2_000_000.0),
    "despawn_per_s": (">=", 300_000.0),
}


def everything(quick: bool) -> dict[str, float]:
    """All figures by name."""
    found = asyncio.run(figures(quick))
    found.update(asyncio.run(through_the_gate(quick)))
    found.update(asyncio.run(single_calls(quick)))
    return {**found, **single_sync_calls(quick)}


if __name__ == "__main__":
    options = _measure.arguments(__doc__)
    _measure.report("many", everything(options.quick), BOUNDS, options.out)
