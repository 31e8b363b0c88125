"""Runs rollouts: episodes on forks of a world, of which named ones are resumed after a crash."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from archetype_core.clock import IdSource
from archetype_core.command import EpisodeResult, ForkWorld, RolloutConfig, RolloutResult, RunRollout
from archetype_core.engine import check_inputs, in_thread
from archetype_core.errors import PendingMutations, RolloutConflict, StaleTick
from archetype_gate import result_codec
from archetype_gate.ledger import LedgerRollout
from archetype_gate.live_world import LiveWorld
from archetype_gate.simulation import SimulationService
from archetype_gate.terms import FREE, Terms
from archetype_gate.world_service import WorldService

_SHOWN = 60
"""How many characters of a configuration's value an error shows."""


@dataclass(frozen=True)
class _Plan:
    """A rollout that is under way."""

    id: str
    base: LiveWorld
    config: RolloutConfig
    tick: int
    """The first tick of the episodes."""
    finished: Mapping[int, EpisodeResult]
    """The results of the episodes that ended before this call."""
    maker: str
    """Whose worlds its forks are."""

    @property
    def origin(self) -> int | None:
        """The tick that the episodes are forked from; ``None`` for a world without ticks."""
        return self.tick - 1 if self.tick > 0 else None

    @cached_property
    def seeds(self) -> list[int]:
        """The seeds of the episodes."""
        config = self.config
        return (
            _seeds(self.base.world.seed, self.tick, config.num_episodes) if config.seeds is None else list(config.seeds)
        )


class RolloutService:
    """Runs the episodes of rollouts. The results of a named one are in the ledger as soon as each episode ends."""

    def __init__(self, worlds: WorldService, simulation: SimulationService, ids: IdSource) -> None:
        self._worlds = worlds
        self._simulation = simulation
        self._ids = ids
        self._running: set[tuple[str, str]] = set()

    async def rollout(self, base: LiveWorld, command: RunRollout, terms: Terms = FREE) -> RolloutResult:
        """Run one episode on each of several forks of a world, in parallel if asked.

        A failing episode has its error in its result and the others continue. ``PendingMutations`` if the world has
        staged mutations, ``RolloutConflict`` if a rollout of that name runs or has another configuration; a fork that cannot
        be created raises and cancels the other episodes.
        """
        config, began, once = command.config, time.perf_counter(), terms.once
        if once is not None and config.name is None:
            # So that it is found and resumed by the next call with its key.
            config = dataclasses.replace(config, name=once.command_id)
        check_inputs(config.episode_config.run_config.inputs, base.world.system.slots)
        if (waiting := base.uncommitted) and not terms.is_resumed:
            raise PendingMutations(base.world.name, waiting)
        with self._alone(base.world_id, config.name):
            plan = await self._plan(base, config, terms)
            parallel = (os.cpu_count() or 1) if config.parallel is True else int(config.parallel) or 1
            slots, done = asyncio.Semaphore(parallel), 0

            async def play(number: int) -> EpisodeResult:
                nonlocal done
                result = plan.finished.get(number)
                if result is None:
                    async with slots:
                        result = await self._play(plan, number)
                done += 1
                if command.progress is not None:
                    command.progress(done, config.num_episodes)
                return result

            episodes = await _play_all(play, config.num_episodes)
        return RolloutResult(plan.id, base.world_id, episodes, time.perf_counter() - began)

    @contextmanager
    def _alone(self, world_id: str, name: str | None) -> Iterator[None]:
        """Refuse another call with the same name for the block: it would destroy the forks of this one."""
        if name is None:
            yield
            return
        key = (world_id, name)
        if key in self._running:
            raise RolloutConflict(name, ["it is running"])
        self._running.add(key)
        try:
            yield
        finally:
            self._running.discard(key)

    async def _plan(self, base: LiveWorld, config: RolloutConfig, terms: Terms) -> _Plan:
        rollout_id, tick = self._ids.new(), base.world.tick
        if terms.expected_tick is not None and terms.expected_tick != tick and not terms.is_resumed:
            raise StaleTick(base.world.name, terms.expected_tick, tick)
        if config.name is None:
            return _Plan(rollout_id, base, config, tick, {}, terms.maker)
        wanted = LedgerRollout(rollout_id, base.world_id, config.name, _identity(config, tick))
        stored = await in_thread(lambda: base.backend.ledger.begin_rollout(wanted))
        before = json.loads(stored.config)
        if terms.is_resumed and before["tick"] and tick:
            # Its world may have gone on since.
            tick = before["tick"]
        if differences := _differences(before, json.loads(_identity(config, tick))):
            raise RolloutConflict(config.name, differences)
        finished = {one.episode: result_codec.decode(one.result) for one in stored.episodes if one.result is not None}
        for one in stored.episodes:
            if one.result is None or config.destroy_forks_on_complete:
                await self._worlds.discard(base.backend, one.world_id)
        return _Plan(stored.rollout_id, base, config, tick, finished, terms.maker)

    async def _play(self, plan: _Plan, number: int) -> EpisodeResult:
        config, ledger, world_id = plan.config, plan.base.backend.ledger, self._ids.new()
        if config.name is not None:
            # Before the fork is created, so that the next call finds it after a crash.
            await in_thread(lambda: ledger.begin_episode(plan.id, number, world_id))
        name = f"{plan.base.world.name}-{config.name_prefix}{number}-{plan.id[-12:]}"
        fork = ForkWorld(name, at_tick=plan.origin, resources=config.resources_of(number), rng=plan.seeds[number])
        # Before the episode, which may change its resources.
        labels, parameters = config.labels_of(number), config.parameters_of(number)
        try:
            live = await self._worlds.fork(plan.base, fork, is_name_free=True, world_id=world_id, maker=plan.maker)
            result = await self._simulation.play(live, config.episode_config, number)
            result = dataclasses.replace(result, labels=labels, parameters=parameters)
            if config.name is not None and result.error is None:
                await in_thread(lambda: ledger.finish_episode(plan.id, number, result_codec.encode(result)))
            return result
        finally:
            if config.destroy_forks_on_complete:
                # Shielded, because the end of a cancelled episode destroys its fork too.
                await asyncio.shield(self._worlds.discard(plan.base.backend, world_id))


async def _play_all(play: Callable[[int], Any], count: int) -> tuple[EpisodeResult, ...]:
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(play(number)) for number in range(count)]
    except ExceptionGroup as failures:
        # Episodes do not raise, so this is a fork that could not be created.
        raise failures.exceptions[0] from None
    return tuple(task.result() for task in tasks)


def _identity(config: RolloutConfig, tick: int) -> str:
    """What must be equal for a named rollout to be resumed."""
    return json.dumps({"tick": tick, **config.identity()})


def _differences(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    found = []
    for key in dict.fromkeys((*stored, *wanted)):
        old, new, place = stored.get(key), wanted.get(key), ""
        # As text, because a label may be NaN.
        if json.dumps(old) != json.dumps(new):
            # Two long lists are shown as the same beginning.
            if _shown(old) == _shown(new) and isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
                number = next(at for at, one in enumerate(old) if json.dumps(one) != json.dumps(new[at]))
                old, new, place = old[number], new[number], f" of episode {number}"
            found.append(f"its {key}{place} was {_shown(old)} and is now {_shown(new)}")
    return found


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _seeds(seed: int, tick: int, count: int) -> list[int]:
    """Return distinct seeds, the same for every rollout of the same world from the same tick."""
    import numpy as np

    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, tick))))
    seeds: dict[int, None] = {}
    while len(seeds) < count:
        seeds[int(rng.integers(0, 2**63))] = None
    return list(seeds)
