"""Audit rows: the permanent record of every command."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from archetype_core.argument import is_count

Status = Literal["applied", "queued", "rejected", "failed"]


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One command in the audit log: actor, type, payload, status and times."""

    seq: int
    """Its position in the ledger; later commands have higher numbers."""
    command_id: str
    world_id: str
    """Empty for commands to the gate itself, unless they created or opened a world."""
    actor: str
    roles: tuple[str, ...]
    type: str
    payload: str
    """JSON; a long payload is replaced by its size, hash and beginning."""
    status: Status
    reason: str
    """Why it was rejected or failed."""
    tick: int | None
    """The tick that applied it; before that, the tick in which it was sent."""
    submitted_at: datetime
    settled_at: datetime | None
    """When it was applied, rejected or failed; None while it is queued."""
    duration_s: float


@dataclass(frozen=True, slots=True)
class AuditHead:
    """The end of an audit log at one moment. Kept elsewhere, it tells later whether the log was cut back or rewritten."""

    count: int
    """How many rows the log had."""
    hash: str
    """The hash of the last row, as hexadecimal digits. It covers every row before it."""
    at: datetime
    """When the head was taken."""


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which audit rows to read: newest first unless ``oldest_first``; ``after`` is the ``seq`` of the last one seen.

    ``by_settlement`` reads settled rows alone, in the order in which they were settled. That is the order that ``seq`` and
    ``after`` number then: a reader that goes on from the last one sees every settled row once.
    """

    world_id: str | None = None
    actor: str | None = None
    type: str | None = None
    status: Status | None = None
    since: datetime | None = None
    until: datetime | None = None
    after: int | None = None
    limit: int = 100
    oldest_first: bool = False
    by_settlement: bool = False

    def __post_init__(self) -> None:
        if not is_count(self.limit) or self.limit >= 2**63:
            raise ValueError(f"limit is a number of rows, 0 or more, not {self.limit!r}")
        if self.status is not None and self.status not in get_args(Status):
            raise ValueError(f"status is {', '.join(get_args(Status))} or None, not {self.status!r}")
        for name in ("since", "until"):
            moment = getattr(self, name)
            if moment is not None and (not isinstance(moment, datetime) or moment.tzinfo is None):
                raise ValueError(f"{name} is a datetime with a time zone, not {moment!r}")
