"""The part of a world handle that is no command: which world it is for, which actor it acts for, and its display."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from archetype import display
from archetype.declared_world import DeclaredWorld
from archetype.runtime_state import inside_tick, is_inside_tick
from archetype.waits import waits_for
from archetype_core.command import ActorCtx, Command, EntityCommand, Ticket, WorldInfo
from archetype_core.errors import GateClosed, LedgerError, ReentrantStep, WorldNotFound
from archetype_core.user_traceback import door

R = TypeVar("R")


class Handle:
    """Binds a declared world to one actor. It holds an id and never the world; everything it does passes the gate."""

    def __init__(self, world: DeclaredWorld, actor: ActorCtx) -> None:
        self._world = world
        self._actor = actor

    if not TYPE_CHECKING:  # with it, type checkers would accept any attribute

        @door
        def __getattr__(self, name: str) -> Any:
            raise no_attribute(self, name, "(await world.info())")

    @property
    def name(self) -> str:
        """The world's name. A world opened by its id has that id as its name until its first use."""
        return self._world.name

    @property
    def world_id(self) -> str:
        """The world's id; ``WorldNotActive`` before its first use."""
        return self._world.require_ref("its id is known after the first use, such as `world.info()`").world_id

    @property
    def actor(self) -> ActorCtx:
        """The actor that every command of this handle is sent for."""
        return self._actor

    @property
    def is_active(self) -> bool:
        """Whether the world was activated and has not been shut down or destroyed."""
        return self._world.is_active

    @property
    def is_ready(self) -> bool:
        """Whether a command can be sent now, with nothing to activate or to put in place before."""
        return self._world.usable_ref is not None

    @waits_for("loop")
    async def activate(self) -> str:
        """Activate the world if it is not, as every other first use does, and return its id.

        A world of that name in the storage is resumed, otherwise a new one is created.
        """
        return (await self._world.activate()).world_id

    def check_outside(self) -> None:
        """Raise ``ReentrantStep`` if the caller is part of a tick of this world: one of its hooks or processors."""
        ref, state = self._world.ref, self._world.state
        if ref is not None and is_inside_tick(ref.world_id):
            info = state.gate.peek(state.maintenance_actor, ref.world_id)
            raise ReentrantStep(self.name, 0 if info is None else info.tick)

    async def _do(self, command: Command[R]) -> R:
        """Send a command to the world, which is activated first if it is not up."""
        ref = self._world.usable_ref or await self._world.activate()
        try:
            return await self._world.state.gate.execute(self._actor, command, ref.world_id)
        except (GateClosed, LedgerError, WorldNotFound) as failure:
            self._world.state.raise_clearer(failure, ref)
            raise

    async def _tick(self, command: Command[R]) -> R:
        """Send a command that makes ticks; hooks and processors that it calls are inside of them."""
        ref = self._world.usable_ref or await self._world.activate()
        with inside_tick(ref.world_id):
            return await self._do(command)

    async def _queue(
        self, commands: tuple[EntityCommand[Any], ...], tick: int | None, priority: int
    ) -> tuple[Ticket, ...]:
        ref = self._world.usable_ref or await self._world.activate()
        gate = self._world.state.gate
        try:
            return await gate.submit_batch(self._actor, commands, ref.world_id, tick=tick, priority=priority)
        except (GateClosed, LedgerError, WorldNotFound) as failure:
            self._world.state.raise_clearer(failure, ref)
            raise

    def _visible_info(self) -> WorldInfo | None:
        ref = self._world.usable_ref
        return None if ref is None else self._world.state.gate.peek(self._actor, ref.world_id)

    def _status(self) -> str:
        if self._world.is_ended or self._world.state.is_closing:
            return "shut down"
        return "hidden by policy" if self.is_active else "not active yet"

    def __repr__(self) -> str:
        return display.text("RuntimeWorld", self.name, self._visible_info(), self._status())

    def _repr_html_(self) -> str:
        return display.html(self.name, self._visible_info(), self._status())


def no_attribute(handle: object, name: str, info: str) -> AttributeError:
    """Return the error for an attribute that a handle lacks; ``info`` is the call that reads the facts of a world."""
    if name in WorldInfo.__dataclass_fields__:
        return AttributeError(f"a handle has no {name!r}, which a call reads: {info}.{name}", name=name)
    return AttributeError(f"{type(handle).__name__!r} object has no attribute {name!r}", name=name, obj=handle)
