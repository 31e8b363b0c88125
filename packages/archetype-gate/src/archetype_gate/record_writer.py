"""Writes what a SQLite ledger collected: audit rows with their hashes, waiting commands, settled ticks and usage."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence

from archetype_gate.audit_chain import ChainedRow, chain_hash
from archetype_gate.held_table import delete_held
from archetype_gate.ledger import AcceptedCommand, AuditEntry, Settlement
from archetype_gate.quota import Usage


def write_records(
    connection: sqlite3.Connection,
    entries: Sequence[AuditEntry],
    settlements: Sequence[Settlement],
    settled_ticks: Mapping[str, int],
    released: Collection[str],
) -> None:
    """Write a batch inside the caller's transaction. Payloads are encoded here.

    An entry of a ``released`` command that is not held any more is not written: another process has written it.
    """
    if gone := delete_held(connection, released):
        settlements = [
            *(_settlement(one) for one in entries if one.command_id in gone and not one.accepted),
            *settlements,
        ]
        entries = [one for one in entries if one.command_id not in gone]
    count, last = connection.execute("SELECT count, hash FROM chain").fetchone()
    rows: list[tuple[object, ...]] = []

    def add(row: ChainedRow) -> None:
        nonlocal count, last
        row = ChainedRow._make(_escape_surrogates(value) if isinstance(value, str) else value for value in row)
        count, last = row.seq, chain_hash(last, row)
        rows.append((*row, last))

    for entry in entries:
        add(_new_row(entry, count + 1))
    for one in settlements:
        add(_settled_row(one, count + 1))
    connection.executemany("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
    connection.execute("UPDATE chain SET count = ?, hash = ?", (count, last))
    connection.executemany(
        "INSERT INTO commands (command_id, world_id, form, payload, first_id, id_count, due, priority, is_direct) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [_command_row(entry.accepted) for entry in entries if entry.accepted is not None],
    )
    connection.executemany("DELETE FROM commands WHERE command_id = ?", [(one.command_id,) for one in settlements])
    connection.executemany(
        "UPDATE worlds SET settled_tick = max(settled_tick, ?) WHERE world_id = ?",
        [(tick, world_id) for world_id, tick in settled_ticks.items()],
    )
    _add_usage(connection, [entry.usage for entry in entries if entry.usage is not None])


def _escape_surrogates(text: str) -> str:
    """Spell out lone surrogates, which a database cannot store."""
    return text.encode("utf-8", "backslashreplace").decode() if not text.isascii() else text


def _new_row(entry: AuditEntry, seq: int) -> ChainedRow:
    return ChainedRow(
        seq,
        entry.command_id,
        1,
        entry.world_id,
        entry.actor,
        json.dumps(entry.roles),
        entry.type,
        entry.payload if isinstance(entry.payload, str) else entry.payload(),
        entry.status,
        entry.reason,
        entry.tick,
        entry.at_us,
        entry.duration_us,
    )


def _settled_row(one: Settlement, seq: int) -> ChainedRow:
    return ChainedRow(
        seq, one.command_id, 0, one.world_id, "", "", "", "", one.status, one.reason, one.tick, one.at_us, 0
    )


def _settlement(entry: AuditEntry) -> Settlement:
    """The final status of an entry that was settled before it was written."""
    at_us = entry.at_us + entry.duration_us
    return Settlement(entry.command_id, entry.world_id, entry.status, at_us, entry.tick, entry.reason)


def _command_row(one: AcceptedCommand) -> tuple[object, ...]:
    ids = one.entity_ids
    return (
        one.command_id,
        one.world_id,
        one.class_name,
        one.payload(),
        ids.start,
        len(ids),
        one.due,
        one.priority,
        int(one.is_direct),
    )


def _add_usage(connection: sqlite3.Connection, usages: Iterable[Usage]) -> None:
    # The table of used credits is named "tokens".
    used_credits: dict[tuple[str, str], int] = {}
    ticks: dict[tuple[str, str], tuple[int, int]] = {}
    for one in usages:
        key = (one.actor, one.day.isoformat())
        used_credits[key] = used_credits.get(key, 0) + one.credits
        if one.world_id is not None:
            tick, used = ticks.get((one.actor, one.world_id), (one.tick, 0))
            ticks[one.actor, one.world_id] = (one.tick, one.commands + (used if tick == one.tick else 0))
    connection.executemany(
        "INSERT INTO tokens VALUES (?, ?, ?) ON CONFLICT (actor, day) DO UPDATE SET used = used + excluded.used",
        [(*key, used) for key, used in used_credits.items()],
    )
    connection.executemany(
        "INSERT INTO ticks VALUES (?, ?, ?, ?) ON CONFLICT (actor, world_id) DO UPDATE SET "
        "used = excluded.used + iif(tick = excluded.tick, used, 0), tick = excluded.tick",
        [(*key, *used) for key, used in ticks.items()],
    )
