"""The part of the reference gate that does what has an idempotency key once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from typing import Any

from reference_ledger import Ledger, Noted

from archetype_core import command as c
from archetype_core.errors import KeyConflict, PermissionDenied, WorldNotFound

NOTED: ContextVar[Noted | None] = ContextVar("noted", default=None)
"""The note of the call under way."""
REPEATABLE = (
    c.EntityCommand,
    c.Step,
    c.Run,
    c.RunEpisode,
    c.RunRollout,
    c.ForkWorld,
    c.CreateWorld,
    c.DestroyWorld,
)


class KeyPart(ABC):
    """Notes commands with keys, and answers them again."""

    ledger: Ledger
    running: set[tuple[str, str]]

    @abstractmethod
    def may(self, actor: c.ActorCtx, command: c.Command[Any]) -> bool: ...

    @abstractmethod
    def look(self, actor: c.ActorCtx, commands: Sequence[c.Command[Any]], world_id: str | None) -> None: ...

    @abstractmethod
    def reject(
        self, actor: c.ActorCtx, commands: Sequence[c.Command[Any]], world_id: str | None, refusal: Exception
    ) -> None: ...

    async def once(
        self,
        actor: c.ActorCtx,
        commands: Sequence[c.Command[Any]],
        world_id: str | None,
        key: c.IdempotencyKey,
        do: Callable[[], Awaitable[Any]],
    ) -> Any:
        name = self.name_of(actor, key)
        try:
            self.check_key(actor, commands, world_id, key)
        except (KeyConflict, PermissionDenied, TypeError, WorldNotFound) as refusal:
            self.reject(actor, commands, world_id, refusal)
            raise
        noted = self.ledger.notes.setdefault(name, Noted(key.request))
        if noted.is_done:
            return noted.result
        self.running.add(name)
        NOTED.set(noted)
        try:
            noted.result, noted.is_done = await do(), True
        except BaseException:
            if not noted.ticks:
                self.forget_key(name)
            raise
        finally:
            NOTED.set(None)
            self.running.discard(name)
        return noted.result

    def name_of(self, actor: c.ActorCtx, key: c.IdempotencyKey) -> tuple[str, str]:
        return actor.id, key.value

    def forget_key(self, name: tuple[str, str]) -> None:
        del self.ledger.notes[name]

    def check_key(
        self, actor: c.ActorCtx, commands: Sequence[c.Command[Any]], world_id: str | None, key: c.IdempotencyKey
    ) -> None:
        name = self.name_of(actor, key)
        for one in commands:
            if not self.may(actor, one):
                raise PermissionDenied(actor.id, actor.roles, one.kind)
        self.look(actor, commands, world_id)
        if not isinstance(commands[0], REPEATABLE):
            raise TypeError(f"{commands[0].kind} takes no key")
        self.check_request(name, key)
        if name in self.running:
            raise KeyConflict(key.value, is_running=True)

    def check_request(self, name: tuple[str, str], key: c.IdempotencyKey) -> None:
        noted = self.ledger.notes.get(name)
        if noted is not None and noted.request != key.request:
            raise KeyConflict(key.value, is_running=False)
