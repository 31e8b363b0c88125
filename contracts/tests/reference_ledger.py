"""The stored state of the reference gate: one ledger per place, kept until the process ends."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from archetype_core.command import ActorCtx, AuditFilter, AuditRow, Command, EntityCommand
from archetype_core.store import Segment


@dataclass(slots=True)
class Waiting:
    """A mutation that no tick applied yet: queued, or executed and staged."""

    seq: int
    command_id: str
    command: EntityCommand[Any]
    ids: range
    tick: int
    priority: int
    is_staged: bool = False
    """Whether it is staged in the live world."""

    @property
    def place(self) -> tuple[int, int, int]:
        return self.tick, self.priority, self.seq


@dataclass(slots=True)
class KnownWorld:
    """A world that was created."""

    world_id: str
    name: str
    segment: Segment
    next_entity_id: int = 1
    parent: str | None = None
    queue: list[Waiting] = field(default_factory=list)
    staged: list[Waiting] = field(default_factory=list)
    is_destroyed: bool = False
    maker: str = ""


@dataclass(slots=True)
class Noted:
    """What is known of a command with a key."""

    request: str
    is_done: bool = False
    result: Any = None
    ticks: list[tuple[int, int]] = field(default_factory=list)
    """The ticks that it made, each with the number of commands that it applied."""


@dataclass(slots=True)
class Ledger:
    """Audit rows and the chain of settled ones, worlds with their queues, and used quotas."""

    rows: list[AuditRow] = field(default_factory=list)
    chain: list[tuple[int, str]] = field(default_factory=list)
    worlds: dict[str, KnownWorld] = field(default_factory=dict)
    commands: dict[tuple[str, str, int], int] = field(default_factory=dict)
    credits: dict[tuple[str, str], int] = field(default_factory=dict)
    notes: dict[tuple[str, str], Noted] = field(default_factory=dict)
    named: int = 0

    def name(self) -> str:
        """A new command id."""
        self.named += 1
        return f"command {self.named}"

    def enter(self, row: Mapping[str, Any], command_id: str = "") -> AuditRow:
        """Add a row with the next number."""
        seq = len(self.rows) + 1
        made = AuditRow(seq=seq, command_id=command_id or self.name(), settled_at=None, duration_s=0.0, **row)
        self.rows.append(made)
        if made.status != "queued":
            self.settle(seq, made.status, made.reason, made.tick, made.submitted_at)
        return made

    def settle(self, seq: int, status: Any, reason: str, tick: int | None, now: datetime) -> None:
        """Set the outcome of a command, and add its row to the chain."""
        row = self.rows[seq - 1]
        settled = replace(row, status=status, reason=reason, tick=tick, settled_at=now)
        self.rows[seq - 1] = settled
        before = self.chain[-1][1] if self.chain else ""
        self.chain.append((seq, digest(settled, before)))

    def verify(self) -> list[str]:
        """The defects in the settled rows."""
        found, before = [], ""
        by_seq = {row.seq: row for row in self.rows}
        for seq, expected in self.chain:
            if seq not in by_seq:
                found.append(f"row {seq} is missing")
            elif digest(by_seq[seq], before) != expected:
                found.append(f"row {seq} was changed")
            before = expected
        return found

    def tamper(self, how: str) -> None:
        """Change rows so that ``verify`` must find it."""
        middle = len(self.rows) // 2
        rows = self.rows
        if how == "edit":
            rows[middle] = replace(rows[middle], actor="another actor")
        elif how == "remove":
            del rows[middle]
        else:
            one, two = rows[middle], rows[middle + 1]
            rows[middle : middle + 2] = [replace(two, seq=one.seq), replace(one, seq=two.seq)]

    def settled(self) -> list[AuditRow]:
        """The settled rows in the order of their settlement, numbered by it."""
        by_seq = {row.seq: row for row in self.rows}
        return [replace(by_seq[seq], seq=place) for place, (seq, _) in enumerate(self.chain, 1)]

    def read(self, world_id: str | None, asked: AuditFilter) -> tuple[AuditRow, ...]:
        """The rows that match a filter."""
        known = self.settled() if asked.by_settlement else self.rows
        rows: Iterable[AuditRow] = known if asked.oldest_first else reversed(known)
        found = [row for row in rows if fits(row, world_id, asked)]
        return tuple(found[: asked.limit])


def fits(row: AuditRow, world_id: str | None, asked: AuditFilter) -> bool:
    """Whether a row matches a filter."""
    wanted = ((world_id, row.world_id), (asked.world_id, row.world_id), (asked.actor, row.actor))
    also = ((asked.type, row.type), (asked.status, row.status))
    if any(want is not None and want != has for want, has in (*wanted, *also)):
        return False
    if asked.after is not None and (row.seq <= asked.after if asked.oldest_first else row.seq >= asked.after):
        return False
    return (asked.since is None or row.submitted_at >= asked.since) and (
        asked.until is None or row.submitted_at < asked.until
    )


def digest(row: AuditRow, before: str) -> str:
    """The hash of a row and of the row before it."""
    return hashlib.sha256(f"{before} {row!r}".encode()).hexdigest()


def row_fields(actor: ActorCtx, command: Command[Any], world_id: str | None, payload: str) -> dict[str, Any]:
    """The fields of a row that describe the command."""
    return {
        "world_id": world_id or "",
        "actor": actor.id,
        "roles": tuple(sorted(actor.roles)),
        "type": command.kind,
        "payload": payload,
    }
