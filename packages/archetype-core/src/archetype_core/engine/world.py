"""A world: live entities in archetype tables, a system of processors, and a history in a store."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, Literal

from archetype_core.argument import check_command_ids, check_text, checked_seed, config_of, listed
from archetype_core.clock import IdSource, SystemIds
from archetype_core.config import RunConfig, run_config, step_config
from archetype_core.engine import hook
from archetype_core.engine.continuation import Continuation
from archetype_core.engine.driver import NO_CALLBACKS, Driver, TickCallbacks
from archetype_core.engine.entity_ids import EntityIds
from archetype_core.engine.entity_index import EntityIndex
from archetype_core.engine.evolution import admit, evolve
from archetype_core.engine.fork import branched, carry_over
from archetype_core.engine.parts import Parts, replace_parts
from archetype_core.engine.port import Executor, Kernel
from archetype_core.engine.processor import Processor, System
from archetype_core.engine.registry import load_kernel
from archetype_core.engine.resource import Resources
from archetype_core.engine.staging import Staging
from archetype_core.engine.state import WorldState
from archetype_core.engine.thread import in_thread
from archetype_core.engine.tick import Engine, Outcome, RunResult
from archetype_core.engine.view import WorldView, checked_tick
from archetype_core.errors import (
    AmbiguousWorld,
    PendingMutations,
    WorldNotFound,
)
from archetype_core.read import history
from archetype_core.schema.archetype import Archetype
from archetype_core.schema.component import Component, checked_components
from archetype_core.store.port import Store
from archetype_core.store.timeline import Head, Point, Segment, Timeline
from archetype_core.user_traceback import door


class World(WorldView, Staging):
    """One simulated world. Making one does no I/O; ``step`` runs and commits a tick.

    Mutations are staged and apply at the next tick; reads see the last completed one. Steps of one world run one after the
    other, different worlds run concurrently, and no step blocks the event loop.
    """

    def __init__(
        self,
        store: Store,
        name: str = "world",
        *,
        seed: int | None = None,
        world_id: str | None = None,
        run_id: str | None = None,
        components: Collection[type[Component]] = (),
        processors: Iterable[Processor] = (),
        resources: Iterable[object] = (),
        hooks: Iterable[hook.Hook] = (),
        kernel: str | Kernel = "python",
        executor: Executor | None = None,
        ids: IdSource | None = None,
    ) -> None:
        if not isinstance(store, Store):
            raise TypeError(f"a world needs a store, such as MemoryStore(), not {store!r}")
        check_text("name", name)
        for what, given in (("world_id", world_id), ("run_id", run_id)):
            if given is not None:
                check_text(what, given)
        self._ids: IdSource = ids or SystemIds()
        segment = Segment(
            world_id=world_id or self._ids.new(),
            run_id=run_id or self._ids.new(),
            first_tick=0,
            parent=None,
            name=name,
            seed=checked_seed(seed),
        )
        self._set_up(WorldState(segment, tick=0), store, load_kernel(kernel), executor or _shared_executor())
        self._add_parts(components, processors, resources, hooks)

    def _add_parts(
        self,
        components: Collection[type[Component]],
        processors: Iterable[Processor],
        resources: Iterable[object],
        hooks: Iterable[hook.Hook],
    ) -> None:
        """Add the parts given when a world is made or opened."""
        for resource in listed("resources", resources):
            self.resources.insert(resource)
        self._state.components = checked_components(components, "components")
        for processor in listed("processors", processors):
            self.system.add(processor)
        evolve(self._state, self.system)
        for event, handler in hook.hook_pairs(hooks):
            self.add_hook(event, handler)

    def _set_up(self, state: WorldState, store: Store, kernel: Kernel, executor: Executor) -> None:
        WorldView.__init__(self, state, store)
        Staging.__init__(self, state)
        self.system = System()
        engine = Engine(state, self.system, store, kernel, executor)
        self._driver = Driver(self, state, engine, self._check_open, Resources())
        self._is_ending = False

    @classmethod
    @door
    async def open(
        cls,
        store: Store,
        world: str,
        *,
        branch: Segment | None = None,
        components: Collection[type[Component]] = (),
        processors: Iterable[Processor] = (),
        resources: Iterable[object] = (),
        hooks: Iterable[hook.Hook] = (),
        kernel: str | Kernel = "python",
        executor: Executor | None = None,
        ids: IdSource | None = None,
    ) -> World:
        """Open a world of a store by name or id, at its last committed tick; ``WorldNotFound`` lists the worlds there.

        Cost grows with the live rows, not with the length of history. Processors, resources and hooks are code, so pass them
        again. ``branch`` is the segment of a fork that never ran a tick: it opens that fork.

        Live rows evolve to the classes that processors and ``components`` name (M8): reads show it at once, the next tick
        writes it. ``SchemaMismatch`` for a difference that a class does not declare.
        """

        def load() -> World:
            records = store.worlds()
            found = [one for one in records if one.world_id == world] or [one for one in records if one.name == world]
            if not found:
                raise WorldNotFound(world, sorted(f"{one.name} ({one.world_id})" for one in records))
            if len(found) > 1:
                raise AmbiguousWorld(world, sorted(one.world_id for one in found))
            origin = branch.parent.tick if branch is not None and branch.parent is not None else None
            head = store.head(found[0].world_id, at=origin)
            # Read after the head: another process may be committing ticks.
            timeline = store.timeline(found[0].world_id)
            opened = cls._loaded(store, timeline, head, segment=branch, kernel=kernel, executor=executor, ids=ids)
            opened._add_parts(components, processors, resources, hooks)  # noqa: SLF001  # reason: of the same class
            return opened

        return await in_thread(load)

    @classmethod
    def _loaded(
        cls,
        store: Store,
        timeline: Timeline,
        head: Head,
        *,
        segment: Segment | None,
        kernel: str | Kernel,
        executor: Executor | None,
        ids: IdSource | None,
    ) -> World:
        live, delivered = history.load(store, timeline, head)
        index = EntityIndex()
        for archetype, rows in live.items():
            index.enter(rows.entity_ids, archetype)
        continuation, pending = Continuation.read(head.continuation, index.get, head.segment.name)
        if segment is not None:
            continuation = continuation.for_another_world()
            pending.commands.clear()
        state = WorldState(
            segment or head.segment,
            tick=head.tick + 1,
            ids=EntityIds(head.next_entity_id),
            live=live,
            index=index,
            delivered=delivered,
            pending=pending,
            continuation=continuation,
            has_history=True,
            expected=continuation.processors,
            known={kind.name for one in timeline.tables.values() for kind in Archetype.from_schema(one).components},
        )
        return cls._from_state(state, store, load_kernel(kernel), executor or _shared_executor(), ids or SystemIds())

    @classmethod
    def _from_state(cls, state: WorldState, store: Store, kernel: Kernel, executor: Executor, ids: IdSource) -> World:
        """A world around an existing state."""
        world = cls.__new__(cls)
        world._ids = ids  # noqa: SLF001  # reason: this is its constructor
        world._set_up(state, store, kernel, executor)  # noqa: SLF001  # reason: this is its constructor
        return world

    def __repr__(self) -> str:
        return f"World({self.name!r}, tick {self.tick}, {len(self)} entities in {len(self._state.live)} archetypes)"

    @door
    def add_processor(self, processor: Processor) -> None:
        """Add a processor; it runs from the next tick on.

        Live rows of other versions of its components evolve (M8), or the processor is refused with a ``SchemaMismatch``.
        """
        self._check_open()
        admit(self._state, self.system, processor, is_stepping=self._driver.is_running)

    @door
    def remove_processor(self, processor: Processor | type[Processor]) -> int:
        """Remove a processor, or all of a class, earlier definitions of it too; returns how many were removed."""
        self._check_open()
        return self.system.remove(processor)

    @door
    def add_hook(
        self,
        event: type[hook.E],
        handler: Callable[[hook.E], object],
        *,
        mode: hook.Mode = "blocking",
        fail_fast: bool = False,
    ) -> hook.HookHandle:
        """Call a handler, sync or async, on every event of a type; returns a handle for ``remove_hook``."""
        self._check_open()
        return self._driver.hooks.add(event, handler, mode, fail_fast)

    @door
    def remove_hook(self, handle: hook.HookHandle) -> bool:
        """Remove a hook; returns whether it was registered."""
        return self._driver.hooks.remove(handle)

    @property
    def hooks(self) -> tuple[hook.HookHandle, ...]:
        """The registered hooks, in call order."""
        return tuple(self._driver.hooks.handles)

    @property
    def resources(self) -> Resources:
        """The objects that processors share, by type."""
        return self._driver.resources

    async def replace_parts(self, given: Parts, before: Parts = Parts()) -> None:  # noqa: B008  # reason: immutable
        """Put parts in place of those that a declaration gave before: all of them between two ticks, or none.

        Live rows evolve (M8); a part that is refused raises what it raises when it is added, and the old ones stay.
        ``ReentrantStep`` inside a tick of this world.
        """
        self._driver.refuse_inside()
        async with self._driver.lock:
            self._check_open()
            hooks, resources = self._driver.hooks, self._driver.resources
            await in_thread(
                lambda: replace_parts(self._state, self.system, hooks, resources, given=given, before=before)
            )

    def view(self) -> WorldView:
        """A read-only view of this world."""
        return WorldView(self._state, self._store)

    @door
    async def step(self, config: RunConfig | None = None, *, applied: tuple[str, ...] = (), **inputs: Any) -> Outcome:
        """Run one tick and commit it. After an error the world is unchanged and the staged mutations are kept (T7).

        Keyword arguments go to the processors that name them. ``applied`` are command ids that become part of the commit.
        Cancelling abandons the tick, unless it is already being committed. Only one error can follow a commit: the
        ``HookError`` of a hook with ``fail_fast=True``.
        """
        check_command_ids(applied)
        (outcome,) = await self._driver.advance(step_config(config), inputs, applied, 1, NO_CALLBACKS)
        return outcome

    @door
    async def run(self, steps: int | None = None, *, config: RunConfig | None = None, **inputs: Any) -> RunResult:
        """Run several ticks, by default one, under one run id. After a failure the ticks before it stay committed."""
        if "applied" in inputs:
            raise TypeError("applied: commands belong to one tick, so pass them to step")
        config = run_config(steps, config)
        left = config.steps
        began, first, applied = time.perf_counter(), self.tick, 0
        while left:
            done = await self._driver.advance(config, inputs, (), left, NO_CALLBACKS)
            left -= len(done)
            applied += sum(len(outcome.applied) for outcome in done)
        return RunResult(self.world_id, self.run_id, first, self.tick - 1, applied, time.perf_counter() - began)

    @door
    async def advance(
        self,
        limit: int,
        config: RunConfig | None = None,
        *,
        inputs: Mapping[str, Any] | None = None,
        applied: tuple[str, ...] = (),
        expected_tick: int | None = None,
        before: Callable[[int], None] | None = None,
        after: Callable[[Outcome], None] | None = None,
    ) -> list[Outcome]:
        """Run one tick and, if no hooks are registered, more of them up to ``limit`` for about 10 ms.

        ``before`` is called with a tick's number before its mutations are taken, ``after`` with its outcome once it is
        committed, even if the caller was cancelled by then. Both are called in a worker thread. ``applied`` are command ids
        that become part of every commit. ``StaleTick`` if ``expected_tick`` is not the next one when it is this caller's turn.
        """
        callbacks = TickCallbacks(before, after)
        return await self._driver.advance(
            config_of(RunConfig, config),
            inputs or {},
            applied,
            max(limit, 1),
            callbacks,
            expected_tick=expected_tick,
        )

    @door
    async def adopt(self, after: Callable[[Outcome], None] | None = None) -> Outcome | None:
        """Find out about a commit that raised ``CommitUncertain``: a tick that is stored counts, and is returned."""
        done = await self._driver.advance(RunConfig(), {}, (), 0, TickCallbacks(after=after))
        return done[0] if done else None

    @door
    async def fork(
        self,
        name: str | None = None,
        *,
        at_tick: int | None = None,
        resources: Literal["share", "copy"] | Mapping[type, object] = "share",
        rng: Literal["same", "fresh"] | int = "same",
        pending: Literal["refuse", "copy"] = "refuse",
        store: Store | None = None,
        world_id: str | None = None,
    ) -> World:
        """A new world that continues from here, or from the end of tick ``at_tick``.

        It shares history by lineage, so no rows are copied. Processors and hooks are copied as registered now. ``rng`` keeps
        the seed (common random numbers), draws a fresh one, or uses the given one. ``store`` puts the fork into another
        store, together with the live rows. The fork has what the processors of its tick staged for the next one; if more is
        staged by now, a fork of the newest tick is refused with ``PendingMutations``, unless ``pending="copy"`` takes it along.
        """
        self._check_open()
        at_tick = checked_tick(at_tick)
        if name is not None:
            check_text("name", name)
        if pending not in ("refuse", "copy"):
            raise ValueError(f"pending is 'refuse' or 'copy', not {pending!r}")
        is_past = at_tick is not None and not (at_tick == self.tick - 1 and self._state.has_history)
        if is_past and pending == "copy":
            raise ValueError(
                f"pending='copy' takes along what waits now, which is no part of tick {at_tick}: leave it out"
            )
        if not is_past and pending == "refuse" and (waiting := self.uncommitted):
            raise PendingMutations(self.name, waiting)
        forked_resources = self.resources.forked(resources)
        if isinstance(rng, str) and rng not in ("same", "fresh"):
            raise ValueError(f"rng is 'same', 'fresh' or a seed, not {rng!r}")
        seed = self.seed if rng == "same" else checked_seed(None if rng == "fresh" else rng)
        world_id = self._ids.new() if world_id is None else world_id
        # first_tick and parent are set below, where they are known.
        segment = Segment(world_id, self._ids.new(), 0, None, name or f"{self.name}-{world_id[-12:]}", seed)
        if at_tick is None or not is_past:
            engine = self._driver.engine
            world = self._from_state(
                branched(self._state, segment), self._store, engine.kernel, engine.executor, self._ids
            )
        else:
            world = await in_thread(lambda: self._forked_past(segment, at_tick))
        world._inherit(self, forked_resources)  # noqa: SLF001  # reason: a world of the same class
        await in_thread(lambda: evolve(world._state, world.system))  # noqa: SLF001  # reason: as above
        if store is not None and store is not self._store:
            await in_thread(lambda: world._move(store))  # noqa: SLF001  # reason: a world of the same class
        return world

    def _forked_past(self, segment: Segment, tick: int) -> World:
        """A fork that begins at the end of an earlier tick, read from the store; blocks."""
        timeline = self._known(tick)
        span = timeline.at(tick)
        assert span is not None
        # The world that committed the tick: this one may be a fork without a tick of its own, unknown to the store.
        parent = Point(span.segment.world_id, span.segment.run_id, tick)
        engine = self._driver.engine
        return self._loaded(
            self._store,
            timeline,
            self._store.head(parent.world_id, at=tick),
            segment=replace(segment, first_tick=tick + 1, parent=parent),
            kernel=engine.kernel,
            executor=engine.executor,
            ids=self._ids,
        )

    def _inherit(self, source: World, resources: Resources) -> None:
        """Copy a source's registered processors and hooks."""
        self._driver.resources = resources
        self.system.adopt(source.system)
        self._state.components = source._state.components  # reason: a world of the same class
        self._state.expected = ()
        self._driver.hooks = source._driver.hooks.copy()  # reason: a world of the same class

    def _move(self, store: Store) -> None:
        """Continue in another store."""
        carry_over(self._state, store)
        engine = self._driver.engine
        self._store = store
        self._driver.engine = Engine(self._state, self.system, store, engine.kernel, engine.executor)

    @door
    async def destroy(self, *, expected_tick: int | None = None) -> None:
        """Fire ``OnDestroy``, then close; history stays in the store.

        ``StaleTick`` if ``expected_tick`` is not the next one; with it, no tick begins once that is known.
        """
        self._driver.refuse_inside()
        if expected_tick is not None and self._is_open:
            async with self._driver.lock:
                self._driver.expect(expected_tick)
                self._driver.is_ending = True
        if self._is_open and not self._is_ending:
            self._is_ending = True
            await self._driver.hooks.fire(hook.OnDestroy(self, self.tick))
        await self.close()

    @door
    async def close(self) -> None:
        """Wait for a running tick and spawned hooks, then refuse further use; idempotent. The store stays open."""
        self._driver.refuse_inside()
        async with self._driver.lock:
            self._is_open = False
        await self._driver.hooks.drain()


@lru_cache(maxsize=1)
def _shared_executor() -> Executor:
    # Imports Daft, which takes as long as all other imports together.
    from archetype_core.engine.executor import LocalExecutor

    return LocalExecutor()
