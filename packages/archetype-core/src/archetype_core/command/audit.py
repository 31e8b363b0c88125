"""What a gate keeps of every command, for ever."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from archetype_core.argument import is_count

Status = Literal["applied", "queued", "rejected", "failed"]


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One command: who asked for what, when, and what became of it."""

    seq: int
    """Its place in the ledger; later commands have higher ones."""
    command_id: str
    world_id: str
    """Empty for commands to the gate itself, unless they made or opened a world."""
    actor: str
    roles: tuple[str, ...]
    type: str
    payload: str
    """JSON; of a long one only its size and hash."""
    status: Status
    reason: str
    """Why it was rejected or failed."""
    tick: int | None
    """The tick that applied it, or that it was asked in."""
    submitted_at: datetime
    settled_at: datetime | None
    """When it was applied, rejected or failed; None while it is queued."""
    duration_s: float


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which audit rows to read: newest first unless ``oldest_first``; ``after`` is the ``seq`` of the last one seen."""

    world_id: str | None = None
    actor: str | None = None
    type: str | None = None
    status: Status | None = None
    since: datetime | None = None
    until: datetime | None = None
    after: int | None = None
    limit: int = 100
    oldest_first: bool = False

    def __post_init__(self) -> None:
        if not is_count(self.limit) or self.limit >= 2**63:
            raise ValueError(f"limit is a number of rows, 0 or more, not {self.limit!r}")
        for name in ("since", "until"):
            moment = getattr(self, name)
            if moment is not None and (not isinstance(moment, datetime) or moment.tzinfo is None):
                raise ValueError(f"{name} is a datetime with a time zone, not {moment!r}")
