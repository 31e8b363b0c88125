"""A script over the asynchronous runtime."""

from __future__ import annotations

import asyncio

from components import Agent, Memory, Position, Velocity
from daft import DataFrame
from hooks import after, before, noticed
from processors import Move, Think, Wind

from archetype import (
    ActorCtx,
    ArchetypeRuntime,
    EpisodeConfig,
    EpisodeResult,
    OnSpawn,
    PostTick,
    PreTick,
    RolloutConfig,
    RuntimeWorld,
    WorldView,
)


def is_over(world: WorldView) -> bool:
    """Whether an episode ends here."""
    return world.tick > 5


async def main() -> None:
    """Run a world, a branch and a rollout."""
    async with ArchetypeRuntime("memory:") as runtime:
        world: RuntimeWorld = runtime.world(
            "demo",
            seed=1,
            processors=[Move(), Think()],
            resources=[Wind()],
            hooks=[(PreTick, before), (PostTick, after), (OnSpawn, noticed)],
        )
        ball: int = await world.spawn(Position(), Velocity(dx=1.0))
        await world.spawn_many([Agent(name="ada"), (Agent(name="bo"), Memory())])
        await world.add_hook(PreTick, before)
        await world.run(steps=3)

        position: Position = await world.get(ball, Position)
        both: tuple[Position, Velocity] = await world.get(ball, Position, Velocity)
        entity = await world.get(ball)
        x: float = entity[Position].x + position.y + both[1].dx

        history: DataFrame = await world.query(Position, where=Position.c.x + 1 > x)
        (await world.search(Memory.c.embedding, [1.0, 0.0, 0.0])).show()

        branch = await world.fork("branch", at_tick=1)
        await branch.update(ball, Velocity(dx=-1.0))
        await runtime.run_all(steps=3)
        (await world.diff(world, branch)).show()

        config = RolloutConfig(num_episodes=4, parallel=True, episode_config=EpisodeConfig(termination=is_over))
        rollout = await world.run_rollout(config)
        episodes: tuple[EpisodeResult, ...] = rollout.episodes
        frame = await rollout.query(Position, where=Position.c.x > 0)
        print(len(episodes), frame.count_rows(), history.count_rows())

        guest = world.as_actor(ActorCtx("guest", {"viewer"}))
        print(await guest.info())


asyncio.run(main())
