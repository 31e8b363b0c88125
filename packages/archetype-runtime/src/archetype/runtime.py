"""The script boundary: owns the process's side of things, from the first declaration of a world to the last shutdown."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from archetype.activation import Activation, CustomHandler, Declaration
from archetype.audit import audit_frame
from archetype.progress import Bars
from archetype.session import Session, is_ticking
from archetype.storage import Storage, cache_config, storage_config
from archetype.world import RuntimeWorld, handle_of, handle_of_event
from archetype_core.clock import SystemIds
from archetype_core.command import ADMIN, ActorCtx, AuditFilter, CloseWorld, ListWorlds, RunResult, Status, WorldInfo
from archetype_core.config import CacheConfig, RunConfig
from archetype_core.engine import Event, Handler, Processor
from archetype_core.errors import PermissionDenied, ReentrantStep
from archetype_gate import Policy, Quotas, ServiceContainer

if TYPE_CHECKING:
    from daft import DataFrame

    from archetype.sync import SyncArchetypeRuntime

T = TypeVar("T")


class ArchetypeRuntime:
    """Owns one gate and the worlds behind it; making one does no I/O. Use it as an async context manager.

    Its own actor, by default a new one with the role ``admin``, has no quota unless ``quotas`` says so. ``storage`` and
    ``cache`` are for worlds that name none.
    """

    def __init__(
        self,
        storage: Storage | None = None,
        cache: CacheConfig | None = None,
        *,
        actor: ActorCtx | None = None,
        policy: Policy | None = None,
        quotas: Quotas | None = None,
        ledger: Any = None,
        progress: bool = True,
    ) -> None:
        self._storage = storage_config(storage)
        self._cache = cache_config(cache)
        if actor is not None and not isinstance(actor, ActorCtx):
            raise TypeError(f"actor is an ActorCtx, not {actor!r}")
        if quotas is not None and not isinstance(quotas, Quotas):
            raise TypeError(f"quotas are a Quotas, not {quotas!r}")
        self._actor = actor or ActorCtx(SystemIds().new(), {ADMIN})
        keeper = ActorCtx(f"runtime-{SystemIds().new()}", {ADMIN})
        quotas = quotas or Quotas(exempt=frozenset({self._actor.id}))
        quotas = replace(quotas, exempt=quotas.exempt | {keeper.id})
        self._container = ServiceContainer(policy=policy, quotas=quotas, ledger=ledger)
        self._session = Session(self._container.gate, keeper, Bars(is_wanted=progress), handle_of_event)
        self._is_down = False

    @staticmethod
    def sync(
        storage: Storage | None = None,
        cache: CacheConfig | None = None,
        *,
        actor: ActorCtx | None = None,
        policy: Policy | None = None,
        quotas: Quotas | None = None,
        ledger: Any = None,
        progress: bool = True,
    ) -> SyncArchetypeRuntime:
        """The same without ``await``, on an event loop of its own."""
        from archetype.sync import SyncArchetypeRuntime

        return SyncArchetypeRuntime(
            storage, cache, actor=actor, policy=policy, quotas=quotas, ledger=ledger, progress=progress
        )

    @property
    def actor(self) -> ActorCtx:
        """Whom handles act for, unless they are told otherwise."""
        return self._actor

    def check_open(self) -> None:
        """``RuntimeClosed`` after the end; a runtime is not used twice."""
        self._session.check_open()

    async def __aenter__(self) -> Self:
        self._session.check_open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.shutdown()

    def __repr__(self) -> str:
        state = "shut down" if self._session.is_closing else f"{len(self._session.live)} worlds up"
        return f"{type(self).__name__}({state})"

    def world(
        self,
        name: str = "world",
        *,
        storage: Storage | None = None,
        cache: CacheConfig | None = None,
        processors: Iterable[Processor] = (),
        resources: Iterable[object] = (),
        hooks: Iterable[tuple[type[Event], Handler]] = (),
        handlers: Mapping[str, CustomHandler] | None = None,
        seed: int | None = None,
        world_id: str | None = None,
        kernel: str = "python",
        resume: bool = True,
    ) -> RuntimeWorld:
        """Declare a world and return its handle; the first use brings it up, once.

        A world of that name or id that the storage has is gone on with, unless ``resume=False``, which makes that a
        ``WorldExists``. The same world declared again gives another handle of it, and cannot be configured anew.
        """
        declaration = Declaration(
            name=_text("name", name),
            storage=storage_config(storage) or self._storage,
            cache=cache_config(cache),
            processors=tuple(processors),
            resources=tuple(resources),
            hooks=tuple((event, handler) for event, handler in hooks),
            handlers=dict(handlers or {}),
            seed=seed,
            world_id=None if world_id is None else _text("world_id", str(world_id)),
            kernel=kernel,
            resume=resume,
        )
        return self._declare(declaration)

    def open(
        self,
        world: str,
        *,
        storage: Storage | None = None,
        cache: CacheConfig | None = None,
        processors: Iterable[Processor] = (),
        resources: Iterable[object] = (),
        hooks: Iterable[tuple[type[Event], Handler]] = (),
        handlers: Mapping[str, CustomHandler] | None = None,
        kernel: str = "python",
    ) -> RuntimeWorld:
        """A handle of a world that the storage has, by name or id; its first use is ``WorldNotFound`` if there is none."""
        declaration = Declaration(
            name=_text("name or id", world),
            storage=storage_config(storage) or self._storage,
            cache=cache_config(cache),
            processors=tuple(processors),
            resources=tuple(resources),
            hooks=tuple((event, handler) for event, handler in hooks),
            handlers=dict(handlers or {}),
            kernel=kernel,
            is_there=True,
        )
        return self._declare(declaration)

    def _declare(self, declaration: Declaration) -> RuntimeWorld:
        session = self._session
        session.check_open()
        storage = declaration.storage
        place = None if storage is None else (storage.uri, storage.namespace, storage.backend)
        key = (place, declaration.name)
        activation = session.declared.get(key)
        may_replace = activation is not None and activation.has_failed and not declaration.is_bare
        if activation is None or activation.is_ended or may_replace:
            chosen = declaration if declaration.cache else replace(declaration, cache=self._cache)
            activation = session.declared[key] = Activation(self._actor, chosen)
        elif not declaration.is_bare:
            raise ValueError(
                f"world {declaration.name!r} is declared already: call runtime.world({declaration.name!r}) without "
                "configuration for another handle, or shut the first one down before declaring it anew"
            )
        return RuntimeWorld(session, activation, self._actor)

    async def worlds(self, storage: Storage | None = None) -> tuple[WorldInfo, ...]:
        """The worlds of a storage, up or not; without one, those of the runtime's storage or, by default, those that are up."""
        self._session.check_open()
        return await self._session.execute(self._actor, ListWorlds(storage_config(storage) or self._storage))

    async def run_all(
        self, steps: int | None = None, *, config: RunConfig | None = None, **inputs: Any
    ) -> tuple[RunResult, ...]:
        """Run every world of this runtime at the same time, forks too; errors come together when all have ended."""
        session = self._session
        session.check_open()
        handles = [
            RuntimeWorld(session, one, one.actor)
            for one in session.declared.values()
            if one.live is None and not one.is_ended
        ]
        for handle in handles:
            await handle.info()
        worlds = [handle_of(session, live, live.actor) for live in tuple(session.live.values())]
        runs = [world.run(steps, config=config, **inputs) for world in worlds]
        return tuple(_all("runs failed", await asyncio.gather(*runs, return_exceptions=True)))

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
        """Audit rows of everything that passed this runtime's gate, newest first."""
        self._session.check_open()
        wanted = AuditFilter(None, actor, type, status, since, until, after, limit, oldest_first)
        return await audit_frame(wanted, lambda command: self._session.execute(self._actor, command))

    async def shutdown(self) -> None:
        """Take all worlds down, the last one first, then the gate; idempotent. Errors come together when all is done."""
        if self._is_down:
            return
        session = self._session
        for live in session.live.values():
            if is_ticking(live.world_id):
                info = session.gate.peek(session.keeper, live.world_id)
                remedy = "shut the runtime down from outside, when the tick is over"
                raise ReentrantStep(live.name, 0 if info is None else info.tick, remedy)
        session.is_closing = True
        failures: list[BaseException] = []
        for activation in tuple(session.declared.values()):
            if activation.live is None:
                await _attempt(failures, activation.end(session, session.keeper, CloseWorld()))
        for live in reversed(tuple(session.live.values())):
            await _attempt(failures, session.end(live, session.keeper, CloseWorld()))
        await _attempt(failures, self._container.shutdown())
        self._is_down = not failures
        _all("shutdown failed", failures)


async def _attempt(failures: list[BaseException], ending: Awaitable[object]) -> None:
    """Go on with the next world whatever becomes of this one."""
    try:
        await ending
    except PermissionDenied:
        # A policy of the caller's may know no admin; the gate takes the world down with itself.
        pass
    except Exception as failure:  # noqa: BLE001  # reason: raised together, after everything was tried
        failures.append(failure)


def _all(message: str, outcomes: Iterable[T | BaseException]) -> list[T]:
    """The outcomes, unless some are errors: those are raised together."""
    kept = list(outcomes)
    if failures := [one for one in kept if isinstance(one, BaseException)]:
        raise BaseExceptionGroup(message, failures)
    return [one for one in kept if not isinstance(one, BaseException)]


def _text(what: str, given: object) -> str:
    if not isinstance(given, str) or not given:
        raise ValueError(f"a world's {what} is a non-empty string, not {given!r}")
    return given
