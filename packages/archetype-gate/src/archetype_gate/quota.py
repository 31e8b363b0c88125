"""How much an actor may do: commands for each tick of a world, and credits for each UTC day; the gate's ``Meter``."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType
from typing import NamedTuple

from archetype_core.argument import is_count
from archetype_core.clock import Clock
from archetype_core.command import ActorCtx, ActorUsage, Command, Reservation, Reservations, check_credits
from archetype_core.errors import QuotaExceeded

log = logging.getLogger("archetype.gate")

DEFAULT_COSTS: Mapping[str, int] = MappingProxyType(
    {"run_episode": 10, "run_rollout": 10, "fork_world": 10, "create_world": 10, "open_world": 10}
)
"""Credits that a command costs for each unit of its weight, by kind; every other kind costs 1."""


@dataclass(frozen=True, slots=True)
class Quotas:
    """The limits of each actor: ``commands`` per world and tick, ``credits`` per UTC day (a daily token budget).

    ``keys`` is how many idempotency keys of one actor are kept at a time, each for a day.
    A command costs the ``costs`` of its kind times its weight, such as the number of entities or ticks. Actors whose id
    is in ``exempt`` have no limits. ``ValueError`` for a limit or cost that is not an int of 0 or more.
    """

    commands: int = 500
    credits: int = 200_000
    costs: Mapping[str, int] = field(default_factory=lambda: DEFAULT_COSTS)
    exempt: frozenset[str] = frozenset()
    keys: int = 10_000

    def __post_init__(self) -> None:
        for name in ("commands", "credits", "keys"):
            if not is_count(getattr(self, name)):
                raise ValueError(f"{name} must be an int of 0 or more, not {getattr(self, name)!r}")
        for kind, cost in self.costs.items():
            if not is_count(cost):
                raise ValueError(f"the cost of {kind} must be an int of 0 or more, not {cost!r}")

    def price(self, command: Command[object]) -> int:
        """Return the credits that a command costs."""
        return self.costs.get(command.kind, 1) * command.weight


class Usage(NamedTuple):
    """What one admitted request uses: credits of a day, and commands of one tick of a world."""

    actor: str
    day: date
    credits: int
    world_id: str | None
    tick: int
    commands: int


class QuotaMeter:
    """The ``Meter`` of a gate: counts what actors use and enforces their quotas; thread-safe.

    It stores nothing. The ledger has the usage of commands with their rows, and gets through ``write`` what is settled.
    """

    def __init__(self, quotas: Quotas, clock: Clock, write: Callable[[Usage], None]) -> None:
        self.quotas = quotas
        self._clock = clock
        self._write = write
        self._lock = threading.Lock()
        self._reservations = Reservations()
        self._credits: dict[str, tuple[date, int]] = {}
        self._commands: dict[tuple[str, str], tuple[int, int]] = {}

    def charge(
        self, actor: ActorCtx, commands: Iterable[Command[object]], world_id: str | None, tick: int
    ) -> Usage | None:
        """Charge an actor for commands, all or none: ``QuotaExceeded`` if they exceed a quota.

        Returns what was charged; ``None`` for an exempt actor.
        """
        if actor.id in self.quotas.exempt:
            return None
        asked = list(commands)
        price, count = sum(map(self.quotas.price, asked)), len(asked) if world_id is not None else 0
        usage = Usage(actor.id, self._clock.now().date(), price, world_id, tick, count)
        with self._lock:
            used_credits, used_commands = self._used(usage)
            if usage.commands + used_commands > self.quotas.commands:
                raise QuotaExceeded(actor.id, "commands", self.quotas.commands, used_commands, usage.commands)
            self._check_credits(actor.id, used_credits, usage.credits)
            self._add(usage, 1)
        return usage

    def reserve(self, actor: str, credits: int) -> Reservation:  # noqa: A002  # reason: the name of the quota
        """Set credits aside; ``QuotaExceeded`` if they and what is used and reserved exceed the quota."""
        reservation = Reservation(actor, credits)
        with self._lock:
            if actor not in self.quotas.exempt:
                self._check_credits(actor, self._used(self._spent(actor, 0))[0], credits)
            return self._reservations.add(reservation)

    def settle(self, reservation: Reservation, spent: int) -> int:
        """Charge what was spent today, also beyond the quota, and end the reservation; returns how much is above it, or 0.

        It is on disk within 100 ms. More than was reserved is logged as a warning.
        """
        check_credits("what was spent", spent)
        usage = self._spent(reservation.actor, spent)
        is_counted = spent > 0 and usage.actor not in self.quotas.exempt
        with self._lock:
            self._reservations.end(reservation)
            if is_counted:
                self._add(usage, 1)
        if is_counted:
            self._write(usage)
        above = max(0, spent - reservation.credits)
        if above:
            log.warning("%s reserved %d credits and spent %d", usage.actor, reservation.credits, spent)
        return above

    def release(self, reservation: Reservation) -> None:
        """Give everything back and end the reservation."""
        with self._lock:
            self._reservations.end(reservation)

    def usage(self, actor: str, ticks: Mapping[str, int] | None = None) -> ActorUsage:
        """Return what an actor has used and reserved; ``ticks`` are the ticks of worlds whose commands to count, by id."""
        with self._lock:
            asked = self._spent(actor, 0)
            used_credits, _ = self._used(asked)
            counted = {
                world_id: count
                for world_id, tick in (ticks or {}).items()
                if (count := self._used(asked._replace(world_id=world_id, tick=tick))[1])
            }
            is_exempt = actor in self.quotas.exempt
            return ActorUsage(
                actor,
                asked.day,
                used_credits,
                self._reservations.of(actor),
                None if is_exempt else self.quotas.credits,
                None if is_exempt else self.quotas.commands,
                counted,
            )

    def _spent(self, actor: str, spent: int) -> Usage:
        return Usage(actor, self._clock.now().date(), spent, None, 0, 0)

    def _check_credits(self, actor: str, used: int, asked: int) -> None:
        used += self._reservations.of(actor)
        if used + asked > self.quotas.credits:
            raise QuotaExceeded(actor, "credits", self.quotas.credits, used, asked)

    def refund(self, usage: Usage) -> None:
        """Give back what was charged for commands that were refused or dropped later."""
        with self._lock:
            tick, _ = self._commands.get((usage.actor, usage.world_id or ""), (usage.tick, 0))
            # A later tick of the world has a count of its own.
            self._add(usage if tick == usage.tick else usage._replace(world_id=None), -1)

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
