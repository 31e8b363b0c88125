"""Large calls: a thread works on them, in the order of the calls, and the event loop is free meanwhile (G5)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from daft import DataFrame
from stage import ADMIN, Position, Velocity, audit_rows, create_world, open_gate, position_of, run_scenario, step

from archetype_core import AsyncProcessor, StorageConfig
from archetype_core.command import (
    AddProcessor,
    CommandGate,
    Despawn,
    EntityCommand,
    GetWorldInfo,
    Spawn,
    SpawnMany,
    SpawnTable,
    Update,
    UpdateTable,
    UpdateWhere,
)
from archetype_core.engine import without_waiting
from archetype_core.errors import EntityNotFound, ValueRejected
from archetype_core.schema import Archetype
from archetype_gate.large_call import LARGE
from archetype_gate.live_world import LiveWorld

MEMORY = StorageConfig("memory:")

COMMANDS: dict[str, Callable[[int], EntityCommand[Any]]] = {
    "bundles": lambda count: SpawnMany(((Position(x=1.0),),) * count),
    "mixed bundles": lambda count: SpawnMany(((Position(x=1.0),), (Velocity(),)) * (count // 2)),
    "a table": lambda count: SpawnTable(pa.table({"x": np.zeros(count)}), Archetype.of(Position)),
    "columns for ids": lambda count: UpdateTable({Position.c.x: 1.0}, np.arange(1, count + 1)),
    "columns with ids": lambda count: UpdateTable({"entity_id": np.arange(1, count + 1), Position.c.x: 1.0}),
    "a condition": lambda _: UpdateWhere(Position.c.x >= 0.0, {Position.c.x: 2.0}),
    "values for ids": lambda count: Update(range(1, count + 1), (Position(x=1.0),)),
    "ids": lambda count: Despawn(pa.array(range(1, count + 1))),
}


async def populated(gate: CommandGate, count: int) -> str:
    """A world with so many entities."""
    world_id = await create_world(gate, MEMORY)
    await gate.execute(ADMIN, COMMANDS["a table"](count), world_id)
    await step(gate, world_id)
    return world_id


@pytest.fixture
def staging_threads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The threads that staged a command, in order."""
    seen: list[int] = []
    stage = LiveWorld.stage

    def noted(self: LiveWorld, *arguments: Any, **more: Any) -> Any:
        seen.append(threading.get_ident())
        return stage(self, *arguments, **more)

    monkeypatch.setattr(LiveWorld, "stage", noted)
    return seen


@pytest.mark.parametrize("name", COMMANDS)
def test_many_entities_are_staged_in_another_thread(name: str, staging_threads: list[int]) -> None:
    """What is large leaves the event loop's thread, and what is small stays there."""

    async def scenario() -> None:
        async with open_gate() as gate:
            for count, is_large in ((LARGE, True), (10, False)):
                world_id = await create_world(gate, MEMORY, f"w{count}")
                await gate.execute(
                    ADMIN, SpawnTable(pa.table({"x": np.zeros(count)}), Archetype.of(Position)), world_id
                )
                await step(gate, world_id)
                staging_threads.clear()
                await gate.execute(ADMIN, COMMANDS[name](count), world_id)
                assert [one != threading.get_ident() for one in staging_threads] == [is_large]

    run_scenario(scenario)


def test_calls_keep_their_order() -> None:
    """A small call that comes while a large one is under way gets its turn after it."""

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await create_world(gate, MEMORY)
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(gate.execute(ADMIN, one, world_id))
                    for one in (COMMANDS["bundles"](LARGE), Spawn((Position(),)), COMMANDS["a table"](LARGE))
                ]
                last = group.create_task(gate.execute(ADMIN, Spawn((Position(),)), world_id))
            found = [one.result() for one in tasks]
            assert found == [range(1, LARGE + 1), LARGE + 1, range(LARGE + 2, 2 * LARGE + 2)]
            assert last.result() == 2 * LARGE + 2
            assert len(await audit_rows(gate, world_id)) == 5

    run_scenario(scenario)


def test_a_caller_that_cannot_wait_stays_in_its_thread(staging_threads: list[int]) -> None:
    """The sync twin calls from inside the event loop, which waits for it."""

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await create_world(gate, MEMORY)
            call = gate.execute(ADMIN, COMMANDS["bundles"](LARGE), world_id)
            with without_waiting(), pytest.raises(StopIteration):
                call.send(None)
            assert staging_threads == [threading.get_ident()]

    run_scenario(scenario)


class Breeds(AsyncProcessor):
    """Spawns and updates many from inside a tick, through the gate, and fails once."""

    components = (Velocity,)

    def __init__(self, gate: CommandGate) -> None:
        self.gate = gate
        self.world_id = ""
        self.is_failing = True
        self.ids: list[range] = []

    async def process(self, df: DataFrame) -> DataFrame:
        """Spawn many, then raise or not."""
        await asyncio.sleep(0)
        if len(self.ids) < 2:
            self.ids.append(await self.gate.execute(ADMIN, COMMANDS["bundles"](LARGE), self.world_id))
        if self.is_failing:
            raise RuntimeError("the processor fails")
        return df


def test_a_large_call_from_inside_a_tick_belongs_to_it() -> None:
    """It is dropped with a failed attempt, and its ids can be used again (T7)."""

    async def scenario() -> None:
        async with open_gate() as gate:
            breeds = Breeds(gate)
            world_id = breeds.world_id = await create_world(gate, MEMORY)
            await gate.execute(ADMIN, Spawn((Velocity(),)), world_id)
            await step(gate, world_id)
            await gate.execute(ADMIN, AddProcessor(breeds), world_id)
            with pytest.raises(Exception, match="fails"):
                await step(gate, world_id)
            assert (await gate.execute(ADMIN, GetWorldInfo(), world_id)).pending == 0
            breeds.is_failing = False
            await step(gate, world_id)
            await step(gate, world_id)
            assert breeds.ids[0] == breeds.ids[1]
            assert (await gate.execute(ADMIN, GetWorldInfo(), world_id)).entities == LARGE + 1

    run_scenario(scenario)


def test_what_is_refused_uses_no_id_and_stages_nothing() -> None:
    """A large call is refused as a whole, with the error of a small one."""

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await populated(gate, LARGE)
            odd: Any = Position(x=1.0)
            odd.x = "far"
            with pytest.raises(ValueRejected, match=r"Position\.x"):
                await gate.execute(ADMIN, SpawnMany((*((Position(),),) * LARGE, (odd,))), world_id)
            with pytest.raises(EntityNotFound, match="100000"):
                await gate.execute(ADMIN, UpdateTable({Position.c.x: 1.0}, [*range(1, LARGE + 1), 100_000]), world_id)
            assert (await gate.execute(ADMIN, GetWorldInfo(), world_id)).pending == 0
            assert await gate.execute(ADMIN, Spawn((Position(x=5.0),)), world_id) == LARGE + 1
            await step(gate, world_id)
            assert await position_of(gate, world_id, LARGE + 1) == 5.0

    run_scenario(scenario)


@pytest.mark.parametrize("name", ["bundles", "mixed bundles", "columns for ids", "values for ids"])
def test_many_are_queued_from_a_thread_too(name: str) -> None:
    """``submit`` of a large command answers once it is on disk, and the tick applies it."""

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await populated(gate, LARGE)
            ticket = await gate.submit(ADMIN, COMMANDS[name](LARGE), world_id)
            await step(gate, world_id)
            info = await gate.execute(ADMIN, GetWorldInfo(), world_id)
            assert info.entities == LARGE + len(ticket.entity_ids)
            assert await position_of(gate, world_id, (ticket.entity_ids or range(1, 2)).start) == 1.0

    run_scenario(scenario)
