"""How much an actor may do: commands for each tick of a world, and tokens for each UTC day."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType

from archetype_core.argument import is_count
from archetype_core.command import ActorCtx, Command
from archetype_core.errors import QuotaExceeded

DEFAULT_COSTS: Mapping[str, int] = MappingProxyType(
    {"run_episode": 10, "run_rollout": 10, "fork_world": 10, "create_world": 10, "open_world": 10}
)
"""Tokens that a command costs, times its weight; 1 for every kind that is not here."""


@dataclass(frozen=True, slots=True)
class Quotas:
    """What each actor may do: ``commands`` for every tick of a world, ``tokens`` for every UTC day.

    A command costs its kind's ``costs`` times its weight (entities spawned, ticks run). Actors in ``exempt`` are not
    counted.
    """

    commands: int = 500
    tokens: int = 200_000
    costs: Mapping[str, int] = field(default_factory=lambda: DEFAULT_COSTS)
    exempt: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for name in ("commands", "tokens"):
            if not is_count(getattr(self, name)):
                raise ValueError(f"{name} is a number, 0 or more, not {getattr(self, name)!r}")
        if odd := [kind for kind, cost in self.costs.items() if not is_count(cost)]:
            raise ValueError(f"the cost of {odd[0]} is a number of tokens, 0 or more, not {self.costs[odd[0]]!r}")

    def price(self, command: Command[object]) -> int:
        """The tokens that a command costs."""
        return self.costs.get(command.kind, 1) * command.weight


@dataclass(frozen=True, slots=True)
class Usage:
    """What one admitted request uses up; ``tick`` counts commands apart for each tick of a world."""

    actor: str
    day: date
    tokens: int
    world_id: str | None
    tick: int
    commands: int


class Meter:
    """Counts what actors use, against their quotas; thread-safe. Tells nobody: what it admits is put on record elsewhere."""

    def __init__(self, quotas: Quotas) -> None:
        self.quotas = quotas
        self._lock = threading.Lock()
        self._tokens: dict[str, tuple[date, int]] = {}
        self._commands: dict[tuple[str, str], tuple[int, int]] = {}

    def admit(
        self, actor: ActorCtx, commands: Iterable[Command[object]], day: date, world_id: str | None, tick: int
    ) -> Usage | None:
        """Count some commands, all or none: ``QuotaExceeded`` if they do not fit. ``None`` for who is not counted."""
        if actor.id in self.quotas.exempt:
            return None
        asked = list(commands)
        usage = Usage(
            actor.id, day, sum(map(self.quotas.price, asked)), world_id, tick, len(asked) if world_id is not None else 0
        )
        with self._lock:
            tokens, done = self._used(usage)
            if usage.commands + done > self.quotas.commands:
                raise QuotaExceeded(actor.id, "commands", self.quotas.commands, done, usage.commands)
            if usage.tokens + tokens > self.quotas.tokens:
                raise QuotaExceeded(actor.id, "tokens", self.quotas.tokens, tokens, usage.tokens)
            self._add(usage, 1)
        return usage

    def refund(self, usage: Usage) -> None:
        """Take back what was counted for something that was then refused."""
        with self._lock:
            self._add(usage, -1)

    def recall(self, usages: Iterable[Usage]) -> None:
        """Count what was used before, from a ledger."""
        with self._lock:
            for usage in usages:
                self._add(usage, 1)

    def _used(self, usage: Usage) -> tuple[int, int]:
        day, tokens = self._tokens.get(usage.actor, (usage.day, 0))
        tick, commands = self._commands.get((usage.actor, usage.world_id or ""), (usage.tick, 0))
        return (tokens if day == usage.day else 0), (commands if tick == usage.tick else 0)

    def _add(self, usage: Usage, sign: int) -> None:
        tokens, commands = self._used(usage)
        # What is recalled may be of an earlier day than what was counted since.
        if usage.tokens and usage.day >= self._tokens.get(usage.actor, (usage.day, 0))[0]:
            self._tokens[usage.actor] = (usage.day, tokens + sign * usage.tokens)
        if usage.world_id is not None:
            self._commands[usage.actor, usage.world_id] = (usage.tick, commands + sign * usage.commands)
