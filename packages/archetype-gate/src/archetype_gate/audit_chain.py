"""The hash chain of the audit log: each row's hash covers the row and the hash before it, so that changes are found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from archetype_gate.ledger import Damage

START = bytes(32)
"""The hash before the first row."""


class ChainedRow(NamedTuple):
    """A row of the audit table without its hash, columns in order: a command was recorded (``is_new``) or settled."""

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


def chain_hash(previous: bytes, row: ChainedRow) -> bytes:
    """Return the hash of a row that follows a row with the hash ``previous``."""
    return hashlib.sha256(previous + json.dumps(row, ensure_ascii=True, separators=(",", ":")).encode()).digest()


def find_damage(rows: Iterable[tuple[ChainedRow, bytes]], count: int, last: bytes) -> Iterator[Damage]:
    """Compare rows and their hashes with each other, and with the number of rows and the last hash as stored apart."""
    previous, expected = START, 1
    for row, stored in rows:
        if row.seq != expected:
            # The row after a gap cannot be checked: the hash that it follows is missing.
            yield Damage(f"audit event {expected}", f"{row.seq - expected} rows are missing before row {row.seq}")
            expected = row.seq
        elif chain_hash(previous, row) != stored:
            yield Damage(f"audit event {row.seq}", "the row was edited or moved after it was written")
        previous = stored
        expected += 1
    if expected - 1 != count:
        yield Damage("the end of the audit", f"{count} rows were written, {expected - 1} are present")
    elif previous != last:
        yield Damage("the end of the audit", "the last row is not the row that was written last")
