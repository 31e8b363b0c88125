"""Episodes and rollouts that fail, are scored, are cancelled, or are resumed by name."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from daft import DataFrame
from stage import (
    ADMIN,
    Fails,
    Move,
    Position,
    Velocity,
    audit_rows,
    create_world,
    journal_at,
    open_gate,
    open_world,
    run_scenario,
    step,
)

from archetype_core import AsyncProcessor, RunConfig, StorageConfig, WorldView
from archetype_core.command import (
    AddProcessor,
    AddResource,
    CloseWorld,
    CommandGate,
    EpisodeConfig,
    EpisodeResult,
    ListWorlds,
    QueryEpisodes,
    RolloutConfig,
    RolloutResult,
    RunEpisode,
    RunRollout,
    Spawn,
)
from archetype_core.errors import ProcessorError, RolloutConflict, RunConflict, WorldNotFound

MEMORY = StorageConfig("memory:")


class Counted(AsyncProcessor):
    """Counts its ticks by seed, and raises for the seeds in ``failing``."""

    components = (Position,)

    def __init__(self, *failing: int) -> None:
        self.ticks: dict[int, int] = {}
        self.failing = set(failing)

    def process(self, df: DataFrame, world: WorldView) -> DataFrame:
        """Return the rows, moved by one."""
        self.ticks[world.seed] = self.ticks.get(world.seed, 0) + 1
        if world.seed in self.failing:
            raise ArithmeticError(f"seed {world.seed}")
        return df.with_column("position__x", Position.c.x + 1.0)


@dataclass
class Wind:
    """A resource."""

    speed: float


def x_of(view: WorldView) -> float:
    """Return how far the entity is."""
    return view.get(1)[Position].x


async def base_world(gate: CommandGate, storage: StorageConfig, *processors: AsyncProcessor) -> str:
    """Create a world with one entity and make a tick, without processors."""
    world_id = await create_world(gate, storage, "w")
    await gate.execute(ADMIN, Spawn((Position(), Velocity(dx=1.0))), world_id)
    await step(gate, world_id)
    for one in processors:
        await gate.execute(ADMIN, AddProcessor(one), world_id)
    return world_id


async def roll(gate: CommandGate, world_id: str, config: RolloutConfig) -> RolloutResult:
    """Run a rollout."""
    return await gate.execute(ADMIN, RunRollout(config), world_id)


async def names_of(gate: CommandGate, storage: StorageConfig | None = None) -> list[str]:
    """Return the names of the worlds that are not destroyed."""
    return sorted(one.name for one in await gate.execute(ADMIN, ListWorlds(storage), None))


def facts(result: RolloutResult) -> list[EpisodeResult]:
    """Return the results of episodes without what differs between two runs: ids and durations."""
    return [
        replace(one, world_id="", run_id="", duration_s=0.0, name=one.name.rpartition("-")[0])
        for one in result.episodes
    ]


def test_a_failing_episode_is_a_result(caplog: pytest.LogCaptureFixture) -> None:
    """A single episode that fails is a result with the error; it is logged once, and its audit row is failed (R2, G4)."""

    async def scenario() -> None:
        async with open_gate() as gate:
            fails = Fails()
            fails.is_failing = False
            world_id = await create_world(gate, MEMORY, "w", fails)
            await gate.execute(ADMIN, Spawn((Position(),)), world_id)

            def break_later(view: WorldView) -> bool:
                fails.is_failing = view.tick == 2
                return False

            config = EpisodeConfig(max_steps=9, termination=break_later)
            with caplog.at_level(logging.WARNING):
                result = await gate.execute(ADMIN, RunEpisode(config), world_id)
            assert (result.reason, result.first_tick, result.final_tick) == ("failed", 0, 1)
            assert result.error is not None
            assert result.error.startswith("ProcessorError: Fails failed on table")
            with pytest.raises(ProcessorError, match="the processor fails") as raised:
                result.raise_if_failed()
            assert raised.value is result.exception
            (logged,) = [one for one in caplog.records if "the processor fails" in one.getMessage()]
            assert "episode w failed at tick 2" in logged.getMessage()
            (row,) = await audit_rows(gate, world_id, type="run_episode")
            assert (row.status, "the processor fails" in row.reason) == ("failed", True)
            fails.is_failing = False
            done = await gate.execute(ADMIN, RunEpisode(EpisodeConfig(max_steps=1)), world_id)
            done.raise_if_failed()
            assert (done.error, done.first_tick) == (None, 2)

    run_scenario(scenario)


def test_a_wrong_call_of_an_episode_raises() -> None:
    """An episode that cannot begin raises: an earlier run id, inputs that nobody takes, a closed world (R2, M7)."""

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await base_world(gate, MEMORY, Move())
            first = await gate.execute(ADMIN, RunEpisode(EpisodeConfig(max_steps=1)), world_id)
            await gate.execute(ADMIN, RunEpisode(EpisodeConfig(1, run_config=RunConfig(run_id="new"))), world_id)
            old = EpisodeConfig(1, run_config=RunConfig(run_id=first.run_id))
            with pytest.raises(RunConflict):
                await gate.execute(ADMIN, RunEpisode(old), world_id)
            odd = EpisodeConfig(1, run_config=RunConfig(inputs={"wnd": 1}))
            with pytest.raises(TypeError, match="wnd"):
                await gate.execute(ADMIN, RunEpisode(odd), world_id)
            with pytest.raises(TypeError, match="wnd"):
                await roll(gate, world_id, RolloutConfig(2, odd))
            await gate.execute(ADMIN, CloseWorld(), world_id)
            with pytest.raises(WorldNotFound):
                await gate.execute(ADMIN, RunEpisode(), world_id)

    run_scenario(scenario)


@pytest.mark.parametrize("end", [asyncio.CancelledError, KeyboardInterrupt, SystemExit])
def test_what_ends_a_program_is_no_result(end: type[BaseException]) -> None:
    """Cancellation, Ctrl-C and SystemExit pass through an episode and a rollout (R2)."""

    def ends(_: WorldView) -> bool:
        raise end

    async def scenario(command: Callable[[EpisodeConfig], Any]) -> None:
        async with open_gate() as gate:
            world_id = await base_world(gate, MEMORY)
            await gate.execute(ADMIN, command(EpisodeConfig(2, ends)), world_id)

    for command in (RunEpisode, lambda config: RunRollout(RolloutConfig(2, config))):
        with pytest.raises(end):
            asyncio.run(scenario(command))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, True, "1", 1j, [1.0]])
def test_a_score_is_a_finite_number(value: Any) -> None:
    """A score that is no finite number makes the episode a failed one that says so (R2)."""

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await base_world(gate, MEMORY)
            result = await gate.execute(ADMIN, RunEpisode(EpisodeConfig(2, score=lambda _: value)), world_id)
            assert (result.reason, result.score, result.duration_steps) == ("failed", None, 2)
            assert "score must return a" in str(result.error)
            assert repr(value) in str(result.error)

    run_scenario(scenario)


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2), np.int64(2), Fraction(2)])
def test_any_real_number_is_a_score(value: Any) -> None:
    """Numbers of numpy and fractions are scores too; they become floats (R2)."""

    async def score(_: WorldView) -> Any:
        return value

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await base_world(gate, MEMORY)
            result = await gate.execute(ADMIN, RunEpisode(EpisodeConfig(1, score=score)), world_id)
            assert result.score == 2.0
            assert type(result.score) is float

    run_scenario(scenario)


def test_a_score_may_collect_a_frame() -> None:
    """A score runs in a thread, so it may collect history; the world that it sees is the final one (R2, T14)."""

    def rows(view: WorldView) -> float:
        frame = view.query(Position).to_pydict()
        return max(frame["position__x"])

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await base_world(gate, MEMORY, Move())
            result = await roll(gate, world_id, RolloutConfig(3, EpisodeConfig(4, score=rows), True))
            assert result.scores == {0: 4.0, 1: 4.0, 2: 4.0}

    run_scenario(scenario)


@pytest.mark.parametrize("parallel", [False, True, 1, 2])
def test_forks_are_destroyed_unless_asked_to_stay(parallel: bool | int) -> None:
    """The forks of a rollout are destroyed, those of failed episodes too; their rows are still read (R2)."""

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await base_world(gate, MEMORY, Counted(2))
            config = RolloutConfig(3, EpisodeConfig(2), parallel, seeds=[1, 2, 3])
            result = await roll(gate, world_id, config)
            assert [one.error is None for one in result.episodes] == [True, False, True]
            assert await names_of(gate) == ["w"]
            ids = tuple(one.world_id for one in result.episodes)
            labels = tuple({"n": one.seed} for one in result.episodes)
            frame = await gate.execute(ADMIN, QueryEpisodes((Position,), world_ids=ids, labels=labels), world_id)
            rows = await asyncio.to_thread(lambda: frame.sort(["episode", "tick"]).to_pydict())
            assert (rows["episode"], rows["n"]) == ([0, 0, 2, 2], [1, 1, 3, 3])
            await roll(gate, world_id, replace(config, destroy_forks_on_complete=False))
            assert len(await names_of(gate)) == 4

    run_scenario(scenario)


def test_a_cancelled_rollout_destroys_its_forks(tmp_path: Path) -> None:
    """However early a rollout is cancelled, no fork stays, neither live nor in the ledger (R2)."""

    async def scenario() -> None:
        async with open_gate() as gate:
            storage = journal_at(tmp_path)
            world_id = await base_world(gate, storage, Counted())
            for delay in (0.0, 0.001, 0.004, 0.01, 0.02, 0.05):
                config = RolloutConfig(4, EpisodeConfig(10_000, termination=lambda _: False), 2)
                task = asyncio.create_task(roll(gate, world_id, config))
                await asyncio.sleep(delay)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert await names_of(gate) == ["w"]
                assert await names_of(gate, storage) == ["w"]

    run_scenario(scenario)


def test_a_named_rollout_runs_each_episode_once(tmp_path: Path) -> None:
    """The same call gives the stored results and runs nothing, also after a restart; one without a name runs anew (R2)."""

    async def scenario() -> None:
        storage = journal_at(tmp_path)
        config = RolloutConfig(
            3,
            EpisodeConfig(2, score=x_of),
            seeds=[1, 2, 3],
            name="study",
            labels={"kind": "a"},
            resources=[{Wind: Wind(one)} for one in (0.5, 1.0, math.inf)],
        )
        async with open_gate() as gate:
            counted = Counted()
            world_id = await base_world(gate, storage, counted)
            first = await roll(gate, world_id, config)
            assert counted.ticks == {1: 2, 2: 2, 3: 2}
            assert await roll(gate, world_id, replace(config, parallel=True)) == replace(first, duration_s=ANY)
            assert counted.ticks == {1: 2, 2: 2, 3: 2}
            anew = await roll(gate, world_id, replace(config, name=None))
            assert facts(anew) == facts(first)
            assert counted.ticks == {1: 4, 2: 4, 3: 4}
        async with open_gate() as gate:
            await open_world(gate, storage)
            assert await roll(gate, world_id, config) == replace(first, duration_s=ANY)
            assert first.episodes[2].parameters == {"wind__speed": math.inf}

    run_scenario(scenario)


class _Any:
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]  # reason: equal to everything


ANY: Any = _Any()


def test_failed_episodes_run_again(tmp_path: Path) -> None:
    """A failed episode of a named rollout runs again, and only that; kept forks of earlier tries are destroyed (R2)."""

    async def scenario() -> None:
        async with open_gate() as gate:
            storage = journal_at(tmp_path)
            counted = Counted(2)
            world_id = await base_world(gate, storage, counted)
            config = RolloutConfig(
                3, EpisodeConfig(2, score=x_of), seeds=[1, 2, 3], name="study", destroy_forks_on_complete=False
            )
            first = await roll(gate, world_id, config)
            assert first.scores == {0: 2.0, 2: 2.0}
            counted.failing.clear()
            second = await roll(gate, world_id, config)
            assert second.scores == {0: 2.0, 1: 2.0, 2: 2.0}
            assert counted.ticks == {1: 2, 2: 3, 3: 2}
            assert (second.rollout_id, second.episodes[0]) == (first.rollout_id, first.episodes[0])
            assert await names_of(gate, storage) == sorted(["w", *(one.name for one in second.episodes)])
            # Without forks to keep, the last call destroys them.
            await roll(gate, world_id, replace(config, destroy_forks_on_complete=True))
            assert await names_of(gate, storage) == ["w"]

    run_scenario(scenario)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"num_episodes": 3, "seeds": None}, "num_episodes was 2 and is now 3"),
        ({"seeds": [1, 3]}, r"seeds was \[1, 2\] and is now \[1, 3\]"),
        ({"episode_config": EpisodeConfig(3)}, "max_steps was 2 and is now 3"),
        ({"episode_config": EpisodeConfig(2, score=x_of)}, 'score was null and is now "x_of"'),
        ({"episode_config": EpisodeConfig(2, run_config=RunConfig(inputs={"push": 2}))}, "inputs"),
        ({"labels": {"a": 1}}, "labels"),
        ({"resources": {Wind: Wind(2.0)}}, "resources"),
    ],
)
def test_another_configuration_is_a_conflict(change: dict[str, Any], word: str) -> None:
    """A used name with another configuration is RolloutConflict, which says what differs; nothing runs (R2)."""

    class Takes(AsyncProcessor):
        components = (Position,)

        def process(self, df: DataFrame, push: float = 0.0) -> DataFrame:
            return df.with_column("position__x", Position.c.x + push)

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await base_world(gate, MEMORY, Takes())
            config = RolloutConfig(2, EpisodeConfig(2), seeds=[1, 2], name="study", resources={Wind: Wind(1.0)})
            await gate.execute(ADMIN, AddResource(Wind(1.0)), world_id)
            await roll(gate, world_id, config)
            with pytest.raises(RolloutConflict, match=word) as refused:
                await roll(gate, world_id, replace(config, **change))
            assert refused.value.name == "study"
            assert await roll(gate, world_id, replace(config, name="other", **change))
            await step(gate, world_id)
            with pytest.raises(RolloutConflict, match="tick was 1 and is now 2"):
                await roll(gate, world_id, config)

    run_scenario(scenario)


def test_two_worlds_may_use_one_name() -> None:
    """The name of a rollout is that of one world; the same call while it runs is RolloutConflict (R2)."""

    async def scenario() -> None:
        async with open_gate() as gate:
            first = await base_world(gate, MEMORY, Counted())
            second = await create_world(gate, MEMORY, "v")
            config = RolloutConfig(2, EpisodeConfig(2), name="study")
            results = await asyncio.gather(
                *(roll(gate, one, config) for one in (first, second, first)), return_exceptions=True
            )
            assert isinstance(results[2], RolloutConflict)
            assert "is running" in str(results[2])
            assert [one.base_world_id for one in results[:2] if isinstance(one, RolloutResult)] == [first, second]

    run_scenario(scenario)
