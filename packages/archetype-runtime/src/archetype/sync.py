"""The runtime without ``await``, on an event loop of its own that no other code shares."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from archetype.activation import CustomHandler
from archetype.portal import Portal, Wait
from archetype.runtime import ArchetypeRuntime
from archetype.storage import Storage
from archetype.sync_world import SyncRuntimeWorld, observing
from archetype_core.command import ActorCtx, RunResult, Status, WorldInfo
from archetype_core.config import CacheConfig, RunConfig
from archetype_core.engine import Event, Handler, Processor
from archetype_gate import Policy, Quotas

if TYPE_CHECKING:
    from daft import DataFrame

T = TypeVar("T")


class SyncArchetypeRuntime:
    """Owns one gate and the worlds behind it, for scripts without ``await``. Use it as a context manager.

    Each method does what its twin of ``ArchetypeRuntime`` does. The event loop is made on first use and ends with
    ``shutdown``; it runs only while a call waits for it, in the thread of that call.
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
        self._runtime = ArchetypeRuntime(
            storage, cache, actor=actor, policy=policy, quotas=quotas, ledger=ledger, progress=progress
        )
        self._portal = Portal()

    @property
    def actor(self) -> ActorCtx:
        """Whom handles act for, unless they are told otherwise."""
        return self._runtime.actor

    def __enter__(self) -> Self:
        self._runtime.check_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()

    def __repr__(self) -> str:
        return f"Sync{self._runtime!r}"

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
    ) -> SyncRuntimeWorld:
        world = self._runtime.world(
            name,
            storage=storage,
            cache=cache,
            processors=processors,
            resources=resources,
            hooks=[(event, observing(handler, self._portal)) for event, handler in hooks],
            handlers=handlers,
            seed=seed,
            world_id=world_id,
            kernel=kernel,
            resume=resume,
        )
        return SyncRuntimeWorld(world, self._portal)

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
    ) -> SyncRuntimeWorld:
        opened = self._runtime.open(
            world,
            storage=storage,
            cache=cache,
            processors=processors,
            resources=resources,
            hooks=[(event, observing(handler, self._portal)) for event, handler in hooks],
            handlers=handlers,
            kernel=kernel,
        )
        return SyncRuntimeWorld(opened, self._portal)

    def worlds(self, storage: Storage | None = None) -> tuple[WorldInfo, ...]:
        return self._portal.call(self._runtime.worlds(storage), Wait.THREAD)

    def run_all(
        self, steps: int | None = None, *, config: RunConfig | None = None, **inputs: Any
    ) -> tuple[RunResult, ...]:
        return self._portal.call(self._runtime.run_all(steps, config=config, **inputs))

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
        asked = self._runtime.history(
            limit,
            actor=actor,
            type=type,
            status=status,
            since=since,
            until=until,
            after=after,
            oldest_first=oldest_first,
        )
        return self._portal.call(asked, Wait.THREAD)

    def shutdown(self) -> None:
        if self._portal.is_closed or self._portal.is_copy:
            return
        try:
            self._portal.call(self._runtime.shutdown())
        finally:
            if not self._portal.is_led_here:
                self._portal.close()


def run_sync(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a new event loop. It makes no runtime: the coroutine owns the one that it uses.

    ``RuntimeError`` where a loop runs already: ``await`` the coroutine there.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            return runner.run(work)
    work.close()
    raise RuntimeError("run_sync() was called inside a running event loop: await the coroutine instead")
