"""Lifecycle events of a world, and hooks: handlers that observe them.

A hook that fails is logged and counted and the tick continues, unless it was registered with ``fail_fast=True``. Hooks
of one event run in the order of registration.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from archetype_core import telemetry
from archetype_core.argument import listed
from archetype_core.errors import HookError
from archetype_core.schema.archetype import Archetype
from archetype_core.schema.snapshot import Snapshot
from archetype_core.user_traceback import blame

if TYPE_CHECKING:
    from archetype_core.engine.tick import Outcome


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events; ``world`` is the world's handle."""

    world: Any
    tick: int


@dataclass(frozen=True, slots=True)
class PreTick(Event):
    """A tick begins. What its hooks stage is part of it."""

    run_id: str


@dataclass(frozen=True, slots=True)
class PostTick(Event):
    """A tick is committed. ``results`` are its live tables by name, materialized: reading them runs nothing again."""

    run_id: str
    results: Mapping[str, Snapshot]


@dataclass(frozen=True, slots=True)
class EntityEvent(Event):
    """Something happened to entities in a committed tick; one event per archetype."""

    entity_ids: tuple[int, ...]
    archetype: Archetype

    @property
    def entity_id(self) -> int:
        """The entity, if there is exactly one; otherwise ``ValueError``."""
        (only,) = self.entity_ids
        return only


@dataclass(frozen=True, slots=True)
class OnSpawn(EntityEvent):
    """Entities have their first row."""


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
    """The live world ends; its history stays."""


E = TypeVar("E", bound=Event)
Handler = Callable[[Any], object]
"""A plain function or a coroutine that takes an event; what it returns is ignored."""
_On = tuple[type[E], Callable[[E], object]]
_OnTick = _On[PreTick] | _On[PostTick] | _On[OnDestroy] | _On[Event]
_OnComponent = _On[OnComponentAdded] | _On[OnComponentRemoved]
Hook = _OnTick | _OnComponent | _On[OnSpawn] | _On[OnDespawn] | _On[EntityEvent]
"""An event type and a handler of it; one pair for each type, so that type checkers compare the two."""
Mode = Literal["blocking", "spawn"]


def hook_pairs(hooks: Iterable[Hook]) -> tuple[tuple[type[Event], Handler], ...]:
    """The hooks of an argument; ``TypeError`` unless each is a pair of an event type and a function."""
    given = listed("hooks", hooks)
    for one in given:
        checked: object = one
        if not isinstance(checked, tuple | list) or len(checked) != 2:
            raise TypeError(f"a hook is a pair of an event type and a function, such as (PostTick, print), not {one!r}")
        _check(*checked)
    return tuple((event, handler) for event, handler in given)


def _check(event: object, handler: object) -> None:
    if not isinstance(event, type) or not issubclass(event, Event):
        known = {kind.__name__: kind for kind in (PreTick, PostTick, *EntityEvent.__subclasses__(), OnDestroy)}
        hint = f"the class {event}" if isinstance(event, str) and event in known else "a class such as PreTick"
        raise TypeError(f"{event!r} is not an event type: give {hint}")
    if not callable(handler):
        raise TypeError(f"{handler!r} cannot be called: give a function that takes the event")


@dataclass(frozen=True, slots=True, eq=False)
class HookHandle:
    """A registered handler; ``remove_hook`` takes it."""

    event: type[Event]
    handler: Handler
    mode: Mode
    fail_fast: bool

    @property
    def name(self) -> str:
        """The handler's qualified name, for logs and audit rows."""
        return getattr(self.handler, "__qualname__", None) or repr(self.handler)


@dataclass(slots=True)
class Hooks:
    """The handlers of one world."""

    handles: list[HookHandle] = field(default_factory=list)
    spawned: set[asyncio.Task[None]] = field(default_factory=set)

    def add(
        self, event: type[E], handler: Callable[[E], object], mode: Mode = "blocking", fail_fast: bool = False
    ) -> HookHandle:
        """Register a handler for an event type, or for a base class of several."""
        _check(event, handler)
        if mode not in ("blocking", "spawn"):
            raise ValueError(f"mode must be 'blocking' or 'spawn', got {mode!r}")
        if fail_fast and mode == "spawn":
            raise ValueError("a spawned hook cannot fail fast, because no caller waits for it: use mode='blocking'")
        handle = HookHandle(event, handler, mode, fail_fast)
        self.handles.append(handle)
        return handle

    def remove(self, handle: HookHandle) -> bool:
        """Remove a handler; return whether it was registered."""
        given: object = handle
        if not isinstance(given, HookHandle):
            raise TypeError(f"remove_hook takes the handle that add_hook returned, not {handle!r}")
        try:
            self.handles.remove(handle)
        except ValueError:
            return False
        return True

    def wants(self, event: type[Event]) -> bool:
        """Return whether an event has a handler; if not, it need not be made."""
        return any(issubclass(event, handle.event) for handle in self.handles)

    async def fire(self, event: Event) -> None:
        """Call the handlers of an event in order, and wait for the blocking ones."""
        for handle in tuple(self.handles):
            # An earlier handler of the same event may have removed it.
            if not isinstance(event, handle.event) or handle not in self.handles:
                continue
            if handle.mode == "spawn":
                task = asyncio.get_running_loop().create_task(_observe(handle, event))
                self.spawned.add(task)
                task.add_done_callback(self.spawned.discard)
            else:
                await _observe(handle, event)

    async def drain(self) -> None:
        """Wait for spawned handlers of this loop; returns at once when one of them calls it."""
        loop = asyncio.get_running_loop()
        if asyncio.current_task() in self.spawned:
            return
        while mine := [task for task in self.spawned if task.get_loop() is loop]:
            await asyncio.gather(*mine)

    def replaced(
        self, old: Iterable[tuple[type[Event], Handler]], new: Iterable[tuple[type[Event], Handler]]
    ) -> list[HookHandle]:
        """Return the registrations with new hooks in place of old ones, before those that stay."""
        kept = list(self.handles)
        for event, handler in old:
            for handle in kept:
                if handle.event is event and handle.handler is handler:
                    kept.remove(handle)
                    break
        return [*(HookHandle(event, handler, "blocking", fail_fast=False) for event, handler in new), *kept]

    def copy(self) -> Hooks:
        """Return an independent copy of the registrations."""
        return Hooks(list(self.handles))


async def _observe(handle: HookHandle, event: Event) -> None:
    try:
        result = handle.handler(event)
        if inspect.isawaitable(result):
            await result
    # A hook is user code that only observes: what it raises must not fail the tick.
    except (Exception, asyncio.CancelledError) as failure:
        task = asyncio.current_task()
        if isinstance(failure, asyncio.CancelledError) and task is not None and task.cancelling():
            raise
        telemetry.hook_failed(handle.name, type(event).__name__, failure, is_raised=handle.fail_fast)
        if handle.fail_fast:
            reason = f"{type(failure).__name__}: {telemetry.error_text(failure)}"
            error = HookError(handle.name, type(event).__name__, reason.rstrip("."))
            blame(error, failure)
            raise error from failure


def entity_events(world: Any, outcome: Outcome) -> Iterator[Event]:
    """Yield the entity events of a committed tick, in the order of its changes."""
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
