"""What a gate under test is told from outside: how much an actor may do, and what time it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

_FREE: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class GateLimits:
    """The quotas of a gate. A command takes ``costs[kind]`` tokens, 1 where it is not listed, times its ``weight``."""

    commands: int = 100_000
    """Per actor, world and tick; those to the gate itself do not count."""
    tokens: int = 10_000_000
    """Per actor and UTC day."""
    costs: Mapping[str, int] = field(default_factory=lambda: _FREE)


class HandClock:
    """A ``Clock`` that stands still until it is set."""

    def __init__(self) -> None:
        self._now = datetime(2030, 5, 17, 12, 0, tzinfo=UTC)

    def now(self) -> datetime:
        return self._now

    def advance(self, by: timedelta) -> None:
        """Let time pass."""
        self._now += by

    def turn_day(self) -> None:
        """Go to the first moment of the next UTC day."""
        self._now = (self._now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
