"""Episodes, rollouts and their tick histories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from runtime_scene import Done, Movement, Position, Velocity, Wander, with_runtime

from archetype import (
    ArchetypeRuntime,
    EpisodeConfig,
    Processor,
    ProcessorError,
    RolloutConfig,
    RuntimeRollout,
    UnpairedSeeds,
    WorldView,
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


@dataclass
class Push:
    """How far a tick moves."""

    distance: float


class Pushed(Processor):
    components = (Position,)

    def process(self, df: Any, rng: Any, resources: Any) -> Any:
        return df.with_columns({"position__x": Position.c.x + resources[Push].distance + 0.1 * float(rng.normal())})


def x_of(view: WorldView) -> float:
    """Return how far the first entity is."""
    return view.get(1)[Position].x


def test_a_parameter_study_is_one_frame() -> None:
    """Labels and resource fields of each episode are columns of the rows and of the results (R2, Q2)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        world = runtime.world("w", processors=[Pushed()], resources=[Push(0.0)], seed=3)
        await world.spawn(Position())
        await world.step()
        distances = [0.0, 1.0, 2.0]
        rollout = await world.run_rollout(
            RolloutConfig(
                num_episodes=3,
                episode_config=EpisodeConfig(2, score=x_of),
                seeds=[4, 4, 4],
                resources=[{Push: Push(one)} for one in distances],
                labels={"study": "push"},
            )
        )
        results = rollout.frame()
        names = ["name", "episode", "seed", "study", "push__distance", "reason", "steps", "score", "error"]
        assert results.column_names == names
        found = results.to_pydict()
        assert (found["push__distance"], found["study"], found["steps"]) == (distances, ["push"] * 3, [2] * 3)
        # The same seed draws the same numbers, so the scores differ by the pushes of two ticks alone.
        assert found["score"] == pytest.approx([found["score"][0] + 2 * one for one in distances])
        rows = await rollout.query(Position, where=Position.c.x > 0.5)
        last = rows.where("tick = 2").sort("push__distance").select("push__distance", "study", "position__x")
        assert last.to_pydict() == {
            "push__distance": [1.0, 2.0],
            "study": ["push"] * 2,
            "position__x": found["score"][1:],
        }

    with_runtime(main)


def test_rollouts_are_paired_by_seed() -> None:
    """The paired difference of two variants has a smaller interval than the scores; a failed pair is counted (R2)."""
    with ArchetypeRuntime.sync("memory:") as runtime:
        world = runtime.world("w", processors=[Pushed()], resources=[Push(0.0)], seed=3)
        world.spawn(Position())
        world.step()

        def score(view: WorldView) -> float:
            if view.seed == 2:
                raise ArithmeticError("too far")
            return x_of(view)

        def config(seeds: range, **more: Any) -> RolloutConfig:
            return RolloutConfig(len(seeds), EpisodeConfig(4, score=score), True, seeds=seeds, **more)

        calm = world.run_rollout(config(range(8)))
        pushed = world.run_rollout(config(range(8), resources={Push: Push(1.0)}))
        difference = pushed.paired(calm)
        assert (len(difference.values), difference.left_out) == (7, 1)
        assert list(difference.values.values()) == pytest.approx([4.0] * 7)
        assert difference.mean == pytest.approx(4.0)
        bounds = pushed.interval(0.9)
        assert bounds.low < pushed.mean < bounds.high
        assert difference.interval().high - difference.interval().low < 1e-6 < bounds.high - bounds.low
        assert "8 episodes, 32 ticks, 1 failed, mean score" in repr(pushed)
        assert repr(pushed).endswith("of 7, 1 left out)")
        with pytest.raises(ExceptionGroup, match="1 of 8 episodes failed") as raised:
            pushed.raise_if_failed()
        assert [type(one) for one in raised.value.exceptions] == [ArithmeticError]
        with pytest.raises(UnpairedSeeds):
            pushed.paired(world.run_rollout(config(range(1, 9))))
        plain = world.run_rollout(RolloutConfig(2, EpisodeConfig(1)))
        assert (plain.scores, plain.raise_if_failed()) == ({}, None)  # type: ignore[func-returns-value]  # reason: that it does not raise
        with pytest.raises(ValueError, match="score"):
            _ = plain.mean


def test_an_episode_reports_its_failure() -> None:
    """A single episode that fails does not raise; `raise_if_failed` raises what its processor raised (R2)."""

    class Fails(Processor):
        components = (Position,)

        def process(self, df: Any) -> Any:
            raise ArithmeticError("too much")

    async def main(runtime: ArchetypeRuntime) -> None:
        world = runtime.world("demo", processors=[Fails()])
        await world.spawn(Position())
        await world.step()
        result = await world.run_episode(EpisodeConfig(max_steps=3))
        assert (result.reason, result.final_tick, result.score) == ("failed", 0, None)
        assert "too much" in str(result.error)
        with pytest.raises(ProcessorError, match="too much"):
            result.raise_if_failed()
        assert (await world.history(type="run_episode")).to_pydict()["status"] == ["failed"]

    with_runtime(main)
