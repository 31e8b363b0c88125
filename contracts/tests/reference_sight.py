"""The part of the reference gate that hides worlds from actors that have worlds of their own."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

from reference_ledger import KnownWorld, Ledger

from archetype_core import command as c
from archetype_core.errors import PermissionDenied, WorldExists, WorldNotFound

ACTOR: ContextVar[c.ActorCtx | None] = ContextVar("actor", default=None)
"""Who sent the call under way."""


class SightPart:
    """Looks which worlds there are for an actor."""

    ledger: Ledger

    def sees(self, actor: c.ActorCtx, world_id: str | None) -> bool:
        known = self.ledger.worlds.get(str(world_id))
        return actor.worlds is None or (known is not None and self.is_own(actor, known))

    def is_own(self, actor: c.ActorCtx, known: KnownWorld) -> bool:
        worlds = actor.worlds or ()
        return known.world_id in worlds or known.name in worlds or known.maker == actor.id

    def maker(self) -> str:
        """Whose world it is that is being made."""
        actor = ACTOR.get()
        return "" if actor is None or actor.worlds is None else actor.id

    def look(self, actor: c.ActorCtx, commands: Sequence[c.Command[Any]], world_id: str | None) -> None:
        """Refuse commands about worlds that are not there for their actor."""
        if actor.worlds is None:
            return
        for command in commands:
            if world_id is None and isinstance(command, c.GetHistory | c.GetAuditHead | c.SealStorage | c.Administer):
                raise PermissionDenied(actor.id, actor.roles, command.kind)
            for named in [world_id, *self.named(command)]:
                if named is not None and not self.sees(actor, named):
                    raise WorldNotFound(named)

    def named(self, command: c.Command[Any]) -> Sequence[str]:
        """The worlds that a command names beside the one that it is sent to."""
        match command:
            case c.OpenWorld():
                found = [one.world_id for one in self.ledger.worlds.values() if one.name == command.world]
                return found or [command.world]
            case c.Diff():
                return [one[0] for one in (command.before, command.after) if isinstance(one, tuple)]
            case c.QueryEpisodes():
                return command.world_ids
            case c.CreateWorld(world_id=world_id) if world_id in self.ledger.worlds:
                return [str(world_id)]
        return ()

    def shown(self, actor: c.ActorCtx, answer: Any) -> Any:
        """What an actor is told of an answer."""
        if actor.worlds is None:
            return answer
        if isinstance(answer, c.WorldInfo):
            return answer if self.sees(actor, answer.parent) else replace(answer, parent=None)
        if isinstance(answer, tuple) and any(isinstance(one, c.WorldInfo) for one in answer):
            return tuple(self.shown(actor, one) for one in answer if self.sees(actor, one.world_id))
        return answer

    def told_failure(self, actor: c.ActorCtx, failure: BaseException) -> BaseException:
        """What an actor is told of a failure."""
        if isinstance(failure, WorldExists) and not self.sees(actor, failure.world_id):
            return WorldExists(failure.name, "a world of others")
        return failure
