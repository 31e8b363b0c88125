"""Lifecycle events of a world and the handlers that observe them.

Hooks observe: a handler that fails is logged and counted, and the tick goes on, unless it was registered with
``fail_fast=True``. Handlers of one event run in the order they were registered.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from archetype_core import telemetry
from archetype_core.errors import HookError
from archetype_core.schema.archetype import Archetype
from archetype_core.schema.snapshot import Snapshot

if TYPE_CHECKING:
    from archetype_core.engine.tick import Outcome


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens to a world; ``world`` is its handle."""

    world: Any
    tick: int


@dataclass(frozen=True, slots=True)
class PreTick(Event):
    """A tick is about to run."""

    run_id: str


@dataclass(frozen=True, slots=True)
class PostTick(Event):
    """A tick is committed. ``results`` are its materialized live tables by name; reading them runs nothing again."""

    run_id: str
    results: Mapping[str, Snapshot]


@dataclass(frozen=True, slots=True)
class EntityEvent(Event):
    """Something that happened to entities of one archetype in a committed tick, told once per archetype."""

    entity_ids: tuple[int, ...]
    archetype: Archetype

    @property
    def entity_id(self) -> int:
        """The entity, when there is exactly one."""
        (only,) = self.entity_ids
        return only


@dataclass(frozen=True, slots=True)
class OnSpawn(EntityEvent):
    """Entities materialized for the first time."""


@dataclass(frozen=True, slots=True)
class OnDespawn(EntityEvent):
    """Entities left the world; ``archetype`` is the one they had."""


@dataclass(frozen=True, slots=True)
class OnComponentAdded(EntityEvent):
    """Entities gained components; ``archetype`` is the new one."""

    components: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OnComponentRemoved(EntityEvent):
    """Entities lost components; ``archetype`` is the new one."""

    components: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OnDestroy(Event):
    """The live world is being taken down; its history stays."""


E = TypeVar("E", bound=Event)
Handler = Callable[[Any], object]
"""Takes an event; a plain function or a coroutine. What it returns is ignored."""
_Takes = Callable[[E], object]
Hook = (
    tuple[type[PreTick], _Takes[PreTick]]
    | tuple[type[PostTick], _Takes[PostTick]]
    | tuple[type[OnSpawn], _Takes[OnSpawn]]
    | tuple[type[OnDespawn], _Takes[OnDespawn]]
    | tuple[type[OnComponentAdded], _Takes[OnComponentAdded]]
    | tuple[type[OnComponentRemoved], _Takes[OnComponentRemoved]]
    | tuple[type[EntityEvent], _Takes[EntityEvent]]
    | tuple[type[OnDestroy], _Takes[OnDestroy]]
    | tuple[type[Event], _Takes[Event]]
)
"""An event type and a handler that takes it. Spelled out, so that type checkers compare the two."""
Mode = Literal["blocking", "spawn"]


@dataclass(frozen=True, slots=True, eq=False)
class HookHandle:
    """A registered handler; give it to ``remove_hook``."""

    event: type[Event]
    handler: Handler
    mode: Mode
    fail_fast: bool

    @property
    def name(self) -> str:
        return getattr(self.handler, "__qualname__", None) or repr(self.handler)


@dataclass(slots=True)
class Hooks:
    """The handlers of one world."""

    handles: list[HookHandle] = field(default_factory=list)
    spawned: set[asyncio.Task[None]] = field(default_factory=set)

    def add(
        self, event: type[E], handler: Callable[[E], object], mode: Mode = "blocking", fail_fast: bool = False
    ) -> HookHandle:
        """Register a handler, sync or async, for an event type (or a base of several)."""
        given: object = event
        if not isinstance(given, type) or not issubclass(given, Event):
            raise TypeError(f"{event!r} is no event type, such as PreTick")
        if not callable(handler):
            raise TypeError(f"{handler!r} cannot be called")
        if mode not in ("blocking", "spawn"):
            raise ValueError(f"mode is 'blocking' or 'spawn', not {mode!r}")
        if fail_fast and mode == "spawn":
            raise ValueError("a spawned hook cannot fail fast: nobody waits for it")
        handle = HookHandle(event, handler, mode, fail_fast)
        self.handles.append(handle)
        return handle

    def remove(self, handle: HookHandle) -> bool:
        """Take a handler out; says whether it was there."""
        try:
            self.handles.remove(handle)
        except ValueError:
            return False
        return True

    def wants(self, event: type[Event]) -> bool:
        """Whether anybody listens, so that nobody builds events for nothing."""
        return any(issubclass(event, handle.event) for handle in self.handles)

    async def fire(self, event: Event) -> None:
        """Call the handlers in order and wait for the blocking ones."""
        for handle in tuple(self.handles):
            # An earlier handler of the same event may have taken it out.
            if not isinstance(event, handle.event) or handle not in self.handles:
                continue
            if handle.mode == "spawn":
                task = asyncio.get_running_loop().create_task(_observe(handle, event))
                self.spawned.add(task)
                task.add_done_callback(self.spawned.discard)
            else:
                await _observe(handle, event)

    async def drain(self) -> None:
        """Wait for handlers that were spawned on this loop and still run; one of them waits for none."""
        loop = asyncio.get_running_loop()
        if asyncio.current_task() in self.spawned:
            return
        while mine := [task for task in self.spawned if task.get_loop() is loop]:
            await asyncio.gather(*mine)

    def copy(self) -> Hooks:
        """The same registrations, to go their own way from here."""
        return Hooks(list(self.handles))


async def _observe(handle: HookHandle, event: Event) -> None:
    try:
        result = handle.handler(event)
        if inspect.isawaitable(result):
            await result
    # A hook is user code and only observes: whatever it raises must not reach the tick.
    except (Exception, asyncio.CancelledError) as failure:
        task = asyncio.current_task()
        if isinstance(failure, asyncio.CancelledError) and task is not None and task.cancelling():
            raise
        telemetry.hook_failed(handle.name, type(event).__name__, failure)
        if handle.fail_fast:
            raise HookError(handle.name, type(event).__name__) from failure


def told(world: Any, outcome: Outcome) -> Iterator[Event]:
    """The entity events of a committed tick that somebody could want, in the order of its changes."""
    for change in outcome.changes:
        ids = tuple(change.entity_ids.to_pylist())
        if change.origin is None and change.target is not None:
            yield OnSpawn(world, outcome.tick, ids, change.target)
        elif change.origin is not None and change.target is None:
            yield OnDespawn(world, outcome.tick, ids, change.origin)
        elif change.origin is not None and change.target is not None:
            before, after = set(change.origin.components), set(change.target.components)
            for event, gained in ((OnComponentAdded, after - before), (OnComponentRemoved, before - after)):
                if gained:
                    yield event(world, outcome.tick, ids, change.target, tuple(sorted(kind.name for kind in gained)))
