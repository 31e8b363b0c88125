"""The runtime itself: owns a gate and declares worlds, from the first declaration to the shutdown of everything."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from archetype.audit import audit_frame
from archetype.declared_world import CustomHandler, DeclaredWorld, WorldSpec
from archetype.progress import ProgressBars
from archetype.runtime_state import RuntimeState, is_inside_tick
from archetype.storage import Storage, cache_config, default_storage, storage_config
from archetype.waits import converts, waits_for
from archetype.world import RuntimeWorld, handle_of, handle_of_event
from archetype_core.argument import listed
from archetype_core.clock import SystemIds
from archetype_core.command import (
    ADMIN,
    ActorCtx,
    ActorUsage,
    AuditFilter,
    AuditHead,
    CloseWorld,
    GetAuditHead,
    GetUsage,
    ListWorlds,
    RunResult,
    SealStorage,
    Status,
    WorldInfo,
)
from archetype_core.config import CacheConfig, RunConfig
from archetype_core.engine import Hook, Parts, Processor, hook_pairs
from archetype_core.errors import PermissionDenied, ReentrantStep
from archetype_core.schema import Component, checked_components
from archetype_core.user_traceback import door
from archetype_gate import Policy, Quotas, ServiceContainer

if TYPE_CHECKING:
    from daft import DataFrame

T = TypeVar("T")


class AsyncRuntime:
    """Owns one gate and the worlds behind it, and shuts them down at the end. Use it as a context manager.

    Making one does no I/O. ``storage`` and ``cache`` are for worlds declared without their own. Commands are sent for
    ``actor``, by default a new one with the role ``admin``; it has no quota unless ``quotas`` are given. ``ledger`` is the
    directory for the audit logs of storages that have no local path. ``ledger_key`` is the secret that makes changes of
    these logs evident, or the file with it; by default ``ledger.key`` beside each. ``progress`` says whether long runs draw
    progress bars, or how.
    """

    def __init__(
        self,
        storage: Storage | None = None,
        cache: CacheConfig | None = None,
        *,
        actor: ActorCtx | None = None,
        policy: Policy | None = None,
        quotas: Quotas | None = None,
        ledger: str | Path | None = None,
        ledger_key: str | Path | bytes | None = None,
        progress: bool | ProgressBars = True,
    ) -> None:
        self._storage = storage_config(storage)
        self._cache = cache_config(cache)
        if actor is not None and not isinstance(actor, ActorCtx):
            raise TypeError(f"actor is an ActorCtx, not {actor!r}")
        if quotas is not None and not isinstance(quotas, Quotas):
            raise TypeError(f"quotas are a Quotas, not {quotas!r}")
        self._actor = actor or ActorCtx(SystemIds().new(), {ADMIN})
        maintenance_actor = ActorCtx(f"runtime-{SystemIds().new()}", {ADMIN})
        quotas = quotas or Quotas(exempt=frozenset({self._actor.id}))
        quotas = replace(quotas, exempt=quotas.exempt | {maintenance_actor.id})
        self._container = ServiceContainer(policy=policy, quotas=quotas, ledger=ledger, ledger_key=ledger_key)
        bars = progress if isinstance(progress, ProgressBars) else ProgressBars(is_wanted=progress)
        self._state = RuntimeState(self._container.gate, maintenance_actor, bars, handle_of_event)
        self._declared: dict[tuple[object, ...], DeclaredWorld] = {}
        self._is_down = False

    @property
    def actor(self) -> ActorCtx:
        """The actor that handles act for, unless ``as_actor`` gives them another."""
        return self._actor

    def check_open(self) -> None:
        """Raise ``RuntimeClosed`` after the shutdown; a runtime is not used twice."""
        self._state.check_open()

    async def __aenter__(self) -> Self:
        self._state.check_open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.shutdown()

    def __repr__(self) -> str:
        state = "shut down" if self._state.is_closing else f"{len(self._state.live)} worlds up"
        return f"ArchetypeRuntime({state})"

    @door
    @converts(hooks="_async_hooks")
    def world(
        self,
        name: str = "world",
        *,
        storage: Storage | None = None,
        cache: CacheConfig | None = None,
        components: Iterable[type[Component]] | None = None,
        processors: Iterable[Processor] | None = None,
        resources: Iterable[object] | None = None,
        hooks: Iterable[Hook] | None = None,
        handlers: Mapping[str, CustomHandler] | None = None,
        seed: int | None = None,
        world_id: str | None = None,
        kernel: str = "python",
        resume: bool = True,
    ) -> RuntimeWorld:
        """Declare a world and return its handle. Does no I/O: the first use activates the world, once.

        If the storage has a world of that name or id, it is resumed, unless ``resume=False``: then the first use is
        ``WorldExists``.

        Declaring the same world again, as a notebook cell that runs twice does, gives another handle of it. Each of
        ``components``, ``processors``, ``resources``, ``hooks`` and ``handlers`` that is given then replaces what it declared
        before, from the next tick after the world's next use on; what is not given stays, and so does what was added by
        methods. If a new part is refused, that use raises, and the old ones stay. Another seed or id is a ``ValueError``.

        A resumed world's live rows evolve to the component classes that its processors and ``components`` name. A
        difference that a class does not declare in an ``Evolution`` is a ``SchemaMismatch`` at the first use.

        >>> world = runtime.world("demo", processors=[Movement()], hooks=[(PreTick, print)], seed=7)
        """
        spec = WorldSpec(
            name=_text("name", name),
            storage=storage_config(storage) or self._storage,
            cache=cache_config(cache),
            parts=_parts(components, processors, resources, hooks, handlers),
            seed=seed,
            world_id=None if world_id is None else _text("world_id", str(world_id)),
            kernel=kernel,
            resume=resume,
        )
        return self._declare(spec)

    @door
    @converts(hooks="_async_hooks")
    def open(
        self,
        world: str,
        *,
        storage: Storage | None = None,
        cache: CacheConfig | None = None,
        components: Iterable[type[Component]] | None = None,
        processors: Iterable[Processor] | None = None,
        resources: Iterable[object] | None = None,
        hooks: Iterable[Hook] | None = None,
        handlers: Mapping[str, CustomHandler] | None = None,
        kernel: str = "python",
    ) -> RuntimeWorld:
        """Return a handle of an existing world, by name or id. Its first use is ``WorldNotFound`` if there is none.

        A place without a store is ``StorageNotFound``, and nothing is created there.

        >>> world = runtime.open("demo", storage="journal:./history")
        """
        spec = WorldSpec(
            name=_text("name or id", world),
            storage=storage_config(storage) or self._storage,
            cache=cache_config(cache),
            parts=_parts(components, processors, resources, hooks, handlers),
            kernel=kernel,
            must_exist=True,
        )
        return self._declare(spec)

    def _declare(self, spec: WorldSpec) -> RuntimeWorld:
        self._state.check_open()
        self._declared = {key: one for key, one in self._declared.items() if one.ref is None or not one.ref.is_ended}
        storage = spec.storage
        place = None if storage is None else (storage.uri, storage.namespace, storage.backend)
        key = (place, spec.name)
        declared = self._declared.get(key)
        may_replace = declared is not None and declared.has_failed and not spec.only_names
        if declared is None or declared.is_ended or may_replace:
            chosen = spec if spec.cache else replace(spec, cache=self._cache)
            declared = self._declared[key] = DeclaredWorld(self._state, self._actor, chosen)
        else:
            declared.declare_again(spec)
        return RuntimeWorld(declared, self._actor)

    @waits_for("threads")
    async def worlds(self, storage: Storage | None = None) -> tuple[WorldInfo, ...]:
        """List the worlds of a storage, by default the runtime's; without any storage, those that are up.

        A place without a store is ``StorageNotFound``, and nothing is created there.
        """
        self._state.check_open()
        return await self._state.execute(self._actor, ListWorlds(storage_config(storage) or self._storage))

    @waits_for("threads")
    async def seal(self, storage: Storage | None = None) -> int:
        """Hand every tick that waits in a storage's journal to the store behind it, and return how many there were.

        They are in that store, and on disk, when this returns. Without an argument the runtime's storage is sealed. Worlds that
        another process writes are left to that process. A place without a store is ``StorageNotFound``.

        >>> await runtime.seal()
        """
        self._state.check_open()
        place = storage_config(storage) or self._storage or default_storage()
        return await self._state.execute(self._actor, SealStorage(place))

    @waits_for("loop")
    async def run_all(
        self, steps: int | None = None, *, config: RunConfig | None = None, **inputs: Any
    ) -> tuple[RunResult, ...]:
        """Run every world of this runtime side by side, declared ones and forks too, and return their results.

        When some fail, the others still finish; then the errors are raised as one exception group.
        Inputs go to every world, so each must have a processor that takes them.

        >>> await runtime.run_all(steps=10)
        """
        state = self._state
        state.check_open()
        handles = [
            RuntimeWorld(one, one.actor) for one in self._declared.values() if one.ref is None and not one.is_ended
        ]
        for handle in handles:
            await handle.info()
        worlds = [handle_of(state, ref, ref.actor) for ref in tuple(state.live.values())]
        runs = [world.run(steps, config=config, **inputs) for world in worlds]
        return tuple(_all("runs failed", await asyncio.gather(*runs, return_exceptions=True)))

    @waits_for("threads")
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
        """Read the audit log of everything that passed this runtime's gate, newest first.

        ``after`` is the ``seq`` of the last row seen, to read on from there.
        """
        self._state.check_open()
        wanted = AuditFilter(None, actor, type, status, since, until, after, limit, oldest_first)
        return await audit_frame(wanted, lambda command: self._state.execute(self._actor, command))

    @waits_for("threads")
    async def audit_head(self) -> AuditHead:
        """Return the end of the audit log. Keep it elsewhere: ``verify(head=…)`` tells if the log was cut back or rewritten.

        With several storages this is the log of the first that was opened.
        """
        self._state.check_open()
        return await self._state.execute(self._actor, GetAuditHead())

    @waits_for("threads")
    async def usage(self, actor: str | None = None) -> ActorUsage:
        """Return what an actor has used of its quotas, by default the runtime's own: credits of today, commands by world.

        Only admins may ask for another actor, by its id.

        >>> (await runtime.usage()).credits_used
        """
        self._state.check_open()
        return await self._state.execute(self._actor, GetUsage(actor))

    @waits_for("shutdown")
    async def shutdown(self) -> None:
        """Close all worlds, the last one first, then the gate; idempotent.

        Everything is tried, then the errors are raised as one exception group. ``ReentrantStep`` from a hook or processor.
        """
        if self._is_down:
            return
        state = self._state
        for ref in state.live.values():
            if is_inside_tick(ref.world_id):
                info = state.gate.peek(state.maintenance_actor, ref.world_id)
                remedy = "shut the runtime down from outside, when the tick is over"
                raise ReentrantStep(ref.name, 0 if info is None else info.tick, remedy)
        state.is_closing = True
        failures: list[BaseException] = []
        for declared in tuple(self._declared.values()):
            if declared.ref is None:
                await _attempt(failures, declared.end(state.maintenance_actor, CloseWorld()))
        for ref in reversed(tuple(state.live.values())):
            await _attempt(failures, state.end(ref, state.maintenance_actor, CloseWorld()))
        await _attempt(failures, self._container.shutdown())
        self._is_down = not failures
        _all("shutdown failed", failures)


async def _attempt(failures: list[BaseException], ending: Awaitable[object]) -> None:
    """Await one step of a shutdown and collect its error, so that the next step is tried too."""
    try:
        await ending
    except PermissionDenied:
        # A policy of the user's may grant nothing to admins; the gate closes the world when it closes.
        pass
    except Exception as failure:  # noqa: BLE001  # reason: raised together, after everything was tried
        failures.append(failure)


def _all(message: str, outcomes: Iterable[T | BaseException]) -> list[T]:
    """Return the outcomes, or raise those that are errors as one group."""
    kept = list(outcomes)
    if failures := [one for one in kept if isinstance(one, BaseException)]:
        raise BaseExceptionGroup(message, failures)
    return [one for one in kept if not isinstance(one, BaseException)]


def _parts(
    components: Iterable[type[Component]] | None,
    processors: Iterable[Processor] | None,
    resources: Iterable[object] | None,
    hooks: Iterable[Hook] | None,
    handlers: Mapping[str, CustomHandler] | None,
) -> Parts:
    """The parts that the keywords of a declaration give."""
    return Parts(
        components=None if components is None else checked_components(listed("components", components), "components"),
        processors=None if processors is None else listed("processors", processors),
        resources=None if resources is None else listed("resources", resources),
        hooks=None if hooks is None else hook_pairs(hooks),
        handlers=None if handlers is None else dict(handlers),
    )


def _text(what: str, given: object) -> str:
    if not isinstance(given, str) or not given:
        raise ValueError(f"a world's {what} is a non-empty string, not {given!r}")
    return given
