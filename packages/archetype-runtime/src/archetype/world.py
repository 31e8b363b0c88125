"""A world handle: each method is one command through the gate, for the handle's actor."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from archetype.declared_world import CustomHandler, DeclaredWorld, WorldSpec
from archetype.rollout import RuntimeRollout
from archetype.runtime_state import RuntimeState, WorldRef
from archetype.storage import Storage, storage_config
from archetype.waits import converts, waits_for
from archetype.world_reads import WorldReads
from archetype_core.argument import config_of, listed
from archetype_core.command import (
    ActorCtx,
    AddComponents,
    AddHandler,
    AddHook,
    AddProcessor,
    AddResource,
    CloseWorld,
    Custom,
    Despawn,
    DestroyWorld,
    EntityCommand,
    EpisodeConfig,
    EpisodeResult,
    ForkWorld,
    ProcessorInfo,
    RemoveComponents,
    RemoveHook,
    RemoveProcessor,
    RemoveResource,
    ResourceInfo,
    RolloutConfig,
    Run,
    RunEpisode,
    RunResult,
    RunRollout,
    Send,
    Spawn,
    SpawnMany,
    SpawnTable,
    Step,
    StepResult,
    Ticket,
    Update,
    UpdateTable,
    UpdateWhere,
)
from archetype_core.config import RunConfig, run_config, step_config
from archetype_core.engine import Bundle, Entities, Event, HookHandle, Mode, Processor, bundled, conformed
from archetype_core.errors import RuntimeClosed
from archetype_core.schema import Archetype, Component
from archetype_core.user_traceback import door

if TYPE_CHECKING:
    from daft.expressions import Expression

E = TypeVar("E", bound=Event)


class RuntimeWorld(WorldReads):
    """A handle of one world for one actor. The first use activates the world.

    Mutations are staged and apply at the next tick; reads see the last completed one. Each call is checked against the
    actor's roles and quota (``PermissionDenied``, ``QuotaExceeded``) and leaves a row in the audit log. After the end of the
    world or of the runtime it raises ``WorldClosed`` or ``RuntimeClosed``.
    """

    @waits_for("nothing")
    async def spawn(self, *components: Component) -> int:
        """Stage a new entity and return its id, which is final.

        At the next tick the entity is stored as written; processors see it from the tick after. A value that cannot be
        stored is ``ValueRejected``, two components of one class are ``SignatureError``.

        >>> eid = await world.spawn(Position(x=1.0), Velocity())
        """
        return await self._do(Spawn(components))

    @waits_for("nothing")
    async def spawn_many(self, bundles: Iterable[Bundle]) -> range:
        """Stage an entity per bundle of components, all or none, and return their ids in order.

        One command, with the price of that many spawns.
        """
        made = tuple(bundled(one) for one in listed("bundles", bundles))
        return await self._do(SpawnMany(made))

    @waits_for("nothing")
    @converts(data="_collected")
    async def spawn_table(self, data: Any, *components: type[Component]) -> range:
        """Stage an entity per row of an Arrow table, DataFrame or mapping of columns, and return their ids in order.

        Columns are named by field, ``x``, or with the component's prefix, ``position__x``; others are ``SchemaMismatch``.
        The fastest way to make many entities.

        >>> ids = await world.spawn_table({"x": [0.0, 1.0]}, Position)
        """
        if hasattr(data, "collect"):
            # A lazy frame runs its plan, which may take long.
            data = await asyncio.to_thread(data.to_arrow)
        archetype = Archetype.of_classes(*components)
        return await self._do(SpawnTable(conformed(data, archetype), archetype))

    @waits_for("threads")
    async def submit_spawn(self, *components: Component, tick: int | None = None, priority: int = 0) -> int:
        """Queue a new entity for a tick, by default the next, and return its id, which is reserved now.

        Durable when it returns, which costs a write to disk; ``spawn`` is faster.
        """
        (ticket,) = await self._queue((Spawn(components),), tick, priority)
        return ticket.entity_ids[0]

    @waits_for("threads")
    async def submit(self, command: EntityCommand[Any], *, tick: int | None = None, priority: int = 0) -> Ticket:
        """Queue a command for a tick, by default the next. It is durable when this returns, and applied exactly once.

        From inside a tick, it is durable with that tick's commit, and forgotten if the attempt fails.

        Commands of one tick apply by ascending priority, then in the order of submission. What cannot be queued is
        ``NotDeferrable``.

        >>> await world.submit(Update(eid, (Position(x=1.0),)), tick=10)
        """
        (ticket,) = await self._queue((command,), tick, priority)
        return ticket

    @waits_for("threads")
    async def submit_batch(
        self, commands: Iterable[EntityCommand[Any]], *, tick: int | None = None, priority: int = 0
    ) -> tuple[Ticket, ...]:
        """Queue several commands for a tick, all or none, with one write to disk."""
        return await self._queue(listed("commands", commands), tick, priority)

    @waits_for("nothing")
    async def despawn(self, entities: Entities = (), *more: int) -> None:
        """Stage the end of one entity or many; one that is not alive is logged and ignored. Their history stays.

        ``entities`` is an id, a sequence or array of ids, or a condition on the last completed tick, as for every mutation.

        >>> await world.despawn(Health.c.hp <= 0)
        """
        await self._do(Despawn((*_several(entities), *more) if more else entities))

    @waits_for("nothing")
    async def update(self, entities: Entities, *components: Component) -> None:
        """Stage new values for fields of components that one entity or many have; fields that are not given keep theirs.

        ``EntityNotFound`` for one that is not alive. To give an entity a component that it lacks, use ``add_components``.

        >>> await world.update(eid, Position(x=10.0))  # y stays
        """
        await self._do(Update(entities, components))

    @waits_for("nothing")
    @converts(data="_collected")
    async def update_table(self, data: Any, *, entities: Entities | None = None) -> None:
        """Stage new values for many entities, all or none: columns with a value for each of them, or one for all.

        Columns are named by ``Position.c.x`` or as stored, ``position__x``. ``entities`` are in the order of the rows; left
        out, the data has a column ``entity_id``. The fastest way to change many entities.

        >>> await world.update_table({Position.c.x: xs}, entities=ids)
        """
        if hasattr(data, "collect"):
            data = await asyncio.to_thread(data.to_arrow)
        await self._do(UpdateTable(data, entities))

    @waits_for("nothing")
    async def update_where(self, where: Expression, values: Mapping[Any, Any]) -> int:
        """Stage new values for all entities that meet a condition and have the columns; return how many they are.

        A value is one for all, or an expression over the entity's columns; both are evaluated on the last completed tick.

        >>> await world.update_where(Health.c.hp < 5, {Health.c.hp: Health.c.hp + 1})
        """
        return await self._do(UpdateWhere(where, values))

    @waits_for("nothing")
    async def add_components(self, entities: Entities, *components: Component) -> None:
        """Stage more components for one entity or many; those that they have already keep their values.

        ``EntityNotFound`` for one that is not alive.
        """
        await self._do(AddComponents(entities, components))

    @waits_for("nothing")
    async def remove_components(self, entities: Entities, *components: type[Component]) -> None:
        """Stage the removal of components from one entity or many; one that they lack is ignored.

        ``EntityNotFound`` for one that is not alive; removing the last component is an error: use ``despawn``.
        """
        await self._do(RemoveComponents(entities, components))

    @waits_for("nothing")
    async def send(self, recipient: int, body: Any, *, sender: int | None = None, kind: str = "") -> None:
        """Send a message to an entity: it is stored with the next tick and delivered to processors in the one after.

        ``body`` is JSON data; anything else is ``ValueRejected``.
        """
        await self._do(Send(recipient, body, sender, kind))

    @waits_for("nothing")
    async def custom(self, name: str, data: Any = None) -> None:
        """Have the world's handler of that name apply some JSON data at the next tick; ``NoHandler`` if there is none."""
        await self._do(Custom(name, data))

    @waits_for("nothing")
    async def add_processor(self, processor: Processor) -> ProcessorInfo:
        """Run a processor from the next tick on."""
        return await self._do(AddProcessor(processor))

    @waits_for("nothing")
    async def remove_processor(self, processor: Processor | type[Processor]) -> int:
        """Stop running a processor, or all of a class, earlier definitions of it too; return how many were removed."""
        return await self._do(RemoveProcessor(processor))

    @waits_for("nothing")
    async def add_resource(self, resource: object) -> ResourceInfo:
        """Share an object with processors. It replaces the resource of the same type."""
        return await self._do(AddResource(resource))

    @waits_for("nothing")
    async def remove_resource(self, resource: type) -> bool:
        """Remove the resource of a type; say whether there was one."""
        return await self._do(RemoveResource(resource))

    @waits_for("nothing")
    @converts(handler="_async_hook")
    async def add_hook(
        self, event: type[E], handler: Callable[[E], object], *, mode: Mode = "blocking", fail_fast: bool = False
    ) -> HookHandle:
        """Call a handler on every event of a type; its ``event.world`` is a handle for this one's actor.

        A hook that fails is logged and the tick goes on; with ``fail_fast=True`` it is ``HookError``. ``mode="spawn"`` runs the
        handler in the background.
        ``WorldNotActive`` before the first use: give the hooks to ``runtime.world(…, hooks=[…])``.

        >>> handle = await world.add_hook(PostTick, lambda event: print(event.tick))
        """
        self._world.require_ref("declare its first hooks with `runtime.world(…, hooks=[…])`, or use the world first")
        return await self._do(AddHook(event, self._world.state.with_handle(handler, self._actor), mode, fail_fast))

    @waits_for("nothing")
    async def remove_hook(self, handle: HookHandle) -> bool:
        """Stop calling a handler that ``add_hook`` registered; say whether it was registered."""
        return await self._do(RemoveHook(handle))

    @waits_for("nothing")
    async def add_handler(self, name: str, handler: CustomHandler) -> None:
        """Apply custom commands of a name with a function. It replaces the handler of the same name.

        The function gets a scope, which stages mutations, and the command's data.
        """
        await self._do(AddHandler(name, handler))

    @waits_for("tick")
    async def step(self, config: RunConfig | None = None, **inputs: Any) -> StepResult:
        """Run one tick and return when it is committed; keyword arguments go to the processors that name them.

        The tick is a transaction: a processor that raises is ``ProcessorError``, and nothing of the tick is visible.
        ``ReentrantStep`` from a hook or processor of this world.

        >>> await world.step(wind=3.0)
        """
        return await self._tick(Step(step_config(config), inputs))

    @waits_for("tick")
    async def run(self, steps: int | None = None, *, config: RunConfig | None = None, **inputs: Any) -> RunResult:
        """Run several ticks under one run id, by default one. Fails like ``step``; ticks before the failure stay."""
        config = run_config(steps, config)
        with self._world.state.bars.bar(self.name, config.steps) as progress:
            return await self._tick(Run(config, inputs, progress))

    @waits_for("tick")
    async def run_episode(self, config: EpisodeConfig | None = None) -> EpisodeResult:
        """Run this world as one episode, until its end or ``max_steps``, and score it if the configuration has a ``score``.

        A tick, predicate or score that fails is reported in the result: see ``error``, or call ``raise_if_failed``.
        """
        config = config_of(EpisodeConfig, config)
        with self._world.state.bars.bar(self.name, config.max_steps) as progress:
            return await self._tick(RunEpisode(config, progress))

    @waits_for("loop")
    async def run_rollout(self, config: RolloutConfig | None = None) -> RuntimeRollout:
        """Fork this world into episodes and run them, each with a seed of its own; this world does not change.

        An episode that fails is reported in the result, and the others go on. The forks are destroyed at the end, unless
        ``destroy_forks_on_complete=False``; their histories stay. With a ``name`` in the configuration, finished episodes
        are in the ledger: the same call after a crash runs only the others, and ``RolloutConflict`` says what is not the same.

        >>> rollout = await world.run_rollout(RolloutConfig(num_episodes=8, parallel=True))
        """
        config = config_of(RolloutConfig, config)
        with self._world.state.bars.bar(f"{self.name}: episodes", config.num_episodes) as progress:
            result = await self._do(RunRollout(config, progress))
        return RuntimeRollout(result, self._do)

    @waits_for("loop")
    async def fork(
        self,
        name: str | None = None,
        *,
        at_tick: int | None = None,
        resources: Literal["share", "copy"] | Mapping[type, object] = "share",
        rng: Literal["same", "fresh"] | int = "same",
        pending: Literal["refuse", "copy"] = "refuse",
        storage: Storage | None = None,
    ) -> RuntimeWorld:
        """Create a world that branches off from the last tick, or from ``at_tick``, and return its handle.

        History is shared, so forking costs the same however long it is; only a fork to another ``storage`` copies live rows.
        Processors are shared; ``resources`` says whether resources are shared, copied, or replaced by type. With
        ``rng="same"`` the fork draws the random numbers that this world draws, with ``"fresh"`` others. What processors
        staged in that tick comes along. What was staged since is ``PendingMutations``, unless ``pending="copy"``; a name in
        use is ``WorldExists``.

        >>> branch = await world.fork("branch", resources={Wind: Wind(2.0)})
        """
        info = await self._do(ForkWorld(name, at_tick, resources, rng, pending, storage_config(storage)))
        ref, state = WorldRef(info.world_id, info.name, self._actor), self._world.state
        if self._world.ref is not None:
            ref.parts = self._world.ref.parts
        if state.is_closing:
            # The runtime was shut down meanwhile and does not know this world.
            await state.end(ref, state.maintenance_actor, CloseWorld())
            raise RuntimeClosed
        state.live[ref.world_id] = ref
        return handle_of(state, ref, self._actor)

    @waits_for("tick")
    async def destroy(self) -> None:
        """Drop the live world and its queue, close all its handles and free its name. History and audit log stay."""
        await self.activate()
        await self._world.end(self._actor, DestroyWorld())

    @waits_for("tick")
    async def shutdown(self) -> None:
        """Close this world alone; idempotent. Declared again, it resumes at its last committed tick.

        A run that is under way ends with ``WorldClosed`` after a whole tick. ``ReentrantStep`` from inside its own tick.
        """
        await self._world.end(self._actor, CloseWorld())

    @door
    def as_actor(self, actor: ActorCtx) -> RuntimeWorld:
        """Return a handle of the same world for another actor. It does not authenticate that actor."""
        given: object = actor
        if not isinstance(given, ActorCtx):
            raise TypeError(f"actor is an ActorCtx, such as ActorCtx('ann', {{PLAYER}}), not {actor!r}")
        return RuntimeWorld(self._world, actor)


def _several(entities: Entities) -> tuple[Any, ...]:
    return tuple(entities) if isinstance(entities, Iterable) else (entities,)


def handle_of(state: RuntimeState, ref: WorldRef, actor: ActorCtx) -> RuntimeWorld:
    """Return a handle of a world that is up."""
    return RuntimeWorld(DeclaredWorld(state, ref.actor, WorldSpec(ref.name), ref), actor)


def handle_of_event(state: RuntimeState, world: Any, actor: ActorCtx) -> RuntimeWorld:
    """Return the handle that a hook gets for its event's world; worlds of episodes are known to the gate alone."""
    ref = state.live.get(world.world_id) or WorldRef(world.world_id, world.name, actor)
    return handle_of(state, ref, actor)
