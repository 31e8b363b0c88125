"""Episodes, rollouts and their tick histories."""

from __future__ import annotations

from typing import Any

import pytest
from runtime_scene import Done, Movement, Position, Velocity, Wander, with_runtime

from archetype import (
    ArchetypeRuntime,
    EpisodeConfig,
    Processor,
    RolloutConfig,
    RuntimeRollout,
)


def rolled(parallel: bool | int, destroy: bool = False) -> Any:
    """Return the episodes and the history of a rollout of a random walk."""

    async def main(runtime: ArchetypeRuntime) -> Any:
        world = runtime.world("walk", processors=[Wander()], seed=5)
        await world.spawn_many([(Position(x=float(number)),) for number in range(3)])
        await world.step()
        rollout = await world.run_rollout(
            RolloutConfig(
                num_episodes=8,
                parallel=parallel,
                destroy_forks_on_complete=destroy,
                episode_config=EpisodeConfig(max_steps=4),
            )
        )
        assert isinstance(rollout, RuntimeRollout)
        frame = (await rollout.query(Position)).sort(["episode", "tick", "entity_id"]).to_pydict()
        assert (await world.info()).tick == 1
        assert frame["branch"] == [one.name for one in rollout.episodes for _ in range(12)]
        episodes = [
            (one.seed, one.episode, one.first_tick, one.final_tick, one.reason, one.error) for one in rollout.episodes
        ]
        whole = await rollout.query(Position, lineage=True)
        return episodes, {name: frame[name] for name in ("seed", "episode", "tick", "position__x")}, whole.count_rows()

    return with_runtime(main)


def test_parallel_rollout_equals_the_sequence() -> None:
    """Episodes have the same histories whether they run one by one, two or all at a time (R2, T10)."""
    sequence = rolled(parallel=False)
    assert rolled(parallel=True) == sequence
    assert rolled(parallel=2, destroy=True) == sequence
    episodes, frame, whole = sequence
    assert len({seed for seed, *_ in episodes}) == 8
    assert frame["episode"] == [episode for episode in range(8) for _ in range(12)]
    assert sorted(set(frame["tick"])) == [1, 2, 3, 4]
    assert whole == 8 * (12 + 3)


def test_failing_episode_is_reported() -> None:
    """An episode that fails says why in its result, and the others go on (R2)."""

    class Fails(Processor):
        components = (Position,)

        def process(self, df: Any, world: Any) -> Any:
            if world.name.split("-")[1] == "ep1":
                raise ArithmeticError("too much")
            return df

    async def main(runtime: ArchetypeRuntime) -> None:
        world = runtime.world("demo", processors=[Fails()])
        await world.spawn(Position())
        await world.step()
        rollout = await world.run_rollout(RolloutConfig(num_episodes=3, episode_config=EpisodeConfig(max_steps=2)))
        assert [one.reason for one in rollout.episodes] == ["max_steps", "failed", "max_steps"]
        assert [one.episode for one in rollout.failed] == [1]
        assert "too much" in str(rollout.failed[0].error)
        assert (rollout.num_episodes, rollout.total_duration_steps) == (3, 4)
        assert repr(rollout) == "RuntimeRollout(3 episodes, 4 ticks, 1 failed)"
        assert rollout.base_world_id == world.world_id
        assert rollout.rollout_id == rollout.result.rollout_id
        assert rollout.duration_s > 0

    with_runtime(main)


@pytest.mark.parametrize("is_async", [True, False])
def test_episode_ends(is_async: bool) -> None:
    """An episode ends by its predicate, sync or async, or by a terminal component (R2)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        world = runtime.world("demo", processors=[Movement()])
        await world.spawn(Position(), Velocity(dx=1))

        def is_far(view: Any) -> bool:
            return bool(view.get(1)[Position].x >= 3)

        async def is_far_too(view: Any) -> bool:
            return is_far(view)

        result = await world.run_episode(EpisodeConfig(max_steps=50, termination=is_far_too if is_async else is_far))
        assert (result.reason, result.final_tick, result.terminated) == ("termination", 3, True)
        await world.spawn(Done())
        result = await world.run_episode(EpisodeConfig(max_steps=50, terminal_component=Done))
        assert (result.reason, result.duration_steps) == ("terminal_component", 1)
        assert (await world.run_episode(EpisodeConfig(max_steps=2))).reason == "max_steps"

    with_runtime(main)


def test_sync_rollout() -> None:
    """The sync twin gives the same rollout, and its history without `await` (RT6)."""
    with ArchetypeRuntime.sync("memory:") as runtime:
        world = runtime.world("walk", processors=[Wander()], seed=5)
        world.spawn_many([(Position(x=float(number)),) for number in range(3)])
        world.step()
        rollout = world.run_rollout(RolloutConfig(num_episodes=8, episode_config=EpisodeConfig(max_steps=4)))
        frame = rollout.query(Position).sort(["episode", "tick", "entity_id"]).to_pydict()
        assert frame["position__x"] == rolled(parallel=False)[1]["position__x"]
        assert repr(rollout).startswith("SyncRuntimeRollout(8 episodes")
