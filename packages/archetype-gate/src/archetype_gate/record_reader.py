"""Reads what a SQLite ledger wrote: audit rows, waiting commands and usage."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any

from archetype_core.command import AuditFilter, AuditHead, AuditRow
from archetype_gate.audit_chain import check_tables, find_damage, without_surrogates
from archetype_gate.database import LedgerDatabase
from archetype_gate.ledger import AcceptedCommand, Damage
from archetype_gate.quota import Usage
from archetype_gate.schema import SETTLEMENT
from archetype_gate.staged_table import staged_commands, staged_ids
from archetype_gate.timestamp import from_micros, to_micros

_SETTLED_NUMBER = "(e.seq - coalesce(e.settles + e.span - 1 - a.seq, 0))"
_HOLDER = "coalesce((SELECT min(seq) FROM audit WHERE seq >= ?), 9223372036854775807)"


def waiting_commands(database: LedgerDatabase, world_id: str) -> list[AcceptedCommand]:
    """Return the commands that wait for a world, in the order they were accepted.

    ``CorruptStore`` if a world or a command was changed after it was written, or is missing.
    """
    with database.reading() as connection:
        check_tables(connection, database.hasher, database.path, ("commands", "staged", "worlds"))
        queued = connection.execute(
            "SELECT seq, command_id, form, payload, first_id, id_count, due, priority FROM commands WHERE world_id = ?",
            (world_id,),
        ).fetchall()
        staged = connection.execute(
            "SELECT seq, world_id, members, payloads FROM staged WHERE world_id = ?", (world_id,)
        ).fetchall()
    found = [
        (seq, AcceptedCommand(name, world_id, form, payload, range(first, first + count), due, priority))
        for seq, name, form, payload, first, count, due, priority in queued
    ]
    found += [one for row in staged for one in staged_commands(row)]
    return [one for _, one in sorted(found, key=lambda one: one[0])]


def recorded_ids(database: LedgerDatabase, command_ids: Iterable[str]) -> set[str]:
    """Return those of the command ids that have an audit row."""
    return {
        one
        for one in command_ids
        if database.read("SELECT 1 FROM audit WHERE command_id = ? AND is_new LIMIT 1", (one,))
    }


def usage_since(database: LedgerDatabase, since: date) -> list[Usage]:
    """Return the credits used since a day, and the commands used in each world's latest tick."""
    used_credits = database.read("SELECT actor, day, used FROM tokens WHERE day >= ?", (since.isoformat(),))
    ticks = database.read("SELECT actor, world_id, tick, used FROM ticks")
    return [
        *(Usage(actor, date.fromisoformat(day), used, None, 0, 0) for actor, day, used in used_credits),
        *(Usage(actor, since, 0, world_id, tick, used) for actor, world_id, tick, used in ticks),
    ]


def audit_rows(database: LedgerDatabase, which: AuditFilter) -> tuple[AuditRow, ...]:
    """Return the audit rows that pass a filter, each with the final status of its command if it is settled."""
    if which.by_settlement:
        # A command is settled by the row of its own, or if it was queued by one that settles it, with others perhaps.
        conditions, number, row = ["(NOT e.is_new OR e.status != 'queued')"], _SETTLED_NUMBER, "e"
        source = (
            "audit e CROSS JOIN audit a ON a.seq BETWEEN coalesce(e.settles, e.seq) "
            "AND coalesce(e.settles + e.span - 1, e.seq) AND a.is_new LEFT JOIN audit s ON s.seq = e.seq AND NOT e.is_new"
        )
    else:
        conditions, number, row = ["a.is_new"], "a.seq", "a"
        source = f"audit a LEFT JOIN audit s ON {SETTLEMENT}"
    values: list[object] = []
    wanted: list[tuple[str, object]] = [
        (f"{row}.world_id = ?", which.world_id),
        ("a.actor = ?", which.actor),
        ("a.type = ?", which.type),
        ("coalesce(s.status, a.status) = ?", which.status),
        ("a.at_us >= ?", which.since and to_micros(which.since)),
        ("a.at_us < ?", which.until and to_micros(which.until)),
        # The first of each two finds the rows by their key: of a row with many numbers that is the last one.
        (f"{row}.seq > ?" if which.oldest_first else f"{row}.seq <= {_HOLDER}", which.after),
        (f"{number} > ?" if which.oldest_first else f"{number} < ?", which.after),
    ]
    for condition, value in wanted:
        if value is not None:
            conditions.append(condition)
            values.append(value)
    order = "ASC" if which.oldest_first else "DESC"
    rows = database.read(
        f"SELECT {number}, a.command_id, a.world_id, a.actor, a.roles, a.type, a.payload, a.status, a.reason, a.tick, "
        f"a.at_us, a.duration_us, s.status, s.reason, s.tick, s.at_us FROM {source} "
        f"WHERE {' AND '.join(conditions)} ORDER BY {row}.seq {order}, a.seq {order} LIMIT ?",
        (*values, which.limit),
    )
    return tuple(map(_audit_row, rows))


def damages(database: LedgerDatabase, head: AuditHead | None) -> list[Damage]:
    """Check everything that is hashed, and that every queued command is still stored; reads all rows."""
    with database.reading() as connection:
        found = list(find_damage(connection, database.hasher, head))
        staged = {one for (members,) in connection.execute("SELECT members FROM staged") for one in staged_ids(members)}
        missing = connection.execute(
            "SELECT command_id FROM audit a WHERE is_new AND status = 'queued' "
            f"AND NOT EXISTS (SELECT 1 FROM audit s WHERE {SETTLEMENT}) "
            "AND NOT EXISTS (SELECT 1 FROM commands c WHERE c.command_id = a.command_id)"
        )
        return [
            *found,
            *(
                Damage(without_surrogates(f"command {one}"), "it is queued, but the stored command is missing")
                for (one,) in missing
                if one not in staged
            ),
        ]


def audit_head(database: LedgerDatabase, at: datetime) -> AuditHead:
    """Return the end of the audit as written so far."""
    ((count, last),) = database.read("SELECT count, hash FROM chain")
    return AuditHead(count, last.hex(), at)


def _audit_row(row: Sequence[Any]) -> AuditRow:
    seq, command_id, world_id, actor, roles, kind, payload, status, reason, tick, at_us, duration_us, *settled = row
    end_us = at_us + duration_us
    if settled[0] is not None:
        status, reason, tick, end_us = settled
    return AuditRow(
        seq=seq,
        command_id=command_id,
        world_id=world_id,
        actor=actor,
        roles=tuple(json.loads(roles)),
        type=kind,
        payload=payload,
        status=status,
        reason=reason,
        tick=tick,
        submitted_at=from_micros(at_us),
        settled_at=None if status == "queued" else from_micros(end_us),
        duration_s=(end_us - at_us) / 1e6,
    )
