"""Steps, runs, episodes and rollouts through the gate."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from daft import DataFrame
from stage import (
    ADMIN,
    Done,
    Fails,
    Move,
    Position,
    Velocity,
    audit_rows,
    create_world,
    journal_at,
    open_gate,
    position_of,
    run_scenario,
    run_steps,
    step,
)

from archetype_core import AsyncProcessor, RunConfig, StorageConfig, WorldView
from archetype_core.command import (
    AddHandler,
    AddProcessor,
    Command,
    CommandGate,
    Custom,
    Digest,
    EpisodeConfig,
    ForkWorld,
    GetWorldInfo,
    ListWorlds,
    Query,
    QueryEpisodes,
    RolloutConfig,
    RolloutResult,
    Run,
    RunEpisode,
    RunRollout,
    Spawn,
    Step,
)
from archetype_core.errors import PendingMutations, ReentrantStep, RunConflict

MEMORY = StorageConfig("memory:")


class Wander(AsyncProcessor):
    """Moves by a random distance."""

    components = (Position,)

    def process(self, df: DataFrame, rng: Any) -> DataFrame:
        """Return the moved rows."""
        return df.with_column("position__x", Position.c.x + float(rng.standard_normal()))


class FailsForSeed2(AsyncProcessor):
    """Raises in worlds with the seed 2."""

    components = (Position,)

    def process(self, df: DataFrame, rng: Any, world: WorldView) -> DataFrame:
        """Return the rows unchanged, or raise."""
        if world.seed == 2:
            raise RuntimeError("this one fails")
        return df


async def moving(gate: CommandGate, storage: StorageConfig, *processors: AsyncProcessor) -> str:
    """Create a world with one moving entity and make three ticks."""
    world_id = await create_world(gate, storage, "w", *(processors or (Move(),)))
    await gate.execute(ADMIN, Spawn((Position(), Velocity(dx=1.0))), world_id)
    await run_steps(gate, world_id, 3)
    return world_id


def test_a_run_keeps_its_run_id(tmp_path: Path) -> None:
    """A run has one run id for all its ticks; a new id starts a new run at the current tick (R1)."""

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await moving(gate, journal_at(tmp_path))
            same = await gate.execute(ADMIN, Run(RunConfig(steps=2)), world_id)
            new = await gate.execute(ADMIN, Run(RunConfig(steps=2, run_id="second")), world_id)
            none = await gate.execute(ADMIN, Run(RunConfig(steps=0)), world_id)
            assert (same.first_tick, same.final_tick, same.steps) == (3, 4, 2)
            assert (new.run_id, new.first_tick, new.final_tick) == ("second", 5, 6)
            assert (none.run_id, none.steps) == ("second", 0)
            with pytest.raises(RunConflict):
                await gate.execute(ADMIN, Run(RunConfig(run_id=same.run_id)), world_id)
            frame = await gate.execute(ADMIN, Query((Position,)), world_id)
            runs = {row["tick"]: row["run_id"] for row in frame.to_pylist()}
            assert [runs[tick] == "second" for tick in range(7)] == [False] * 5 + [True] * 2

    run_scenario(scenario)


def test_a_run_reports_progress() -> None:
    """Progress is called with growing numbers up to the number of steps (R1)."""

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await moving(gate, MEMORY)
            calls: list[tuple[int, int]] = []

            def on_progress(done: int, steps: int) -> None:
                calls.append((done, steps))

            await gate.execute(ADMIN, Run(RunConfig(steps=100), progress=on_progress), world_id)
            assert calls == sorted(calls)
            assert calls[-1] == (100, 100)

    run_scenario(scenario)


def test_an_episode_ends_with_its_first_condition() -> None:
    """An episode ends with its last step, its predicate or its terminal component (R2)."""

    async def far(world: WorldView) -> bool:
        return world.get(1)[Position].x >= 6.0

    def finish(scope: Any, data: Any) -> None:
        scope.add_components(data, Done())

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await moving(gate, MEMORY)
            await gate.execute(ADMIN, AddHandler("finish", finish), world_id)
            steps = await gate.execute(ADMIN, RunEpisode(EpisodeConfig(max_steps=2)), world_id)
            asked = await gate.execute(ADMIN, RunEpisode(EpisodeConfig(termination=far)), world_id)
            await gate.submit(ADMIN, Custom("finish", 1), world_id, tick=9)
            ended = await gate.execute(ADMIN, RunEpisode(EpisodeConfig(terminal_component=Done)), world_id)
            assert (steps.reason, steps.duration_steps, steps.terminated) == ("max_steps", 2, False)
            assert (asked.reason, asked.final_tick, asked.terminated) == ("termination", 6, True)
            assert (ended.reason, ended.first_tick, ended.final_tick) == ("terminal_component", 7, 9)

    run_scenario(scenario)


async def _contents(gate: CommandGate, world_id: str, result: RolloutResult) -> list[tuple[Any, ...]]:
    query = QueryEpisodes((Position,), world_ids=tuple(one.world_id for one in result.episodes))
    frame = await gate.execute(ADMIN, query, world_id)
    table = await asyncio.to_thread(frame.to_pylist)
    return sorted((row["episode"], row["seed"], row["tick"], row["position__x"]) for row in table)


def test_a_rollout_is_deterministic(tmp_path: Path) -> None:
    """A rollout gives the same rows in sequence, in parallel and when repeated (R2, R3, T10)."""

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await moving(gate, journal_at(tmp_path), Wander())
            before = await gate.execute(ADMIN, Digest(), world_id)
            results = [
                await gate.execute(ADMIN, RunRollout(RolloutConfig(8, EpisodeConfig(max_steps=5), parallel)), world_id)
                for parallel in (False, True, 3)
            ]
            contents = [await _contents(gate, world_id, one) for one in results]
            assert contents[0] == contents[1] == contents[2]
            assert len(contents[0]) == 8 * 5
            assert len({one.seed for one in results[0].episodes}) == 8
            assert len({one.name for result in results for one in result.episodes}) == 24
            # Episodes with different seeds differ.
            assert len({x for episode, _, tick, x in contents[0] if tick == 7}) == 8
            assert await gate.execute(ADMIN, Digest(), world_id) == before

    run_scenario(scenario)


def test_the_rows_of_all_episodes_are_one_frame() -> None:
    """All episodes are one frame with branch, seed and episode, which can be filtered and projected (R2, Q2)."""

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await moving(gate, MEMORY, Wander())
            config = RolloutConfig(3, EpisodeConfig(max_steps=2), seeds=[5, 6, 7], destroy_forks_on_complete=True)
            result = await gate.execute(ADMIN, RunRollout(config), world_id)
            ids = tuple(one.world_id for one in result.episodes)
            frame = await gate.execute(ADMIN, QueryEpisodes((Position,), ticks=4, world_ids=ids), world_id)
            found = frame.sort("episode").select("episode", "seed", "branch", "tick").to_pylist()
            assert found == [
                {"episode": n, "seed": 5 + n, "branch": one.name, "tick": 4} for n, one in enumerate(result.episodes)
            ]
            picked = await gate.execute(ADMIN, QueryEpisodes((Position,), lineage=True, world_ids=ids), world_id)
            assert picked.where("episode = 1").count_rows() == 5
            assert picked.select("seed").distinct().count_rows() == 3
            assert [info.world_id for info in await gate.execute(ADMIN, ListWorlds(), None)] == [world_id]

    run_scenario(scenario)


def test_a_failing_episode_has_a_result() -> None:
    """A failing episode reports its error and ticks in its result, and the others finish (R2)."""

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await create_world(gate, MEMORY, "w")
            await gate.execute(ADMIN, Spawn((Position(),)), world_id)
            await step(gate, world_id)
            await gate.execute(ADMIN, AddProcessor(FailsForSeed2()), world_id)
            config = RolloutConfig(4, EpisodeConfig(max_steps=3), True, seeds=[1, 2, 3, 4])
            result = await gate.execute(ADMIN, RunRollout(config), world_id)
            assert [one.reason for one in result.episodes] == ["max_steps", "failed", "max_steps", "max_steps"]
            (failed,) = result.failed
            assert "this one fails" in (failed.error or "")
            assert (failed.duration_steps, result.total_duration_steps) == (0, 9)

    run_scenario(scenario)


def test_a_rollout_of_a_world_with_staged_mutations_is_refused() -> None:
    """A rollout of a world with staged mutations raises PendingMutations (R3)."""

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await moving(gate, MEMORY)
            await gate.execute(ADMIN, Spawn((Position(),)), world_id)
            with pytest.raises(PendingMutations):
                await gate.execute(ADMIN, RunRollout(RolloutConfig(2)), world_id)
            with pytest.raises(ValueError, match="seed"):
                RolloutConfig(1, seeds=[-1])

    run_scenario(scenario)


def test_a_rollout_of_a_world_without_ticks() -> None:
    """Episodes of a world without ticks start at tick 0 (R2)."""

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await create_world(gate, MEMORY)
            result = await gate.execute(ADMIN, RunRollout(RolloutConfig(2, EpisodeConfig(max_steps=2))), world_id)
            assert [(one.first_tick, one.final_tick) for one in result.episodes] == [(0, 1), (0, 1)]

    run_scenario(scenario)


def test_a_processor_may_use_the_gate() -> None:
    """A processor that calls its own world stages for the next tick, reads the last one, and cannot step (T15)."""

    class CallsGate(AsyncProcessor):
        components = (Position,)

        def __init__(self, gate: CommandGate) -> None:
            self.gate, self.world_id = gate, ""
            self.seen: list[object] = []

        async def process(self, df: DataFrame, tick: int) -> DataFrame:
            self.seen.append((await self.gate.execute(ADMIN, GetWorldInfo(), self.world_id)).tick)
            await self.gate.execute(ADMIN, Spawn((Velocity(dx=float(tick)),)), self.world_id)
            await self.gate.submit(ADMIN, Custom("nobody"), self.world_id)
            commands: list[Command[Any]] = [Step(), Run(RunConfig()), ForkWorld(pending="copy")]
            for command in commands:
                try:
                    await self.gate.execute(ADMIN, command, self.world_id)
                    self.seen.append(command.kind)
                except ReentrantStep:
                    self.seen.append("refused")
            return df

    async def scenario() -> None:
        async with open_gate() as gate:
            caller = CallsGate(gate)
            world_id = await create_world(gate, MEMORY, "w", caller)
            caller.world_id = world_id
            await gate.execute(ADMIN, Spawn((Position(),)), world_id)
            await step(gate, world_id)
            await step(gate, world_id)
            assert caller.seen == [1, "refused", "refused", "fork_world"]
            assert (await gate.execute(ADMIN, GetWorldInfo(), world_id)).pending == 1
            await step(gate, world_id)
            assert (await gate.execute(ADMIN, GetWorldInfo(), world_id)).entities == 2

    run_scenario(scenario)


def test_a_cancelled_step_settles_its_commands() -> None:
    """The commands of a tick that commits after its caller was cancelled are recorded as applied (G5, T7)."""

    async def scenario() -> None:
        async with open_gate() as gate:
            fails = Fails()
            fails.is_failing = False
            world_id = await create_world(gate, MEMORY, "w", fails)
            for number in range(20):
                entity = await gate.execute(ADMIN, Spawn((Position(x=float(number)),)), world_id)
                task = asyncio.create_task(gate.execute(ADMIN, Step(), world_id))
                await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                await step(gate, world_id)
                assert await position_of(gate, world_id, entity) == number
            assert {row.status for row in await audit_rows(gate, world_id, type="spawn")} == {"applied"}

    run_scenario(scenario)


def test_debug_prints_phases_and_rows(capsys: pytest.CaptureFixture[str]) -> None:
    """With debug on, every tick prints its phases and some rows of every table on standard error."""

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await moving(gate, MEMORY)
            await gate.execute(ADMIN, Run(RunConfig(steps=2, debug=True)), world_id)

    run_scenario(scenario)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "w tick 3" in printed.err
    assert "w tick 4" in printed.err
    assert "commit" in printed.err
    assert "position__x" in printed.err


def test_a_processor_of_any_class_is_described() -> None:
    """What has a ``process`` is a processor: it needs no base class and no priority (T12)."""

    class Duck:
        components = (Position,)

        def process(self, df: DataFrame) -> DataFrame:
            return df

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await create_world(gate, MEMORY)
            duck: Any = Duck()
            info = await gate.execute(ADMIN, AddProcessor(duck), world_id)
            assert (info.priority, info.components) == (0, ("Position",))

    run_scenario(scenario)
