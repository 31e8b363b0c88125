"""Writes what a SQLite ledger collected: audit rows with their hashes, waiting commands, settled ticks and usage."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

from archetype_gate.answer_table import put_answers
from archetype_gate.audit_chain import Row, SealedTables
from archetype_gate.ledger import AcceptedCommand, AuditEntry, Settlement
from archetype_gate.quota import Usage
from archetype_gate.schema import SETTLEMENT
from archetype_gate.staged_table import insert_staged, take_staged
from archetype_gate.world_table import raise_settled_tick


def write_records(
    tables: SealedTables,
    entries: Sequence[AuditEntry],
    settlements: Sequence[Settlement],
    settled_ticks: Mapping[str, int],
    released: Collection[str],
    *,
    usages: Sequence[Usage],
) -> None:
    """Write a batch inside the caller's transaction. Payloads are encoded here.

    An entry of a ``released`` command that is not held any more is not written: another process has written it.
    """
    if gone := set(released).difference(row[1] for row in tables.remove("held", "command_id", released)):
        settlements = [
            *(_settlement(one) for one in entries if one.command_id in gone and not one.accepted),
            *settlements,
        ]
        entries = [one for one in entries if one.command_id not in gone]
    numbers = tables.append(map(_new_row, entries))
    # A waiting command has the number of its audit row, so that its hash covers its place in the order too.
    waiting = [(seq, one.accepted) for seq, one in zip(numbers, entries, strict=True) if one.accepted]
    tables.insert("commands", [_command_row(*one) for one in waiting if not one[1].is_direct])
    insert_staged(tables, [one for one in waiting if one[1].is_direct])
    tables.append(_settled_rows(settlements, _take_waiting(tables, settlements)))
    put_answers(tables, [one.answer for one in entries if one.answer is not None])
    for world_id, tick in settled_ticks.items():
        raise_settled_tick(tables, world_id, tick)
    _add_usage(tables, [*usages, *(entry.usage for entry in entries if entry.usage is not None)])


def _new_row(entry: AuditEntry) -> Row:
    return (
        1,
        None,
        entry.command_id,
        1,
        entry.world_id,
        entry.actor,
        _roles_json(entry.roles),
        entry.type,
        entry.payload_text(),
        entry.status,
        entry.reason,
        entry.tick,
        entry.at_us,
        entry.duration_us,
    )


@lru_cache(maxsize=1024)
def _roles_json(roles: frozenset[str] | tuple[str, ...]) -> str:
    return json.dumps(sorted(roles))


def _take_waiting(tables: SealedTables, settlements: Sequence[Settlement]) -> dict[str, int]:
    """Delete waiting commands, and return the numbers of their audit rows by id; a settled one has none."""
    ids = {one.command_id for one in settlements}
    found = take_staged(tables, {one.world_id for one in settlements}, ids)
    found |= {row[1]: row[0] for row in tables.remove("commands", "command_id", ids - found.keys())}
    is_settled = f"EXISTS (SELECT 1 FROM audit s WHERE {SETTLEMENT})"  # noqa: S608  # reason: our own condition
    query = (
        f"SELECT a.seq FROM audit a WHERE a.command_id = ? AND a.is_new AND a.status = 'queued' AND NOT {is_settled}"  # noqa: S608  # reason: as above
    )
    for one in ids - found.keys():
        if (row := tables.connection.execute(query, (one,)).fetchone()) is not None:
            found[one] = row[0]
    return found


def _settled_rows(settlements: Iterable[Settlement], numbers: dict[str, int]) -> Iterator[Row]:
    """Rows that settle commands: one for those that follow each other and became the same. Each command settles once."""
    settled = [(numbers.pop(one.command_id), one) for one in settlements if one.command_id in numbers]
    # A command's number less its place in the list is the same for all that follow each other.
    places = itertools.count()
    runs = itertools.groupby(settled, lambda one: (one[0] - next(places), one[1][1:]))
    for (_, (world_id, status, at_us, tick, reason)), run in runs:
        (first, _), *rest = run
        yield (1 + len(rest), first, "", 0, world_id, "", "", "", "", status, reason, tick, at_us, 0)


def _settlement(entry: AuditEntry) -> Settlement:
    """The final status of an entry that was settled before it was written."""
    at_us = entry.at_us + entry.duration_us
    return Settlement(entry.command_id, entry.world_id, entry.status, at_us, entry.tick, entry.reason)


def _command_row(seq: int, one: AcceptedCommand) -> Row:
    ids = one.entity_ids
    return (
        seq,
        one.command_id,
        one.world_id,
        one.class_name,
        one.payload(),
        ids.start,
        len(ids),
        one.due,
        one.priority,
    )


def _add_usage(tables: SealedTables, usages: Iterable[Usage]) -> None:
    # The table of used credits is named "tokens".
    used_credits: dict[tuple[str, str], int] = {}
    ticks: dict[tuple[str, str], tuple[int, int]] = {}
    for one in usages:
        key = (one.actor, one.day.isoformat())
        used_credits[key] = used_credits.get(key, 0) + one.credits
        if one.world_id is not None:
            tick, used = ticks.get((one.actor, one.world_id), (one.tick, 0))
            ticks[one.actor, one.world_id] = (one.tick, one.commands + (used if tick == one.tick else 0))
    for (actor, day), used in used_credits.items():
        rows = tables.take("tokens", "actor = ? AND day = ?", (actor, day))
        tables.insert("tokens", [(actor, day, used + (rows[0][2] if rows else 0))])
    for (actor, world_id), (tick, used) in ticks.items():
        rows = tables.take("ticks", "actor = ? AND world_id = ?", (actor, world_id))
        before = rows[0][3] if rows and rows[0][2] == tick else 0
        tables.insert("ticks", [(actor, world_id, tick, used + before)])
