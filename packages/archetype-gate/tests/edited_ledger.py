"""A ledger with rows in every table, and changes of its file behind its back."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from archetype_core.store import Segment
from archetype_gate import SqliteLedger
from archetype_gate.ledger import AcceptedCommand, AttemptRef, AuditEntry, LedgerRollout, LedgerWorld, Settlement
from archetype_gate.quota import Usage
from archetype_gate.timestamp import to_micros

NOON = to_micros(datetime(2026, 1, 1, 12, tzinfo=UTC))
ROWS = ("worlds", "commands", "staged", "held", "audit", "rollouts", "episodes", "tokens", "ticks")
"""The tables in which ``filled_ledger`` has rows."""


def entry_for(
    command_id: str, *, waits: bool = False, is_direct: bool = False, usage: Usage | None = None
) -> AuditEntry:
    """An audit row for a command; of one that waits, with the command."""
    accepted = AcceptedCommand(command_id, "w", "Spawn", lambda: b"{}", range(1, 2), 4, 1, is_direct)
    if not waits:
        return AuditEntry(command_id, "w", "ada", ("admin",), "spawn", "{}", "applied", NOON, usage=usage)
    return AuditEntry(command_id, "w", "ada", ("admin",), "spawn", "{}", "queued", NOON, accepted=accepted, usage=usage)


def filled_ledger(path: Path) -> SqliteLedger:
    """A ledger with rows in every table, all of them written."""
    ledger = SqliteLedger(path)
    ledger.add_world(LedgerWorld(Segment("w", "run", 0, None, "w", 1)))
    ledger.add_world(LedgerWorld(Segment("v", "run", 0, None, "v", 1)))
    usage = Usage("ada", date(2026, 1, 1), 7, "w", 3, 2)
    ledger.record([entry_for(one, waits=True, usage=usage) for one in "ab"])
    ledger.record([entry_for("c"), entry_for("d")])
    ledger.record([entry_for(one, waits=True, is_direct=True) for one in ("settled-e", "settled-f")])
    ledger.sync()
    ledger.record([entry_for(one, waits=True, is_direct=True) for one in "gh"])
    ledger.settle([Settlement(one, "w", "applied", NOON, 3) for one in ("settled-e", "settled-f")])
    ledger.sync()
    ledger.record([entry_for("i", waits=True, is_direct=True)])
    held = [entry_for(one, waits=True) for one in ("held-e", "held-f")]
    ledger.hold(held, AttemptRef("w", 1, "attempt"))
    for name in ("first", "second"):
        ledger.begin_rollout(LedgerRollout(f"id-{name}", "w", name, "{}"))
        ledger.begin_episode(f"id-{name}", 0, "v")
        ledger.finish_episode(f"id-{name}", 0, "{}")
    ledger.sync()
    assert ledger.verify() == []
    return ledger


def change(path: Path, script: str) -> None:
    """Change a ledger behind its back."""
    with closing(sqlite3.connect(path)) as other, other:
        other.executescript(script)


def columns(table: str) -> dict[str, str]:
    """The columns of a table and their types."""
    with TemporaryDirectory() as directory:
        SqliteLedger(Path(directory) / "ledger.sqlite").close()
        with closing(sqlite3.connect(Path(directory) / "ledger.sqlite")) as other:
            return {row[1]: row[2] for row in other.execute(f"PRAGMA table_info({table})")}


COLUMNS = {table: columns(table) for table in (*ROWS, "chain")}
