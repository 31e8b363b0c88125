"""The part of a world handle that is not a command: which world it is of, for whom, and how it shows itself."""

from __future__ import annotations

from typing import Any, TypeVar

from archetype import display
from archetype.activation import Activation
from archetype.session import Session, is_ticking, ticking
from archetype_core.command import ActorCtx, Command, EntityCommand, Ticket, WorldInfo
from archetype_core.errors import ReentrantStep

R = TypeVar("R")


class Handle:
    """Binds a declared world to one actor. It holds an id, never the world; everything it does passes the gate."""

    _kind = "RuntimeWorld"

    def __init__(self, session: Session, activation: Activation, actor: ActorCtx) -> None:
        self._session = session
        self._activation = activation
        self._actor = actor

    @property
    def name(self) -> str:
        """The world's name, known before it is active."""
        return self._activation.name

    @property
    def world_id(self) -> str:
        """The world's id; ``WorldNotActive`` before its first use."""
        return self._activation.known("its id is known after the first use, such as `await world.info()`").world_id

    @property
    def actor(self) -> ActorCtx:
        """Whom every command of this handle is sent for."""
        return self._actor

    @property
    def is_active(self) -> bool:
        """Whether the world has been brought up, and was not taken down again."""
        return self._activation.live is not None and not self._activation.is_ended

    def check_outside(self) -> None:
        """``ReentrantStep`` if the caller is part of a tick of this world: one of its hooks or processors."""
        live = self._activation.live
        if live is not None and is_ticking(live.world_id):
            info = self._session.gate.peek(self._session.keeper, live.world_id)
            raise ReentrantStep(self.name, 0 if info is None else info.tick)

    async def _do(self, command: Command[R]) -> R:
        live = await self._activation.ready(self._session)
        return await self._session.execute(self._actor, command, live)

    async def _tick(self, command: Command[R]) -> R:
        """Send a command that makes ticks; what is called meanwhile knows that it is inside."""
        live = await self._activation.ready(self._session)
        with ticking(live.world_id):
            return await self._session.execute(self._actor, command, live)

    async def _queue(
        self, commands: tuple[EntityCommand[Any], ...], tick: int | None, priority: int
    ) -> tuple[Ticket, ...]:
        live = await self._activation.ready(self._session)
        return await self._session.submit(self._actor, commands, live, tick, priority)

    def _peek(self) -> WorldInfo | None:
        if not self.is_active or self._session.is_closing:
            return None
        return self._session.gate.peek(self._actor, self.world_id)

    def _state(self) -> str:
        if self._activation.is_ended or self._session.is_closing:
            return "shut down"
        return "not to be seen" if self.is_active else "not active yet"

    def __repr__(self) -> str:
        return display.text(self._kind, self.name, self._peek(), self._state())

    def _repr_html_(self) -> str:
        return display.html(self.name, self._peek(), self._state())
