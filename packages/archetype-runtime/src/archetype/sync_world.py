"""A world without ``await``: every method of ``RuntimeWorld``, on the event loop of a sync runtime."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from archetype.activation import CustomHandler
from archetype.portal import Portal, Wait
from archetype.rollout import Rollout, RuntimeRollout
from archetype.session import named_like
from archetype.storage import Storage
from archetype.world import RuntimeWorld
from archetype_core.command import (
    ActorCtx,
    EntityCommand,
    EpisodeConfig,
    EpisodeResult,
    HookInfo,
    ProcessorInfo,
    ResourceInfo,
    RolloutConfig,
    RunResult,
    Status,
    StepResult,
    Ticket,
    WorldInfo,
)
from archetype_core.config import RunConfig
from archetype_core.engine import Bundle, Event, Handler, HookHandle, Mode, Processor
from archetype_core.errors import LoopBusy
from archetype_core.schema import Component

if TYPE_CHECKING:
    from daft import DataFrame
    from daft.expressions import Expression

    from archetype_core.read import Ticks

T = TypeVar("T")
SyncMoment: TypeAlias = "int | SyncRuntimeWorld | tuple[SyncRuntimeWorld, int]"


class SyncRuntimeRollout(Rollout):
    """A rollout, and the way to the histories of its episodes, without ``await``."""

    def __init__(self, rollout: RuntimeRollout, portal: Portal) -> None:
        super().__init__(rollout.result)
        self._rollout = rollout
        self._portal = portal

    def query(
        self,
        *components: type[Component],
        ticks: Ticks = None,
        entity_ids: int | Iterable[int] | None = None,
        where: Expression | None = None,
        include_inactive: bool = False,
        lineage: bool = False,
    ) -> DataFrame:
        asked = self._rollout.query(
            *components,
            ticks=ticks,
            entity_ids=entity_ids,
            where=where,
            include_inactive=include_inactive,
            lineage=lineage,
        )
        return self._portal.call(asked, Wait.THREAD)


class SyncRuntimeWorld:
    """One world, for one actor. The first use brings the world up; mutations apply at its next tick, reads see the last.

    Each method does what its twin of ``RuntimeWorld`` does. It may be called from any thread, and from hooks and processors.
    """

    def __init__(self, world: RuntimeWorld, portal: Portal) -> None:
        self._world = world
        self._portal = portal

    @property
    def name(self) -> str:
        """The world's name, known before it is active."""
        return self._world.name

    @property
    def world_id(self) -> str:
        """The world's id; ``WorldNotActive`` before its first use."""
        return self._world.world_id

    @property
    def actor(self) -> ActorCtx:
        """Whom every command of this handle is sent for."""
        return self._world.actor

    @property
    def is_active(self) -> bool:
        """Whether the world has been brought up, and was not taken down again."""
        return self._world.is_active

    def __repr__(self) -> str:
        return f"Sync{self._world!r}"

    def _repr_html_(self) -> str:
        return self._world._repr_html_()

    def _now(self, work: Coroutine[Any, Any, T]) -> T:
        """Do what the gate does without waiting; the first use of a world may have to wait for others."""
        return self._portal.call(work, Wait.NOTHING if self.is_active else Wait.TURN)

    def _threaded(self, work: Coroutine[Any, Any, T]) -> T:
        """Do what waits for files and queries."""
        return self._portal.call(work, Wait.THREAD if self.is_active else Wait.TURN)

    def _ticking(self, work: Coroutine[Any, Any, T]) -> T:
        """Do what takes turns with ticks; from inside one there is no waiting for it."""
        if self._portal.is_led_here:
            work.close()
            self._world.check_outside()
            raise LoopBusy
        return self._portal.call(work)

    # Mutations.

    def spawn(self, *components: Component) -> int:
        return self._now(self._world.spawn(*components))

    def spawn_many(self, bundles: Iterable[Bundle]) -> range:
        return self._now(self._world.spawn_many(bundles))

    def spawn_table(self, data: Any, *components: type[Component]) -> range:
        # A lazy frame runs here: the caller's thread waits for it anyway.
        given = data.to_arrow() if hasattr(data, "collect") else data
        return self._now(self._world.spawn_table(given, *components))

    def submit_spawn(self, *components: Component, tick: int | None = None, priority: int = 0) -> int:
        return self._threaded(self._world.submit_spawn(*components, tick=tick, priority=priority))

    def submit(self, command: EntityCommand[Any], *, tick: int | None = None, priority: int = 0) -> Ticket:
        return self._threaded(self._world.submit(command, tick=tick, priority=priority))

    def submit_batch(
        self, commands: Iterable[EntityCommand[Any]], *, tick: int | None = None, priority: int = 0
    ) -> tuple[Ticket, ...]:
        return self._threaded(self._world.submit_batch(commands, tick=tick, priority=priority))

    def despawn(self, *entity_ids: int) -> None:
        self._now(self._world.despawn(*entity_ids))

    def update(self, entity_id: int, *components: Component) -> None:
        self._now(self._world.update(entity_id, *components))

    def add_components(self, entity_id: int, *components: Component) -> None:
        self._now(self._world.add_components(entity_id, *components))

    def remove_components(self, entity_id: int, *components: type[Component]) -> None:
        self._now(self._world.remove_components(entity_id, *components))

    def send(self, recipient: int, body: Any, *, sender: int | None = None, kind: str = "") -> None:
        self._now(self._world.send(recipient, body, sender=sender, kind=kind))

    def custom(self, name: str, data: Any = None) -> None:
        self._now(self._world.custom(name, data))

    # What acts in the world.

    def add_processor(self, processor: Processor) -> ProcessorInfo:
        return self._now(self._world.add_processor(processor))

    def remove_processor(self, processor: Processor | type[Processor]) -> int:
        return self._now(self._world.remove_processor(processor))

    def list_processors(self) -> tuple[ProcessorInfo, ...]:
        return self._now(self._world.list_processors())

    def add_resource(self, resource: object) -> ResourceInfo:
        return self._now(self._world.add_resource(resource))

    def remove_resource(self, resource: type) -> bool:
        return self._now(self._world.remove_resource(resource))

    def list_resources(self) -> tuple[ResourceInfo, ...]:
        return self._now(self._world.list_resources())

    def add_hook(
        self, event: type[Event], handler: Handler, *, mode: Mode = "blocking", fail_fast: bool = False
    ) -> HookHandle:
        told = observing(handler, self._portal)
        return self._now(self._world.add_hook(event, told, mode=mode, fail_fast=fail_fast))

    def remove_hook(self, handle: HookHandle) -> bool:
        return self._now(self._world.remove_hook(handle))

    def list_hooks(self) -> tuple[HookInfo, ...]:
        return self._now(self._world.list_hooks())

    def add_handler(self, name: str, handler: CustomHandler) -> None:
        self._now(self._world.add_handler(name, handler))

    # Simulation.

    def step(self, config: RunConfig | None = None, **inputs: Any) -> StepResult:
        return self._ticking(self._world.step(config, **inputs))

    def run(self, steps: int | None = None, *, config: RunConfig | None = None, **inputs: Any) -> RunResult:
        return self._ticking(self._world.run(steps, config=config, **inputs))

    def run_episode(self, config: EpisodeConfig | None = None) -> EpisodeResult:
        return self._ticking(self._world.run_episode(config))

    def run_rollout(self, config: RolloutConfig | None = None) -> SyncRuntimeRollout:
        return SyncRuntimeRollout(self._portal.call(self._world.run_rollout(config)), self._portal)

    # Reads.

    def query(
        self,
        *components: type[Component],
        ticks: Ticks = None,
        entity_ids: int | Iterable[int] | None = None,
        where: Expression | None = None,
        include_inactive: bool = False,
        lineage: bool = True,
    ) -> DataFrame:
        asked = self._world.query(
            *components,
            ticks=ticks,
            entity_ids=entity_ids,
            where=where,
            include_inactive=include_inactive,
            lineage=lineage,
        )
        return self._threaded(asked)

    def snapshot(self, *components: type[Component], at: int | None = None) -> DataFrame:
        return self._threaded(self._world.snapshot(*components, at=at))

    def get(self, entity_id: int, *components: type[Component]) -> dict[type[Component], Component]:
        return self._now(self._world.get(entity_id, *components))

    def get_components(self, entity_id: int, *components: type[Component]) -> tuple[Component, ...]:
        return self._now(self._world.get_components(entity_id, *components))

    def diff(self, before: SyncMoment, after: SyncMoment) -> DataFrame:
        return self._threaded(self._world.diff(_moment(before), _moment(after)))

    def search(
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
        return self._threaded(self._world.search(column, query, k=k, at=at, where=where, metric=metric, exact=exact))

    def digest(self, at: int | None = None) -> str:
        return self._threaded(self._world.digest(at))

    def info(self) -> WorldInfo:
        return self._now(self._world.info())

    def history(
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
        asked = self._world.history(
            limit,
            actor=actor,
            type=type,
            status=status,
            since=since,
            until=until,
            after=after,
            oldest_first=oldest_first,
        )
        return self._threaded(asked)

    # Beginning, branches and end.

    def activate(self) -> str:
        return self._portal.call(self._world.activate())

    def fork(
        self,
        name: str | None = None,
        *,
        at_tick: int | None = None,
        resources: Literal["share", "copy"] | Mapping[type, object] = "share",
        rng: Literal["same", "fresh"] | int = "same",
        pending: Literal["refuse", "copy"] = "refuse",
        storage: Storage | None = None,
    ) -> SyncRuntimeWorld:
        forked = self._world.fork(name, at_tick=at_tick, resources=resources, rng=rng, pending=pending, storage=storage)
        return SyncRuntimeWorld(self._portal.call(forked), self._portal)

    def destroy(self) -> None:
        self._ticking(self._world.destroy())

    def shutdown(self) -> None:
        self._ticking(self._world.shutdown())

    def as_actor(self, actor: ActorCtx) -> SyncRuntimeWorld:
        return SyncRuntimeWorld(self._world.as_actor(actor), self._portal)


def observing(handler: Handler, portal: Portal) -> Handler:
    """The handler of a hook, told of events whose ``world`` is a sync handle."""

    def observe(event: Event) -> Any:
        return handler(replace(event, world=SyncRuntimeWorld(event.world, portal)))

    return named_like(handler, observe)


def _moment(moment: SyncMoment) -> int | RuntimeWorld | tuple[RuntimeWorld, int]:
    if isinstance(moment, SyncRuntimeWorld):
        return moment._world  # noqa: SLF001  # reason: the twin of a sync handle
    if isinstance(moment, tuple):
        world, tick = moment
        return world._world, tick  # noqa: SLF001  # reason: the twin of a sync handle
    return moment
