"""Mutations of many entities: in the engine, in a processor, through handles, as commands, and by a gate."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from components import Agent, Position, Velocity

from archetype import (
    AddComponents,
    Arrays,
    Commands,
    Despawn,
    Processor,
    RemoveComponents,
    RuntimeWorld,
    SpawnMany,
    SyncRuntimeWorld,
    Ticket,
    Update,
    UpdateTable,
    UpdateWhere,
)
from archetype_core import World
from archetype_core.command import ActorCtx, CommandGate

ids: list[int] = [1, 2]
array: npt.NDArray[np.int64] = np.array(ids)
arrow: pa.Int64Array = pa.array(ids, pa.int64())
table: pa.Table = pa.Table.from_arrays([arrow, arrow], names=["entity_id", "agent__level"])


def engine(world: World, crowd: range) -> int:
    """Every form of entities, and columns by expression or name."""
    world.update(1, Position(x=1.0))
    world.update(array, Position(x=1.0), Velocity(dx=0.0))
    world.update(Position.c.x > 1, Position(x=1.0))
    world.add_components(crowd, Agent(name="ada"))
    world.add_components(arrow, Velocity())
    world.remove_components((1, 2), Velocity)
    world.remove_components(Position.c.x > 1, Velocity, Agent)
    world.despawn(1)
    world.despawn(1, 2, 3)
    world.despawn({1, 2})
    world.despawn(Position.c.x.is_null() | (Position.c.y < 0))
    world.update_table({Position.c.x: [1.0, 2.0], "position__y": 0.0}, entities=array)
    world.update_table(table)
    return world.update_where(Position.c.x > 1, {Position.c.x: Position.c.x - 1, Position.c.y: 0.0})


class Cull(Processor):
    components = (Position,)

    def process(self, arrays: Arrays, commands: Commands) -> None:
        far = arrays.entity_id[arrays[Position.c.x] > 10]
        commands.despawn(far)
        commands.update(far, Position(x=0.0))
        commands.add_components(far, Velocity())
        commands.remove_components(far, Velocity)
        commands.update_table({Position.c.x: arrays[Position.c.x]}, entities=arrays.entity_id)


async def handles(world: RuntimeWorld, twin: SyncRuntimeWorld) -> None:
    """The asynchronous handle and its twin take the same."""
    await world.update(ids, Position(x=1.0))
    await world.add_components(array, Velocity())
    await world.remove_components(Position.c.x > 1, Velocity)
    await world.despawn(Position.c.x > 1)
    await world.update_table({Position.c.x: [1.0, 2.0]}, entities=ids)
    changed: int = await world.update_where(Position.c.x > 1, {Position.c.x: 0.0})
    twin.update(array, Position(x=float(changed)))
    twin.add_components(ids, Velocity())
    twin.remove_components(arrow, Velocity)
    twin.despawn(ids)
    twin.update_table({"entity_id": ids, "position__x": [1.0, 2.0]})
    changed = twin.update_where(Position.c.x > 1, {Position.c.x: Position.c.x + 1})
    ticket: Ticket = await world.submit(UpdateTable({Position.c.x: 1.0}, ids), tick=3)
    tickets: tuple[Ticket, ...] = twin.submit_batch(
        [Despawn(array), UpdateWhere(Position.c.x > 1, {Position.c.x: 0.0})]
    )
    print(ticket.command_id, len(tickets), changed)


async def gate(door: CommandGate, actor: ActorCtx, world_id: str) -> range:
    """A gate's results are those of its commands."""
    changed: int = await door.execute(actor, UpdateWhere(Position.c.x > 1, {Position.c.x: 0.0}), world_id)
    await door.execute(actor, Update(array, (Position(x=float(changed)),)), world_id)
    await door.execute(actor, AddComponents(Position.c.x > 1, (Velocity(),)), world_id)
    await door.execute(actor, RemoveComponents(ids, (Velocity,)), world_id)
    await door.execute(actor, UpdateTable(table), world_id, durable=True)
    await door.submit(actor, Despawn(Position.c.x > 1), world_id)
    return await door.execute(actor, SpawnMany(((Position(),), (Position(), Velocity()))), world_id)
