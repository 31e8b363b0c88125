"""The chain of audit events: each carries a hash of itself and of the one before, so none changes or goes unseen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from archetype_gate.ledger import Damage

START = bytes(32)
"""What the first event follows."""


class ChainedRow(NamedTuple):
    """One thing that happened to a command: it was asked, or it was settled. The columns of the audit table, in order."""

    seq: int
    command_id: str
    is_new: int
    world_id: str
    actor: str
    roles: str
    type: str
    payload: str
    status: str
    reason: str
    tick: int | None
    at_us: int
    duration_us: int


def link(before: bytes, event: ChainedRow) -> bytes:
    """The hash of an event that follows another."""
    return hashlib.sha256(before + json.dumps(event, ensure_ascii=True, separators=(",", ":")).encode()).digest()


def damages(rows: Iterable[tuple[ChainedRow, bytes]], count: int, last: bytes) -> Iterator[Damage]:
    """What is wrong with a chain that is said to have so many events and to end in a hash."""
    before, expected = START, 1
    for event, stored in rows:
        if event.seq != expected:
            # What follows a gap is judged by itself.
            yield Damage(f"audit event {expected}", f"{event.seq - expected} events are missing before {event.seq}")
            expected = event.seq
        elif link(before, event) != stored:
            yield Damage(f"audit event {event.seq}", "it is not what was written, or not where it was written")
        before = stored
        expected += 1
    if expected - 1 != count:
        yield Damage("the end of the audit", f"{count} events were written, {expected - 1} are there")
    elif before != last:
        yield Damage("the end of the audit", "the last event is not the one that was written last")
