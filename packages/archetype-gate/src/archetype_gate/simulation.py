"""Advances live worlds: steps, runs, episodes and rollouts."""

from __future__ import annotations

import asyncio
import inspect
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from archetype_core.clock import IdSource
from archetype_core.command import (
    EndReason,
    EpisodeConfig,
    EpisodeResult,
    ForkWorld,
    Progress,
    RolloutResult,
    Run,
    RunEpisode,
    RunResult,
    RunRollout,
    Step,
    StepResult,
)
from archetype_core.config import RunConfig
from archetype_core.engine import Outcome, WorldView
from archetype_core.errors import PendingMutations
from archetype_gate.live_world import LiveWorld, failure_reason
from archetype_gate.world_service import WorldService


class SimulationService:
    """Makes ticks. Before each tick it stages the queued commands that are due; after it, it settles those applied."""

    def __init__(self, worlds: WorldService, ids: IdSource) -> None:
        self._worlds = worlds
        self._ids = ids

    async def step(self, live: LiveWorld, command: Step) -> StepResult:
        """Make one tick and return what it applied; raises what the tick raises, and then nothing of it is visible."""
        (outcome,) = await _advance(live, 1, command.config, command.inputs)
        return StepResult(live.world_id, outcome.segment.run_id, outcome.tick, len(outcome.applied), outcome.duration_s)

    async def run(self, live: LiveWorld, command: Run) -> RunResult:
        """Make several ticks under one run id; if one fails, it raises and the ticks before it stay committed."""
        began, first, applied, done = time.perf_counter(), live.world.tick, 0, 0
        steps, run_id = command.config.steps, live.world.run_id
        while done < steps:
            outcomes = await _advance(live, steps - done, command.config, command.inputs)
            first = outcomes[0].tick if not done else first
            run_id = outcomes[-1].segment.run_id
            done += len(outcomes)
            applied += sum(len(one.applied) for one in outcomes)
            if command.progress is not None:
                command.progress(done, steps)
        return RunResult(live.world_id, run_id, first, first + done - 1, applied, time.perf_counter() - began)

    async def episode(self, live: LiveWorld, command: RunEpisode) -> EpisodeResult:
        """Make ticks until ``max_steps``, the termination predicate or a terminal component ends the episode.

        A failing tick or predicate raises. The conditions are checked after every tick.
        """
        return await self._episode(live, command.config, 0, command.progress)

    async def _episode(
        self, live: LiveWorld, config: EpisodeConfig, number: int, progress: Progress | None = None
    ) -> EpisodeResult:
        began, first, done = time.perf_counter(), live.world.tick, 0
        reason: EndReason = "max_steps"
        # Without conditions there is nothing to check between ticks.
        stride = config.max_steps if config.termination is None and config.terminal_component is None else 1
        while done < config.max_steps:
            outcomes = await _advance(live, min(stride, config.max_steps - done), config.run_config, {})
            done += len(outcomes)
            if progress is not None:
                progress(done, config.max_steps)
            if (met := await _end_reason(live, config)) is not None:
                reason = met
                break
        return _result(live, number, first, reason=reason, duration_s=time.perf_counter() - began)

    async def rollout(self, base: LiveWorld, command: RunRollout) -> RolloutResult:
        """Run one episode on each of several forks of a world, in parallel if asked.

        A failing episode has its error in its result and the others continue. ``PendingMutations`` if the world has
        staged mutations; a fork that cannot be created raises and cancels the other episodes.
        """
        config, began, rollout_id = command.config, time.perf_counter(), self._ids.new()
        if waiting := base.uncommitted:
            raise PendingMutations(base.world.name, waiting)
        origin = base.world.tick - 1 if base.world.tick > 0 else None
        seeds = _seeds(base, config.num_episodes) if config.seeds is None else list(config.seeds)
        parallel = (os.cpu_count() or 1) if config.parallel is True else int(config.parallel) or 1
        slots, done = asyncio.Semaphore(parallel), 0

        async def play(number: int) -> EpisodeResult:
            nonlocal done
            async with slots:
                name = f"{base.world.name}-{config.name_prefix}{number}-{rollout_id[-12:]}"
                fork = ForkWorld(name, at_tick=origin, resources=config.resources, rng=seeds[number])
                result = await self._play_fork(
                    base, fork, config.episode_config, number, config.destroy_forks_on_complete
                )
            done += 1
            if command.progress is not None:
                command.progress(done, config.num_episodes)
            return result

        episodes = await _play_all(play, config.num_episodes)
        return RolloutResult(rollout_id, base.world_id, episodes, time.perf_counter() - began)

    async def _play_fork(
        self, base: LiveWorld, fork: ForkWorld, config: EpisodeConfig, number: int, destroys_fork: bool
    ) -> EpisodeResult:
        began = time.perf_counter()
        live = await self._worlds.fork(base, fork, is_name_free=True)
        first = live.world.tick
        try:
            return await self._episode(live, config, number)
        # Processors may raise anything; it must not stop the other episodes.
        except Exception as failure:  # noqa: BLE001  # reason: reported in the result
            duration_s, error = time.perf_counter() - began, failure_reason(failure)
            return _result(live, number, first, reason="failed", duration_s=duration_s, error=error)
        finally:
            if destroys_fork:
                await self._worlds.destroy(live.world_id)


async def _play_all(play: Callable[[int], Any], count: int) -> tuple[EpisodeResult, ...]:
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(play(number)) for number in range(count)]
    except ExceptionGroup as failures:
        # Episodes do not raise, so this is a fork that could not be created.
        raise failures.exceptions[0] from None
    return tuple(task.result() for task in tasks)


async def _advance(live: LiveWorld, limit: int, config: RunConfig, inputs: Mapping[str, Any]) -> list[Outcome]:
    merged = {**config.inputs, **inputs}
    return await live.world.advance(limit, config, inputs=merged, before=live.stage_due, after=live.settle_applied)


async def _end_reason(live: LiveWorld, config: EpisodeConfig) -> EndReason | None:
    kind = config.terminal_component
    if kind is not None and any(kind in archetype for archetype in live.world.tables()):
        return "terminal_component"
    if config.termination is not None:
        verdict: Any = config.termination(live.world.view())
        if inspect.isawaitable(verdict):
            verdict = await verdict
        if verdict:
            return "termination"
    return None


def _result(
    live: LiveWorld, number: int, first: int, *, reason: EndReason, duration_s: float, error: str | None = None
) -> EpisodeResult:
    world: WorldView = live.world
    return EpisodeResult(
        world_id=world.world_id,
        name=world.name,
        run_id=world.run_id,
        seed=world.seed,
        episode=number,
        first_tick=first,
        final_tick=world.tick - 1,
        reason=reason,
        duration_s=duration_s,
        error=error,
    )


def _seeds(base: LiveWorld, count: int) -> list[int]:
    """Return distinct seeds, the same for every rollout of the same world from the same tick."""
    import numpy as np

    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((base.world.seed, base.world.tick))))
    seeds: dict[int, None] = {}
    while len(seeds) < count:
        seeds[int(rng.integers(0, 2**63))] = None
    return list(seeds)
