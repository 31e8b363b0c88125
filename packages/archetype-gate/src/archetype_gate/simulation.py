"""Advances live worlds: steps, runs and episodes."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

from archetype_core.command import (
    EndReason,
    EpisodeConfig,
    EpisodeResult,
    Progress,
    Run,
    RunEpisode,
    RunResult,
    Step,
    StepResult,
)
from archetype_core.config import RunConfig
from archetype_core.engine import Outcome, WorldView, check_inputs, in_thread
from archetype_core.errors import ReentrantStep, RunConflict, StaleTick, StoreClosed, WorldClosed
from archetype_core.user_traceback import trim
from archetype_gate.audit_text import failure_reason
from archetype_gate.live_world import LiveWorld, mutations_of
from archetype_gate.telemetry import log
from archetype_gate.terms import FREE, Terms, made_before

_WRONG_CALLS = (ReentrantStep, RunConflict, StaleTick, StoreClosed, WorldClosed)
"""What a single episode raises because it could not begin, or because its world was closed meanwhile."""


class SimulationService:
    """Makes ticks. Before each tick it stages the queued commands that are due; after it, it settles those applied."""

    async def step(self, live: LiveWorld, command: Step, terms: Terms = FREE) -> StepResult:
        """Make one tick and return what it applied; raises what the tick raises, and then nothing of it is visible."""
        if before := await made_before(live, terms):
            return StepResult(live.world_id, before[0].run_id, before[0].tick, before[0].applied, 0.0)
        (outcome,) = await _advance(live, 1, command.config, command.inputs, terms)
        applied = len(mutations_of(outcome.applied))
        return StepResult(live.world_id, outcome.segment.run_id, outcome.tick, applied, outcome.duration_s)

    async def run(self, live: LiveWorld, command: Run, terms: Terms = FREE) -> RunResult:
        """Make several ticks under one run id; if one fails, it raises and the ticks before it stay committed."""
        began, steps, before = time.perf_counter(), command.config.steps, await made_before(live, terms)
        done, applied = len(before), sum(one.applied for one in before)
        first, run_id = (before[0].tick, before[-1].run_id) if before else (live.world.tick, live.world.run_id)
        terms = terms.after_first() if before else terms
        while done < steps:
            outcomes = await _advance(live, steps - done, command.config, command.inputs, terms)
            terms = terms.after_first()
            first = outcomes[0].tick if not done else first
            run_id = outcomes[-1].segment.run_id
            done += len(outcomes)
            applied += sum(len(mutations_of(one.applied)) for one in outcomes)
            if command.progress is not None:
                command.progress(done, steps)
        return RunResult(live.world_id, run_id, first, first + done - 1, applied, time.perf_counter() - began)

    async def episode(self, live: LiveWorld, command: RunEpisode, terms: Terms = FREE) -> EpisodeResult:
        """Make ticks until ``max_steps``, the termination predicate or a terminal component ends the episode.

        The conditions are checked after every tick. A failing tick, predicate or score is reported in the result. A call
        that cannot begin raises: the world is closed or inside its own tick, or cannot take the inputs or the run id.
        """
        return await self.play(live, command.config, 0, command.progress, raised=_WRONG_CALLS, terms=terms)

    async def play(
        self,
        live: LiveWorld,
        config: EpisodeConfig,
        number: int,
        progress: Progress | None = None,
        *,
        raised: tuple[type[Exception], ...] = (),
        terms: Terms = FREE,
    ) -> EpisodeResult:
        """Run an episode and return its result; of what it fails with, only ``raised`` and wrong inputs are raised."""
        check_inputs(config.run_config.inputs, live.world.system.slots)
        began, before = time.perf_counter(), await made_before(live, terms)
        first = before[0].tick if before else live.world.tick
        reason: EndReason = "failed"
        score, exception = None, None
        try:
            reason = await _played(live, config, progress, terms, len(before))
            if config.score is not None:
                score = await _score(live.world.view(), config.score)
        except raised:
            raise
        # Processors may raise anything; it must not stop other episodes.
        except Exception as failure:  # noqa: BLE001  # reason: logged, and reported in the result
            reason, exception = "failed", failure
            # Without its traceback: the result has the exception, and a rollout may have many.
            log.warning("episode %s failed at tick %d: %s", live.world.name, live.world.tick, failure_reason(failure))
            # The result must not keep the tables of the failed tick alive.
            trim(failure)
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
            duration_s=time.perf_counter() - began,
            error=None if exception is None else failure_reason(exception),
            score=score,
            exception=exception,
        )


async def _played(
    live: LiveWorld, config: EpisodeConfig, progress: Progress | None, terms: Terms, done: int
) -> EndReason:
    """Make the ticks of an episode, of which ``done`` were made before; returns how it ended."""
    if done:
        terms = terms.after_first()
        if (met := await _end_reason(live, config)) is not None:
            return met
    # Without conditions there is nothing to check between ticks.
    stride = config.max_steps if config.termination is None and config.terminal_component is None else 1
    while done < config.max_steps:
        outcomes = await _advance(live, min(stride, config.max_steps - done), config.run_config, {}, terms)
        terms = terms.after_first()
        done += len(outcomes)
        if progress is not None:
            progress(done, config.max_steps)
        if (met := await _end_reason(live, config)) is not None:
            return met
    return "max_steps"


async def _score(view: WorldView, score: Callable[[WorldView], Any]) -> float:
    """Return the score of a world's final state; ``TypeError`` or ``ValueError`` if it is no finite number."""
    # In a thread, because it may collect frames.
    value = await in_thread(lambda: score(view))
    if inspect.isawaitable(value):
        value = await value
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"score must return a number, not {value!r}: convert it with float(…)")
    if not math.isfinite(value):
        raise ValueError(f"score must return a finite number, not {value!r}")
    return float(value)


async def _advance(
    live: LiveWorld, limit: int, config: RunConfig, inputs: Mapping[str, Any], terms: Terms
) -> list[Outcome]:
    return await live.world.advance(
        limit,
        config,
        inputs={**config.inputs, **inputs},
        applied=terms.applied,
        expected_tick=terms.expected_tick,
        before=live.stage_due,
        after=live.settle_applied,
    )


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
