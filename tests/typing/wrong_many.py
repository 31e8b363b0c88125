"""Mistakes in mutations of many entities. Each line says which: what mypy calls it | what pyright calls it."""

from __future__ import annotations

from components import Position, Velocity

from archetype import (
    AddComponents,
    Commands,
    Despawn,
    RemoveComponents,
    RuntimeWorld,
    SyncRuntimeWorld,
    Update,
    UpdateWhere,
)
from archetype_core import World
from archetype_core.command import ActorCtx, CommandGate


def engine(world: World, commands: Commands) -> None:
    """The engine, and what a processor stages."""
    world.update("1", Position(x=1.0))  # E: arg-type | reportArgumentType
    world.update([1], Position)  # E: arg-type | reportArgumentType
    world.update(["a"], Position(x=1.0))  # E: list-item | reportArgumentType
    world.add_components([1], Velocity)  # E: arg-type | reportArgumentType
    world.remove_components([1], Velocity())  # E: arg-type | reportArgumentType
    world.despawn(None)  # E: arg-type | reportArgumentType
    world.despawn(1, [2])  # E: arg-type | reportArgumentType
    world.update_table({Position.c.x: 1.0}, entities="all")  # E: arg-type | reportArgumentType
    world.update_where("position__x > 1", {Position.c.x: 0.0})  # E: arg-type | reportArgumentType
    world.update_where(Position.c.x > 1, [0.0])  # E: arg-type | reportArgumentType
    commands.despawn(["a"])  # E: list-item | reportArgumentType
    commands.remove_components([1], Velocity())  # E: arg-type | reportArgumentType


async def handles(world: RuntimeWorld, twin: SyncRuntimeWorld) -> None:
    """Handles, and commands that they submit."""
    await world.update([1], Position)  # E: arg-type | reportArgumentType
    await world.remove_components(Position.c.x > 1, Velocity())  # E: arg-type | reportArgumentType
    await world.update_where(True, {Position.c.x: 0.0})  # E: arg-type | reportArgumentType
    text: str = await world.update_where(Position.c.x > 1, {Position.c.x: 0.0})  # E: assignment | reportAssignmentType
    twin.despawn("1")  # E: arg-type | reportArgumentType
    twin.update_table({Position.c.x: 1.0}, entities=[1.5])  # E: list-item | reportArgumentType
    await world.submit(Update([1], Position(x=1.0)))  # E: arg-type | reportArgumentType
    await world.submit(Despawn(text))  # E: arg-type | reportArgumentType
    twin.submit_batch([RemoveComponents([1], (Velocity(),))])  # E: arg-type | reportArgumentType
    twin.submit([Despawn(1)])  # E: arg-type | reportArgumentType


async def gate(door: CommandGate, actor: ActorCtx, world_id: str) -> None:
    """A gate."""
    await door.execute(actor, AddComponents([1], (Velocity,)), world_id)  # E: arg-type | reportArgumentType
    update = UpdateWhere(Position.c.x > 1, {Position.c.x: 0.0})
    ids: range = await door.execute(actor, update, world_id)  # E: arg-type | reportAssignmentType
    print(ids)
