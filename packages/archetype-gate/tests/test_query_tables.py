"""``QueryTables`` reads whole ticks."""

from __future__ import annotations

import asyncio

import pytest
from stage import ADMIN, VIEWER, Position, Velocity

from archetype_core import StorageConfig
from archetype_core.command import CreateWorld, Despawn, QueryTables, Run, Spawn, TickTables
from archetype_core.config import RunConfig
from archetype_core.errors import TickNotFound
from archetype_gate import ServiceContainer


def _ids(found: TickTables) -> dict[str, list[int]]:
    return {one.name: rows.entity_ids.to_pylist() for one, rows in found.tables.items()}


def test_a_tick_is_read_whole() -> None:
    """All tables with all their columns: of the last tick from memory, of an earlier one from the store (Q1)."""

    async def read() -> None:
        container = ServiceContainer()
        gate = container.gate
        world = (await gate.execute(ADMIN, CreateWorld("demo", StorageConfig("memory:")))).world_id
        assert await gate.execute(VIEWER, QueryTables(), world) == TickTables(-1, {})
        await gate.execute(ADMIN, Spawn((Position(),)), world)
        await gate.execute(ADMIN, Spawn((Position(), Velocity())), world)
        await gate.execute(ADMIN, Run(RunConfig(2)), world)
        await gate.execute(ADMIN, Despawn(1), world)
        await gate.execute(ADMIN, Run(RunConfig(1)), world)
        last = await gate.execute(VIEWER, QueryTables(), world)
        assert (last.tick, sorted(_ids(last).values())) == (2, [[2]])
        past = await gate.execute(VIEWER, QueryTables(1), world)
        assert (past.tick, sorted(_ids(past).values())) == (1, [[1], [2]])
        with pytest.raises(TickNotFound):
            await gate.execute(VIEWER, QueryTables(3), world)
        await container.shutdown()

    asyncio.run(read())
