"""How much an actor may do: commands for each tick of a world, and credits for each UTC day."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from types import MappingProxyType

from archetype_core.argument import is_count
from archetype_core.command import ActorCtx, Command
from archetype_core.errors import QuotaExceeded

DEFAULT_COSTS: Mapping[str, int] = MappingProxyType(
    {"run_episode": 10, "run_rollout": 10, "fork_world": 10, "create_world": 10, "open_world": 10}
)
"""Credits that a command costs for each unit of its weight, by kind; every other kind costs 1."""


@dataclass(frozen=True, slots=True)
class Quotas:
    """The limits of each actor: ``commands`` per world and tick, ``credits`` per UTC day (a daily token budget).

    A command costs the ``costs`` of its kind times its weight, such as the number of entities or ticks. Actors whose id
    is in ``exempt`` have no limits. ``ValueError`` for a limit or cost that is not an int of 0 or more.
    """

    commands: int = 500
    credits: int = 200_000
    costs: Mapping[str, int] = field(default_factory=lambda: DEFAULT_COSTS)
    exempt: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for name in ("commands", "credits"):
            if not is_count(getattr(self, name)):
                raise ValueError(f"{name} must be an int of 0 or more, not {getattr(self, name)!r}")
        for kind, cost in self.costs.items():
            if not is_count(cost):
                raise ValueError(f"the cost of {kind} must be an int of 0 or more, not {cost!r}")

    def price(self, command: Command[object]) -> int:
        """Return the credits that a command costs."""
        return self.costs.get(command.kind, 1) * command.weight


@dataclass(frozen=True, slots=True)
class Usage:
    """What one admitted request uses: credits of a day, and commands of one tick of a world."""

    actor: str
    day: date
    credits: int
    world_id: str | None
    tick: int
    commands: int


class Meter:
    """Counts what actors use and enforces their quotas; thread-safe. It stores nothing: the ledger does."""

    def __init__(self, quotas: Quotas) -> None:
        self.quotas = quotas
        self._lock = threading.Lock()
        self._credits: dict[str, tuple[date, int]] = {}
        self._commands: dict[tuple[str, str], tuple[int, int]] = {}

    def charge(
        self, actor: ActorCtx, commands: Iterable[Command[object]], day: date, world_id: str | None, tick: int
    ) -> Usage | None:
        """Charge an actor for commands, all or none: ``QuotaExceeded`` if they exceed a quota.

        Returns what was charged; ``None`` for an exempt actor.
        """
        if actor.id in self.quotas.exempt:
            return None
        asked = list(commands)
        usage = Usage(
            actor.id, day, sum(map(self.quotas.price, asked)), world_id, tick, len(asked) if world_id is not None else 0
        )
        with self._lock:
            used_credits, used_commands = self._used(usage)
            if usage.commands + used_commands > self.quotas.commands:
                raise QuotaExceeded(actor.id, "commands", self.quotas.commands, used_commands, usage.commands)
            if usage.credits + used_credits > self.quotas.credits:
                raise QuotaExceeded(actor.id, "credits", self.quotas.credits, used_credits, usage.credits)
            self._add(usage, 1)
        return usage

    def refund(self, usage: Usage) -> None:
        """Give back what was charged for commands that were refused or dropped later."""
        with self._lock:
            tick, _ = self._commands.get((usage.actor, usage.world_id or ""), (usage.tick, 0))
            # A later tick of the world has a count of its own.
            self._add(usage if tick == usage.tick else replace(usage, world_id=None), -1)

    def restore(self, usages: Iterable[Usage]) -> None:
        """Add usage that a ledger stored earlier."""
        with self._lock:
            for usage in usages:
                self._add(usage, 1)

    def _used(self, usage: Usage) -> tuple[int, int]:
        day, used_credits = self._credits.get(usage.actor, (usage.day, 0))
        tick, commands = self._commands.get((usage.actor, usage.world_id or ""), (usage.tick, 0))
        return (used_credits if day == usage.day else 0), (commands if tick == usage.tick else 0)

    def _add(self, usage: Usage, sign: int) -> None:
        used_credits, commands = self._used(usage)
        # Restored usage may be of an earlier day than what was charged since.
        if usage.credits and usage.day >= self._credits.get(usage.actor, (usage.day, 0))[0]:
            self._credits[usage.actor] = (usage.day, used_credits + sign * usage.credits)
        if usage.world_id is not None:
            self._commands[usage.actor, usage.world_id] = (usage.tick, commands + sign * usage.commands)
