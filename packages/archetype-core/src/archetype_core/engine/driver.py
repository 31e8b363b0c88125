"""Drives a world's ticks from its event loop: one after the other, in a thread, with hooks before and after."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from archetype_core import telemetry
from archetype_core.clock import SystemIds
from archetype_core.engine import hook
from archetype_core.engine.attempt import Attempt
from archetype_core.engine.commands import Commands
from archetype_core.engine.context import TickContext
from archetype_core.engine.fair_lock import FairLock
from archetype_core.engine.post import Post
from archetype_core.engine.processor import check_inputs
from archetype_core.engine.thread import Early, in_thread
from archetype_core.engine.view import WorldView
from archetype_core.errors import ReentrantStep, RunConflict, StaleTick, WorldClosed
from archetype_core.store.timeline import Segment

if TYPE_CHECKING:
    from archetype_core.config import RunConfig
    from archetype_core.engine.resource import Resources
    from archetype_core.engine.state import WorldState
    from archetype_core.engine.tick import Engine, Outcome

_THREAD_BUDGET_S = 0.01
"""How long ``run`` stays in a thread before it looks at the loop again, if a single tick does not take longer."""

# The steps that the current context is part of, to tell a step from inside a step.
_inside: contextvars.ContextVar[frozenset[object]] = contextvars.ContextVar("archetype_inside", default=frozenset())


@dataclass(frozen=True, slots=True)
class TickCallbacks:
    """Callbacks around each tick, called in the thread that runs it."""

    before: Callable[[int], None] | None = None
    after: Callable[[Outcome], None] | None = None


NO_CALLBACKS = TickCallbacks()

# Not the world's source of ids: two attempts must never share one, whatever a test or a replay decides about names.
_ATTEMPT_IDS = SystemIds()


@dataclass(slots=True)
class Driver:
    """Runs the ticks of one world. Any number of callers may wait for a tick; they take turns."""

    world: WorldView
    state: WorldState
    engine: Engine
    check_open: Callable[[], None]
    resources: Resources
    hooks: hook.Hooks = field(default_factory=hook.Hooks)
    lock: FairLock = field(default_factory=FairLock)
    is_ending: bool = False
    """Whether no tick may begin any more."""
    _running: object | None = None
    _early: Early = field(default_factory=Early)

    @property
    def is_running(self) -> bool:
        """Whether a step is under way, its hooks included."""
        return self._running is not None

    async def advance(
        self,
        config: RunConfig,
        inputs: Mapping[str, Any],
        applied: tuple[str, ...],
        limit: int,
        callbacks: TickCallbacks,
        *,
        expected_tick: int | None = None,
    ) -> list[Outcome]:
        inputs = {**config.inputs, **inputs}
        if inputs:
            check_inputs(inputs, self.engine.system.slots)
        self.refuse_inside()
        async with self.lock:
            self.check_open()
            if self.is_ending:
                raise WorldClosed(self.state.segment.name)
            self.expect(expected_tick)
            token = self._running = object()
            reset = _inside.set(_inside.get() | {token})
            try:
                await self._early.ended()
                adopted = await self._adopt(callbacks)
                if adopted is not None:
                    return [adopted]
                if not limit:
                    return []
                segment = await self._segment(config.run_id)
                done = await self._ticks(segment, inputs, applied, 1 if config.debug else limit, callbacks)
                if config.debug:
                    from archetype_core.engine import debug

                    debug.show(self.world, done[-1])
                return done
            finally:
                self._running = None
                _inside.reset(reset)

    async def _ticks(
        self,
        segment: Segment,
        inputs: Mapping[str, Any],
        applied: tuple[str, ...],
        limit: int,
        callbacks: TickCallbacks,
    ) -> list[Outcome]:
        attempt = await self._begun(segment)
        loop = asyncio.get_running_loop()
        done: list[Outcome] = []
        running: list[TickContext] = []
        stopped = threading.Event()
        early = self._early = Early()

        def work() -> None:
            # A thread hop costs about as much as a small tick, so several ticks share one.
            until = time.perf_counter() + _THREAD_BUDGET_S
            while len(done) < limit:
                ours = Attempt(self.state, _ATTEMPT_IDS.new()) if done else attempt
                running[:] = [self._context(segment, inputs, ours, loop)]
                running[0].raise_early = early.fail
                if stopped.is_set():
                    if done:
                        return
                    # A cancellation may have come before this context was visible to it.
                    running[0].cancel()
                if callbacks.before is not None:
                    callbacks.before(self.state.tick)
                done.append(self.engine.run(segment, running[0], applied))
                if callbacks.after is not None:
                    callbacks.after(done[-1])
                if self.hooks.handles or time.perf_counter() >= until:
                    return

        def cancel() -> None:
            stopped.set()
            for context in running:
                context.cancel()

        try:
            await in_thread(work, cancel, early)
        finally:
            # A tick that was committed during a cancellation still counts.
            if done:
                await self._announce(done[-1])
        return done

    async def _begun(self, segment: Segment) -> Attempt:
        """A new attempt of the next tick, after its pre-tick hooks."""
        attempt = Attempt(self.state, _ATTEMPT_IDS.new())
        if self.hooks.wants(hook.PreTick):
            try:
                with attempt.inside():
                    await self.hooks.fire(hook.PreTick(self.world, self.state.tick, segment.run_id))
            except BaseException:
                attempt.fail()
                raise
        return attempt

    async def _adopt(self, callbacks: TickCallbacks) -> Outcome | None:
        """The tick whose commit was in doubt, if it turns out to be stored."""
        if not self.engine.is_in_doubt:
            return None

        def work() -> Outcome | None:
            adopted = self.engine.resolve()
            if adopted is not None and callbacks.after is not None:
                callbacks.after(adopted)
            return adopted

        adopted = await in_thread(work)
        if adopted is not None:
            await self._announce(adopted)
        return adopted

    def _context(
        self, segment: Segment, inputs: Mapping[str, Any], attempt: Attempt, loop: asyncio.AbstractEventLoop
    ) -> TickContext:
        return TickContext(
            world_id=segment.world_id,
            run_id=segment.run_id,
            tick=self.state.tick,
            seed=segment.seed,
            world=WorldView(self.state, self.engine.store),
            resources=self.resources,
            post=Post(self.state),
            inputs=inputs,
            attempt=attempt,
            commands=partial(Commands, self.state, attempt),
            loop=loop,
            is_traced=telemetry.is_traced(),
        )

    async def _announce(self, outcome: Outcome) -> None:
        if not self.hooks.handles:
            return
        for event in hook.entity_events(self.world, outcome):
            await self.hooks.fire(event)
        results = {archetype.name: rows for archetype, rows in self.state.live.items()}
        await self.hooks.fire(hook.PostTick(self.world, outcome.tick, outcome.segment.run_id, results))

    async def _segment(self, run_id: str | None) -> Segment:
        """The active segment, or a new one for a new run."""
        state = self.state
        active = state.segment
        if run_id is None or run_id == active.run_id:
            return active
        timeline = await in_thread(self.world.timeline)
        spans = timeline.own(active.world_id).spans if timeline else ()
        if any(span.segment.run_id == run_id for span in spans):
            raise RunConflict(run_id)
        return Segment(active.world_id, run_id, state.tick, state.tip, active.name, active.seed)

    def expect(self, tick: int | None) -> None:
        """Raise ``StaleTick`` if another tick is the next one; the caller has the lock, so that none is being made."""
        if tick is not None and tick != self.state.tick:
            raise StaleTick(self.state.segment.name, tick, self.state.tick)

    def refuse_inside(self) -> None:
        """Raise ``ReentrantStep`` inside a tick of this world: waiting for that tick would deadlock."""
        if self._running is not None and self._running in _inside.get():
            raise ReentrantStep(self.state.segment.name, self.state.tick)
