"""A world as a script holds it: every method is one command through the gate, for the handle's actor."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from archetype.activation import Activation, ActiveWorld, CustomHandler, Declaration
from archetype.audit import audit_frame
from archetype.handle import Handle
from archetype.rollout import RuntimeRollout
from archetype.session import Session
from archetype.storage import Storage, storage_config
from archetype_core.command import (
    ActorCtx,
    AddComponents,
    AddHandler,
    AddHook,
    AddProcessor,
    AddResource,
    AuditFilter,
    CloseWorld,
    Custom,
    Despawn,
    DestroyWorld,
    Diff,
    Digest,
    EntityCommand,
    EpisodeConfig,
    EpisodeResult,
    ForkWorld,
    GetComponents,
    GetWorldInfo,
    HookInfo,
    ListHooks,
    ListProcessors,
    ListResources,
    ProcessorInfo,
    Query,
    QuerySnapshot,
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
    SearchWorld,
    Send,
    Spawn,
    SpawnMany,
    SpawnTable,
    Status,
    Step,
    StepResult,
    Ticket,
    Update,
    WorldInfo,
)
from archetype_core.config import RunConfig
from archetype_core.engine import Bundle, Event, Handler, HookHandle, Mode, Processor, conformed
from archetype_core.errors import RuntimeClosed
from archetype_core.schema import Archetype, Component

if TYPE_CHECKING:
    from daft import DataFrame
    from daft.expressions import Expression

    from archetype_core.read import Ticks

Moment: TypeAlias = "int | RuntimeWorld | tuple[RuntimeWorld, int]"
"""A tick of the world that is asked, another branch as it stands, or another branch at a tick."""


class RuntimeWorld(Handle):
    """One world, for one actor. The first use brings the world up; mutations apply at its next tick, reads see the last."""

    # Mutations.

    async def spawn(self, *components: Component) -> int:
        """Stage an entity and return the id that will materialize."""
        return await self._do(Spawn(components))

    async def spawn_many(self, bundles: Iterable[Bundle]) -> range:
        """Stage an entity per bundle of components, all or none, and return their ids in order."""
        made = tuple((one,) if isinstance(one, Component) else tuple(one) for one in bundles)
        return await self._do(SpawnMany(made))

    async def spawn_table(self, data: Any, *components: type[Component]) -> range:
        """Stage an entity per row of an Arrow table, DataFrame or mapping of columns, and return their ids in order."""
        if hasattr(data, "collect"):
            # A lazy frame runs its plan, which may take long.
            data = await asyncio.to_thread(data.to_arrow)
        archetype = Archetype.of(*components)
        return await self._do(SpawnTable(conformed(data, archetype), archetype))

    async def submit_spawn(self, *components: Component, tick: int | None = None, priority: int = 0) -> int:
        """Queue an entity for a tick and return its id, which is reserved now; it is on disk when this returns."""
        (ticket,) = await self._queue((Spawn(components),), tick, priority)
        return ticket.entity_ids[0]

    async def submit(self, command: EntityCommand[Any], *, tick: int | None = None, priority: int = 0) -> Ticket:
        """Queue a command, such as ``Update(…)``, for a tick; it is on disk when this returns, and applied exactly once."""
        (ticket,) = await self._queue((command,), tick, priority)
        return ticket

    async def submit_batch(
        self, commands: Iterable[EntityCommand[Any]], *, tick: int | None = None, priority: int = 0
    ) -> tuple[Ticket, ...]:
        """Queue several commands for a tick, all or none."""
        return await self._queue(tuple(commands), tick, priority)

    async def despawn(self, *entity_ids: int) -> None:
        """Stage the end of entities; one that is not alive is logged and ignored."""
        await self._do(Despawn(entity_ids))

    async def update(self, entity_id: int, *components: Component) -> None:
        """Lay the given fields over components that an entity has."""
        await self._do(Update(entity_id, components))

    async def add_components(self, entity_id: int, *components: Component) -> None:
        """Give an entity more components; those it has stay as they are."""
        await self._do(AddComponents(entity_id, components))

    async def remove_components(self, entity_id: int, *components: type[Component]) -> None:
        """Take components from an entity; the last one cannot go."""
        await self._do(RemoveComponents(entity_id, components))

    async def send(self, recipient: int, body: Any, *, sender: int | None = None, kind: str = "") -> None:
        """Send a message with the next tick, delivered to processors in the one after."""
        await self._do(Send(recipient, body, sender, kind))

    async def custom(self, name: str, data: Any = None) -> None:
        """Have the world's handler of that name apply some JSON data."""
        await self._do(Custom(name, data))

    # What acts in the world.

    async def add_processor(self, processor: Processor) -> ProcessorInfo:
        """Run a processor from the next tick on."""
        return await self._do(AddProcessor(processor))

    async def remove_processor(self, processor: Processor | type[Processor]) -> int:
        """Stop running a processor, or all of a class; returns how many there were."""
        return await self._do(RemoveProcessor(processor))

    async def list_processors(self) -> tuple[ProcessorInfo, ...]:
        """The world's processors in the order they run."""
        return await self._do(ListProcessors())

    async def add_resource(self, resource: object) -> ResourceInfo:
        """Share an object with processors, in place of the one of its type."""
        return await self._do(AddResource(resource))

    async def remove_resource(self, resource: type) -> bool:
        """Take away the resource of a type; says whether there was one."""
        return await self._do(RemoveResource(resource))

    async def list_resources(self) -> tuple[ResourceInfo, ...]:
        """The world's resources."""
        return await self._do(ListResources())

    async def add_hook(
        self, event: type[Event], handler: Handler, *, mode: Mode = "blocking", fail_fast: bool = False
    ) -> HookHandle:
        """Call a handler on every event of a type; its ``event.world`` is a handle for this one's actor.

        ``WorldNotActive`` before the first use: hooks of a declared world are declared with it.
        """
        self._activation.known("declare its first hooks with `runtime.world(…, hooks=[…])`, or use the world first")
        return await self._do(AddHook(event, self._session.observing(handler, self._actor), mode, fail_fast))

    async def remove_hook(self, handle: HookHandle) -> bool:
        """Stop calling what ``add_hook`` registered; says whether it was there."""
        return await self._do(RemoveHook(handle))

    async def list_hooks(self) -> tuple[HookInfo, ...]:
        """The world's hooks in the order they are called."""
        return await self._do(ListHooks())

    async def add_handler(self, name: str, handler: CustomHandler) -> None:
        """Let a function apply custom commands of a name, in place of the one that did."""
        await self._do(AddHandler(name, handler))

    # Simulation.

    async def step(self, config: RunConfig | None = None, **inputs: Any) -> StepResult:
        """Make one tick; keyword arguments go to the processors that name them."""
        return await self._tick(Step(config or RunConfig(), inputs))

    async def run(self, steps: int | None = None, *, config: RunConfig | None = None, **inputs: Any) -> RunResult:
        """Make several ticks under one run id, by default one."""
        config = config or RunConfig()
        if steps is not None:
            config = replace(config, steps=steps)
        with self._session.bars.bar(self.name, config.steps) as progress:
            return await self._tick(Run(config, inputs, progress))

    async def run_episode(self, config: EpisodeConfig | None = None) -> EpisodeResult:
        """Run this world as an episode, until its end or ``max_steps``; a failure is reported in the result."""
        config = config or EpisodeConfig()
        with self._session.bars.bar(self.name, config.max_steps) as progress:
            return await self._tick(RunEpisode(config, progress))

    async def run_rollout(self, config: RolloutConfig | None = None) -> RuntimeRollout:
        """Run forks of this world as episodes, each with a seed of its own; the world itself stays where it is."""
        config = config or RolloutConfig()
        with self._session.bars.bar(f"{self.name}: episodes", config.num_episodes) as progress:
            result = await self._do(RunRollout(config, progress))
        return RuntimeRollout(result, self._do)

    # Reads.

    async def query(
        self,
        *components: type[Component],
        ticks: Ticks = None,
        entity_ids: int | Iterable[int] | None = None,
        where: Expression | None = None,
        include_inactive: bool = False,
        lineage: bool = True,
    ) -> DataFrame:
        """History as a lazy DataFrame: base columns and those of the components, of every table that has them all.

        Default: every committed tick of this world and of the ancestors it grew from, active rows.
        """
        return await self._do(Query(components, ticks, entity_ids, where, include_inactive, lineage))

    async def snapshot(self, *components: type[Component], at: int | None = None) -> DataFrame:
        """One tick as a DataFrame; by default the last completed one."""
        return await self._do(QuerySnapshot(components, at))

    async def get(self, entity_id: int, *components: type[Component]) -> dict[type[Component], Component]:
        """A live entity's components by class, those asked for or all, as of the last completed tick."""
        found = await self.get_components(entity_id, *components)
        return dict(zip(components or map(type, found), found, strict=True))

    async def get_components(self, entity_id: int, *components: type[Component]) -> tuple[Component, ...]:
        """A live entity's components in the order asked for, or all it has; ``KeyError`` names one that it lacks."""
        return await self._do(GetComponents(entity_id, components))

    async def diff(self, before: Moment, after: Moment) -> DataFrame:
        """What differs between two moments: each a tick, another branch, or ``(branch, tick)``."""
        return await self._do(Diff(await self._moment(before), await self._moment(after)))

    async def _moment(self, moment: Moment) -> int | tuple[str, int | None]:
        if isinstance(moment, RuntimeWorld):
            return await moment.activate(), None
        if isinstance(moment, tuple):
            world, tick = moment
            return await world.activate(), tick
        return moment

    async def search(
        self,
        column: Any,
        query: str | Iterable[float],
        *,
        k: int = 10,
        at: int | None = None,
        where: Expression | None = None,
        metric: str = "cosine",
        exact: bool = True,
    ) -> DataFrame:
        """The ``k`` entities whose vector or text in a column, such as ``Memory.embedding``, is most like a query, best first.

        At the last completed tick or any earlier one. ``metric`` is ``cosine``, ``dot`` or ``l2``, for vectors; words rank by
        BM25. ``exact=False`` lets the store answer for a past tick from an index that may miss some of the best.
        ``UnsupportedCapability`` where the store cannot search.
        """
        asked = query if isinstance(query, str) else tuple(query)
        return await self._do(SearchWorld(column, asked, k, at, where, metric, exact))

    async def digest(self, at: int | None = None) -> str:
        """The canonical digest of a committed tick, by default the last: equal for equal contents, in any store."""
        return await self._do(Digest(at))

    async def info(self) -> WorldInfo:
        """The world as it stands."""
        return await self._do(GetWorldInfo())

    async def history(
        self,
        limit: int = 100,
        *,
        actor: str | None = None,
        type: str | None = None,  # noqa: A002  # reason: the name of the column
        status: Status | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        after: int | None = None,
        oldest_first: bool = False,
    ) -> DataFrame:
        """Audit rows of this world, newest first, a row for each command that anybody sent to it."""
        world_id = await self.activate()
        wanted = AuditFilter(world_id, actor, type, status, since, until, after, limit, oldest_first)
        return await audit_frame(wanted, self._do)

    # Beginning, branches and end.

    async def activate(self) -> str:
        """Bring the world up if it is not, as any other first use does, and return its id."""
        return (await self._activation.ready(self._session)).world_id

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
        """A handle of a new world that goes its own way from here, or from the end of an earlier tick."""
        info = await self._do(ForkWorld(name, at_tick, resources, rng, pending, storage_config(storage)))
        live = ActiveWorld(info.world_id, info.name, self._actor)
        session = self._session
        if session.is_closing:
            # The runtime went down meanwhile, and nobody else knows of this world.
            await session.end(live, session.keeper, CloseWorld())
            raise RuntimeClosed
        session.live[live.world_id] = live
        return handle_of(session, live, self._actor)

    async def destroy(self) -> None:
        """Drop the live world and its queue; every handle of it is invalid from then on. Rows and audit stay."""
        await self.activate()
        await self._activation.end(self._session, self._actor, DestroyWorld())

    async def shutdown(self) -> None:
        """Let go of this world and of nothing else; idempotent. It can be declared again and goes on where it was."""
        await self._activation.end(self._session, self._actor, CloseWorld())

    def as_actor(self, actor: ActorCtx) -> RuntimeWorld:
        """A handle of the same world for another actor."""
        return RuntimeWorld(self._session, self._activation, actor)


def handle_of(session: Session, live: ActiveWorld, actor: ActorCtx) -> RuntimeWorld:
    """A handle of a world that is up."""
    return RuntimeWorld(session, Activation(live.actor, Declaration(live.name), live), actor)


def handle_of_event(session: Session, world: Any, actor: ActorCtx) -> RuntimeWorld:
    """The handle that a hook gets in place of its event's world; those of episodes belong to the gate alone."""
    live = session.live.get(world.world_id) or ActiveWorld(world.world_id, world.name, actor)
    return handle_of(session, live, actor)
