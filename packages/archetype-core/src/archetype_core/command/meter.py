"""The port of the meter: reserves and charges the credits of actors, for work whose price is known only afterwards."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType
from typing import Protocol, runtime_checkable

from archetype_core.argument import is_count
from archetype_core.clock import Clock, SystemClock


@dataclass(frozen=True, slots=True, eq=False)
class Reservation:
    """Credits that are set aside for an actor until they are settled or released."""

    actor: str
    credits: int

    def __post_init__(self) -> None:
        check_credits("a reservation", self.credits)


@dataclass(frozen=True, slots=True)
class ActorUsage:
    """What an actor has used of its quotas."""

    actor: str
    day: date
    """The UTC day that the credits are of."""
    credits_used: int
    credits_reserved: int
    credits_limit: int | None
    """``None`` for an actor without limits, of whom nothing is counted but reservations."""
    commands_limit: int | None = None
    """For each world and tick."""
    commands: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """The commands of the current tick, by id of the live worlds that got any."""


@runtime_checkable
class Meter(Protocol):
    """Reserves, charges and counts the credits of actors, each named by its id. Thread-safe.

    Reserved credits count against the quota until they are settled or released. Reservations are in memory and end with
    the process; what was settled is as durable as audit rows are.
    """

    def reserve(self, actor: str, credits: int) -> Reservation:  # noqa: A002  # reason: the name of the quota
        """Set credits aside; ``QuotaExceeded`` if they and what is used and reserved exceed the quota."""
        ...

    def settle(self, reservation: Reservation, spent: int) -> int:
        """Charge what was spent and end the reservation; returns how much that is above what was reserved, or 0.

        Less gives the rest back. More is charged too, also beyond the quota, because it is spent already. ``ValueError`` if
        the reservation is over.
        """
        ...

    def release(self, reservation: Reservation) -> None:
        """Give everything back and end the reservation; ``ValueError`` if it is over."""
        ...

    def usage(self, actor: str) -> ActorUsage:
        """Return what an actor has used and reserved."""
        ...


class FreeMeter:
    """The ``Meter`` without a gate: counts since it was made, and refuses nothing."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._reservations = Reservations()
        self._used: dict[tuple[str, date], int] = {}

    def reserve(self, actor: str, credits: int) -> Reservation:  # noqa: A002  # reason: the name of the quota
        """Set credits aside."""
        with self._lock:
            return self._reservations.add(Reservation(actor, credits))

    def settle(self, reservation: Reservation, spent: int) -> int:
        """Count what was spent and end the reservation; returns how much that is above it, or 0."""
        check_credits("what was spent", spent)
        with self._lock:
            self._reservations.end(reservation)
            key = (reservation.actor, self._clock.now().date())
            self._used[key] = self._used.get(key, 0) + spent
        return max(0, spent - reservation.credits)

    def release(self, reservation: Reservation) -> None:
        """End the reservation."""
        with self._lock:
            self._reservations.end(reservation)

    def usage(self, actor: str) -> ActorUsage:
        """Return what an actor has used today and reserved."""
        today = self._clock.now().date()
        with self._lock:
            return ActorUsage(actor, today, self._used.get((actor, today), 0), self._reservations.of(actor), None)


class Reservations:
    """The open reservations of a meter, and their sum for each actor. Not thread-safe: a meter holds its lock."""

    def __init__(self) -> None:
        self._open: set[Reservation] = set()
        self._credits: dict[str, int] = {}

    def add(self, reservation: Reservation) -> Reservation:
        """Open a reservation and return it."""
        self._open.add(reservation)
        self._credits[reservation.actor] = self.of(reservation.actor) + reservation.credits
        return reservation

    def end(self, reservation: Reservation) -> None:
        """Close a reservation; ``ValueError`` if it is not open."""
        if reservation not in self._open:
            raise ValueError(
                f"the reservation of {reservation.credits} credits for {reservation.actor} is over, or of another meter: "
                "settle or release each once, where it was made"
            )
        self._open.remove(reservation)
        self._credits[reservation.actor] -= reservation.credits

    def of(self, actor: str) -> int:
        """Return how many credits are reserved for an actor."""
        return self._credits.get(actor, 0)


def check_credits(what: str, value: int) -> None:
    """Raise ``ValueError`` unless a value is a number of credits."""
    if not is_count(value) or value >= 2**63:
        raise ValueError(f"{what} must be an int of credits, 0 or more, not {value!r}")
