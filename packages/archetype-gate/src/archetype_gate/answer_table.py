"""The table ``answers``: commands that were sent with an idempotency key, with their results."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from archetype_gate.audit_chain import SealedTables
from archetype_gate.database import LedgerDatabase
from archetype_gate.ledger import KEPT_US, LedgerAnswer


class AnswerTable:
    """Reads and writes the table ``answers``. Every change is on disk when its method returns."""

    def __init__(self, database: LedgerDatabase) -> None:
        self._database = database

    def find(self, key: str) -> LedgerAnswer | None:
        """Return the command with a key."""
        query = "SELECT key, actor, request, command_id, world_id, tick, at_us, result FROM answers WHERE key = ?"
        rows = self._database.read(query, (key,))
        return LedgerAnswer(*rows[0]) if rows else None

    def count(self, actor: str, since_us: int) -> int:
        """Return how many keys an actor has used since a moment."""
        ((count,),) = self._database.read(
            "SELECT count(*) FROM answers WHERE actor = ? AND at_us >= ?", (actor, since_us)
        )
        return int(count)

    def begin(self, answer: LedgerAnswer) -> None:
        """Insert a command."""
        with self._database.transaction() as tables:
            put_answers(tables, [answer])

    def drop(self, key: str) -> None:
        """Delete a command."""
        with self._database.transaction() as tables:
            tables.remove("answers", "key", [key])


def put_answers(tables: SealedTables, answers: Sequence[LedgerAnswer]) -> None:
    """Insert commands in place of those with the same keys, also among themselves, and delete what is too old."""
    if not answers:
        return
    last = {one.key: one for one in answers}
    tables.remove("answers", "key", list(last))
    tables.take("answers", "at_us < ?", (max(one.at_us for one in answers) - KEPT_US,))
    tables.insert("answers", [dataclasses.astuple(one) for one in last.values()])
