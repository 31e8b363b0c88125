"""The part of the reference gate that counts what actors use."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import reference_query as query
from reference_ledger import Ledger

from archetype_contracts import GateLimits
from archetype_core import command as c
from archetype_core.clock import Clock
from archetype_core.errors import ArchetypeError, QuotaExceeded


class QuotaPart:
    """Charges commands, gives their costs back, and says what an actor has used."""

    ledger: Ledger
    limits: GateLimits
    clock: Clock
    live: Mapping[str, Any]

    def charge(self, actor: c.ActorCtx, commands: Sequence[c.Command[Any]], live: Any) -> None:
        price, day = (
            self.price(commands if live is None else [self.meant(live, one) for one in commands]),
            self.day_of(actor),
        )
        used_credits = self.ledger.credits.get(day, 0)
        counted = self.counter_of(actor, live) if live is not None else None
        used = self.ledger.commands.get(counted, 0) if counted else 0
        if counted and used + len(commands) > self.limits.commands:
            raise QuotaExceeded(actor.id, "commands", self.limits.commands, used, len(commands))
        if used_credits + price > self.limits.credits:
            raise QuotaExceeded(actor.id, "credits", self.limits.credits, used_credits, price)
        self.ledger.credits[day] = used_credits + price
        if counted:
            self.ledger.commands[counted] = used + len(commands)

    def meant(self, live: Any, command: Any) -> Any:
        """A command for the entities that it means now; as it is, if the world does not know them yet."""
        with contextlib.suppress(ArchetypeError):
            return query.resolved(live.world, command)
        return command

    def price(self, commands: Sequence[c.Command[Any]]) -> int:
        return sum(self.limits.costs.get(one.kind, 1) * one.weight for one in commands)

    def usage(self, actor: str) -> c.ActorUsage:
        day = self.clock.now().date()
        used = self.ledger.credits.get((actor, day.isoformat()), 0)
        counts = {key: self.ledger.commands.get((actor, key, one.world.tick), 0) for key, one in self.live.items()}
        commands = {key: count for key, count in counts.items() if count}
        return c.ActorUsage(actor, day, used, 0, self.limits.credits, self.limits.commands, commands)

    def counter_of(self, actor: c.ActorCtx, live: Any) -> tuple[str, str, int]:
        return actor.id, live.known.world_id, live.world.tick

    def day_of(self, actor: c.ActorCtx) -> tuple[str, str]:
        return actor.id, self.clock.now().date().isoformat()

    def refund(self, commands: Sequence[c.Command[Any]], counter: tuple[str, str, int], day: tuple[str, str]) -> None:
        """Give back what dropped commands cost."""
        self.ledger.commands[counter] -= len(commands)
        self.ledger.credits[day] -= self.price(commands)
