"""A script over the runtime without await."""

from __future__ import annotations

from components import Position, Velocity
from daft import DataFrame
from hooks import before
from processors import Move

from archetype import ArchetypeRuntime, EpisodeConfig, PreTick, RolloutConfig, SyncRuntimeWorld

with ArchetypeRuntime.sync("memory:") as runtime:
    world: SyncRuntimeWorld = runtime.world("demo", processors=[Move()], hooks=[(PreTick, before)])
    ball: int = world.spawn(Position(), Velocity(dx=1.0))
    world.add_hook(PreTick, before)
    world.run(steps=3)
    position: Position = world.get(ball, Position)
    both: tuple[Position, Velocity] = world.get(ball, Position, Velocity)
    x: float = world.get(ball)[Position].x + position.y + both[1].dx
    history: DataFrame = world.query(Position, where=Position.c.x > x)
    branch = world.fork("branch")
    branch.step()
    world.diff(world, branch).show()
    rollout = world.run_rollout(RolloutConfig(num_episodes=2, episode_config=EpisodeConfig(max_steps=3)))
    print(rollout.num_episodes, rollout.query(Position).count_rows(), history.count_rows())
