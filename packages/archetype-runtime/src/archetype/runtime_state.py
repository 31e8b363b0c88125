"""The state that all handles of one runtime share: the gate, and the worlds that are up."""

from __future__ import annotations

import contextvars
import functools
import inspect
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from archetype.progress import ProgressBars
from archetype_core.command import ActorCtx, Command, CommandGate
from archetype_core.engine import Event, FairLock, Handler, Parts
from archetype_core.errors import GateClosed, LedgerError, RuntimeClosed, WorldClosed, WorldNotFound

R = TypeVar("R")

# The worlds whose ticks the current context is part of.
_ticking: contextvars.ContextVar[frozenset[str]] = contextvars.ContextVar(
    "archetype_runtime_ticking", default=frozenset()
)


@contextmanager
def inside_tick(world_id: str) -> Iterator[None]:
    """Mark what runs in this block as part of a world's tick."""
    token = _ticking.set(_ticking.get() | {world_id})
    try:
        yield
    finally:
        _ticking.reset(token)


def is_inside_tick(world_id: str) -> bool:
    """Whether the caller is part of a tick of that world: one of its hooks or processors."""
    return world_id in _ticking.get()


@dataclass(slots=True, eq=False)
class WorldRef:
    """A world that is or was up: its id and name, and the actor that activated it."""

    world_id: str
    name: str
    actor: ActorCtx
    closing: int = 0
    """How many calls are closing it at this moment."""
    is_ended: bool = False
    parts: Parts = field(default_factory=Parts)
    """What keywords of its last declaration gave it."""
    lock: FairLock = field(default_factory=FairLock)
    """Taken to replace these."""

    @property
    def is_ending(self) -> bool:
        """Whether it is closed or about to be."""
        return self.is_ended or self.closing > 0


class RuntimeState:
    """What the handles of one runtime share. It sends commands to the gate and says which worlds are up."""

    def __init__(
        self,
        gate: CommandGate,
        maintenance_actor: ActorCtx,
        bars: ProgressBars,
        make_handle: Callable[[RuntimeState, Any, ActorCtx], object],
    ) -> None:
        self.gate = gate
        self.maintenance_actor = maintenance_actor
        """An admin without quota, for what the runtime does by itself: undo a failed activation, close worlds at the end."""
        self.bars = bars
        self.live: dict[str, WorldRef] = {}
        """The worlds that are up, in the order of their activation."""
        self.is_closing = False
        self._make_handle = make_handle

    def check_open(self) -> None:
        """Raise ``RuntimeClosed`` once the runtime is shutting down."""
        if self.is_closing:
            raise RuntimeClosed

    async def execute(self, actor: ActorCtx, command: Command[R], world_id: str | None = None) -> R:
        """Send a command through the gate; a gate that is closed is ``RuntimeClosed``."""
        try:
            return await self.gate.execute(actor, command, world_id)
        except (GateClosed, LedgerError) as failure:
            self.raise_clearer(failure)
            raise

    def raise_clearer(self, failure: GateClosed | LedgerError | WorldNotFound, world: WorldRef | None = None) -> None:
        """Raise what a refusal of the gate means to the holder of a handle; return if it is clear as it is."""
        if isinstance(failure, WorldNotFound):
            if world is not None and world.is_ending:
                raise WorldClosed(world.name) from failure
        elif self._means_closed(failure):
            raise RuntimeClosed from failure

    def _means_closed(self, failure: GateClosed | LedgerError) -> bool:
        """A call that is under way when the gate closes may meet its closed ledger first."""
        return isinstance(failure, GateClosed) or self.is_closing

    async def end(self, world: WorldRef, actor: ActorCtx, command: Command[bool]) -> bool:
        """Close or destroy a world; its handles stay valid if the gate refuses."""
        if world.is_ended:
            return False
        world.closing += 1
        try:
            return await self.gate.execute(actor, command, world.world_id)
        except (GateClosed, LedgerError) as failure:
            if not self._means_closed(failure):
                raise
            # The gate closed all its worlds.
            self._forget(world)
            return False
        finally:
            world.closing -= 1
            if self.gate.peek(self.maintenance_actor, world.world_id) is None:
                self._forget(world)

    def _forget(self, world: WorldRef) -> None:
        world.is_ended = True
        if self.live.get(world.world_id) is world:
            del self.live[world.world_id]

    def with_handle(self, handler: Handler, actor: ActorCtx) -> Handler:
        """Wrap the handler of a hook, so that ``event.world`` is a handle for an actor."""

        def observe(event: Event) -> Any:
            world_id = event.world.world_id
            with inside_tick(world_id):
                result = handler(replace(event, world=self._make_handle(self, event.world, actor)))
            return _awaited(result, world_id) if inspect.isawaitable(result) else result

        return named_like(handler, observe)


async def _awaited(result: Awaitable[Any], world_id: str) -> Any:
    with inside_tick(world_id):
        return await result


def named_like(handler: Handler, wrapper: Handler) -> Handler:
    """Give a wrapper the name of the handler that it wraps, for audit rows and messages."""
    if not callable(handler):
        raise TypeError(f"a hook is a function or another callable, not {handler!r}: it cannot be called")
    functools.update_wrapper(wrapper, handler)
    wrapper.__qualname__ = getattr(handler, "__qualname__", None) or repr(handler)
    return wrapper
