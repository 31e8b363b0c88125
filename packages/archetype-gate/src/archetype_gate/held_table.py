"""The table ``held``: durable commands of attempts that are not known to be committed yet."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

from archetype_gate.audit_chain import SealedTables, check_tables
from archetype_gate.database import LedgerDatabase
from archetype_gate.ledger import AcceptedCommand, AttemptRef, AuditEntry, HeldEntry
from archetype_gate.quota import Usage


def insert_held(tables: SealedTables, entries: Iterable[AuditEntry], attempt: AttemptRef) -> None:
    """Insert the entries that an attempt holds, each with all that its audit row and its command need."""
    (last,) = tables.connection.execute("SELECT coalesce(max(seq), 0) FROM held").fetchone()
    source = (attempt.world_id, attempt.tick, attempt.id)
    accepted = [(one, one.accepted) for one in entries if one.accepted is not None]
    tables.insert(
        "held",
        [
            (seq, one.command_id, one.world_id, *source, *_packed(one, command))
            for seq, (one, command) in enumerate(accepted, last + 1)
        ],
    )


def held_entries(database: LedgerDatabase) -> list[HeldEntry]:
    """Return everything that is held, in the order it was inserted; ``CorruptStore`` if any of it was changed."""
    with database.reading() as connection:
        check_tables(connection, database.hasher, database.path, ("held",))
        rows = connection.execute(
            "SELECT command_id, world_id, source, tick, attempt, entry, payload FROM held ORDER BY seq"
        ).fetchall()
    return [HeldEntry(AttemptRef(*attempt), _unpacked(*ids, *packed)) for *ids, attempt, packed in map(_split, rows)]


def _split(row: Sequence[Any]) -> tuple[Any, ...]:
    return (*row[:2], row[2:5], row[5:])


def _packed(entry: AuditEntry, accepted: AcceptedCommand) -> tuple[str, bytes]:
    usage = entry.usage
    fields = {
        "actor": entry.actor,
        "roles": sorted(entry.roles),
        "type": entry.type,
        "payload": entry.payload_text(),
        "at_us": entry.at_us,
        "tick": entry.tick,
        "class_name": accepted.class_name,
        "entity_ids": [accepted.entity_ids.start, accepted.entity_ids.stop],
        "due": accepted.due,
        "priority": accepted.priority,
        "is_direct": accepted.is_direct,
        "usage": usage and [usage.day.isoformat(), usage.credits, usage.world_id, usage.tick, usage.commands],
    }
    return json.dumps(fields), accepted.payload()


def _unpacked(command_id: str, world_id: str, packed: str, payload: bytes) -> AuditEntry:
    fields = json.loads(packed)
    usage = fields["usage"]
    return AuditEntry(
        command_id=command_id,
        world_id=world_id,
        actor=fields["actor"],
        roles=tuple(fields["roles"]),
        type=fields["type"],
        payload=fields["payload"],
        status="queued",
        at_us=fields["at_us"],
        tick=fields["tick"],
        accepted=AcceptedCommand(
            command_id,
            world_id,
            fields["class_name"],
            payload,
            range(*fields["entity_ids"]),
            fields["due"],
            fields["priority"],
            fields["is_direct"],
        ),
        usage=usage and Usage(fields["actor"], date.fromisoformat(usage[0]), *usage[1:]),
    )
