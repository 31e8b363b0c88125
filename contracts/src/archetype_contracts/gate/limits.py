"""The quotas and the clock of a gate under test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

_FREE: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class GateLimits:
    """The quotas of a gate. A command costs ``costs[kind]`` credits (1 by default) times its ``weight``."""

    commands: int = 100_000
    """Commands per actor, world and tick; commands to the gate itself do not count."""
    credits: int = 10_000_000
    """Tokens per actor and UTC day."""
    costs: Mapping[str, int] = field(default_factory=lambda: _FREE)


class ManualClock:
    """A ``Clock`` that changes only when a clause advances it."""

    def __init__(self) -> None:
        self._now = datetime(2030, 5, 17, 12, 0, tzinfo=UTC)

    def now(self) -> datetime:
        """The current time of the test."""
        return self._now

    def advance(self, by: timedelta) -> None:
        """Advance the time."""
        self._now += by

    def start_next_day(self) -> None:
        """Advance to the start of the next UTC day."""
        self._now = (self._now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
