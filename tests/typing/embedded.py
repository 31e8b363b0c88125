"""A world without the runtime: what the engine itself gives."""

from __future__ import annotations

import asyncio

from components import Agent, Memory, Position, Velocity
from daft import DataFrame
from processors import Move, Wind

from archetype_core import Component, Entity, MemoryStore, Store, World, open_store


async def main() -> None:
    """Spawn, read, write, fork and open again."""
    store: Store = MemoryStore()
    world = World(store, "demo", seed=1, processors=[Move()], resources=[Wind()])
    ball = world.spawn(Position(), Velocity(dx=1.0))
    crowd: range = world.spawn_many([Position(), (Position(x=2.0), Velocity())])
    world.spawn_table({"x": [1.0, 2.0]}, Position)
    await world.run(3, heard=["a bell"])

    position: Position = world.get(ball, Position)
    both: tuple[Position, Velocity] = world.get(ball, Position, Velocity)
    entity: Entity = world.get(ball)
    x: float = entity[Position].x + both[1].dx + position.y
    components: tuple[Component, ...] = world.get_components(ball)

    world.update(ball, Velocity(dx=x))
    world.add_components(ball, Memory())
    world.remove_components(ball, Memory)
    world.despawn(*crowd)
    world.send(ball, {"text": "hello"}, kind="note")

    history: DataFrame = world.query(Position, ticks=range(2), entity_ids=ball, where=Position.c.x > 0)
    near = world.search(Memory.c.embedding, [1.0, 0.0, 0.0], k=3, where=Agent.c.level >= 2)
    print(history.count_rows(), near.count_rows(), len(components), world.digest())

    branch = await world.fork("branch", at_tick=1, resources={Wind: Wind()}, rng="fresh", store=open_store("memory:"))
    await branch.step()
    world.diff((world, 1), branch).show()
    reopened: World = await World.open(store, "demo", processors=[Move()])
    await reopened.close()


asyncio.run(main())
