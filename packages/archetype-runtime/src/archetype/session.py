"""What the handles of one runtime share: its gate, and the worlds that it holds."""

from __future__ import annotations

import contextvars
import functools
import inspect
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from archetype_core.command import ActorCtx, Command, CommandGate, EntityCommand, Ticket
from archetype_core.engine import Event, Handler
from archetype_core.errors import GateClosed, LedgerError, RuntimeClosed, WorldClosed, WorldNotFound

if TYPE_CHECKING:
    from archetype.activation import Activation, ActiveWorld
    from archetype.progress import Bars

R = TypeVar("R")

# The worlds whose ticks the current context is part of.
_inside: contextvars.ContextVar[frozenset[str]] = contextvars.ContextVar(
    "archetype_runtime_inside", default=frozenset()
)


@contextmanager
def ticking(world_id: str) -> Iterator[None]:
    """What is done inside is part of a world's tick."""
    token = _inside.set(_inside.get() | {world_id})
    try:
        yield
    finally:
        _inside.reset(token)


def is_ticking(world_id: str) -> bool:
    """Whether the caller is part of a tick of that world: a hook or a processor of it."""
    return world_id in _inside.get()


class Session:
    """Forwards commands to the gate, each for one actor, and knows which worlds are up."""

    def __init__(
        self, gate: CommandGate, keeper: ActorCtx, bars: Bars, handle: Callable[[Session, Any, ActorCtx], object]
    ) -> None:
        self.gate = gate
        self.keeper = keeper
        """Who tidies up: takes down what half came up, and everything at the end. No quota stops it."""
        self.bars = bars
        self.declared: dict[tuple[object, ...], Activation] = {}
        self.live: dict[str, ActiveWorld] = {}
        """In the order they came up."""
        self.is_closing = False
        self._handle = handle

    def check_open(self) -> None:
        """Refuse whatever comes after the end."""
        if self.is_closing:
            raise RuntimeClosed

    async def execute(self, actor: ActorCtx, command: Command[R], live: ActiveWorld | None = None) -> R:
        """Send a command through the gate."""
        with self._told(live):
            return await self.gate.execute(actor, command, None if live is None else live.world_id)

    async def submit(
        self,
        actor: ActorCtx,
        commands: Sequence[EntityCommand[Any]],
        live: ActiveWorld,
        tick: int | None,
        priority: int,
    ) -> tuple[Ticket, ...]:
        """Queue commands at the gate."""
        with self._told(live):
            return await self.gate.submit_batch(actor, commands, live.world_id, tick=tick, priority=priority)

    @contextmanager
    def _told(self, live: ActiveWorld | None) -> Iterator[None]:
        """Let a refusal of the gate say what it means to whoever holds a handle that was valid a moment ago."""
        try:
            yield
        except (GateClosed, LedgerError) as failure:
            if not self._is_over(failure):
                raise
            raise RuntimeClosed from failure
        except WorldNotFound as failure:
            if live is None or not live.is_ending:
                raise
            raise WorldClosed(live.name) from failure

    def _is_over(self, failure: GateClosed | LedgerError) -> bool:
        """Whether a refusal means the gate's end: what is under way then may find its ledger closed before it hears of it."""
        return isinstance(failure, GateClosed) or self.is_closing

    async def end(self, live: ActiveWorld, actor: ActorCtx, command: Command[bool]) -> bool:
        """Take a live world down; when the gate refuses and it stays up, so does its handle."""
        if live.is_ended:
            return False
        live.endings += 1
        try:
            return await self.gate.execute(actor, command, live.world_id)
        except (GateClosed, LedgerError) as failure:
            if not self._is_over(failure):
                raise
            # The gate takes all its worlds down with itself.
            self._forget(live)
            return False
        finally:
            live.endings -= 1
            if self.gate.peek(self.keeper, live.world_id) is None:
                self._forget(live)

    def _forget(self, live: ActiveWorld) -> None:
        live.is_ended = True
        if self.live.get(live.world_id) is live:
            del self.live[live.world_id]
        for key in [key for key, one in self.declared.items() if one.live is live]:
            del self.declared[key]

    def observing(self, handler: Handler, actor: ActorCtx) -> Handler:
        """The handler of a hook, told of events whose ``world`` is a handle for an actor."""

        def observe(event: Event) -> Any:
            world_id = event.world.world_id
            with ticking(world_id):
                result = handler(replace(event, world=self._handle(self, event.world, actor)))
            return _awaited(result, world_id) if inspect.isawaitable(result) else result

        return named_like(handler, observe)


async def _awaited(result: Awaitable[Any], world_id: str) -> Any:
    with ticking(world_id):
        return await result


def named_like(handler: Handler, wrapper: Handler) -> Handler:
    """The wrapper under the name of what it wraps, for audit rows and messages."""
    if not callable(handler):
        raise TypeError(f"{handler!r} cannot be called")
    functools.update_wrapper(wrapper, handler)
    wrapper.__qualname__ = getattr(handler, "__qualname__", None) or repr(handler)
    return wrapper
