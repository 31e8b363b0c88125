"""The table ``staged``: direct commands that wait for their world's next tick. What was written together is one row.

A tick applies nearly always all of a row's commands, so that each is written, hashed and deleted with many others.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from archetype_gate.audit_chain import Row, SealedTables
from archetype_gate.ledger import AcceptedCommand

_TYPES = [int, str, str, int, int, int, int, int]
Numbered = tuple[int, AcceptedCommand]
"""A command and the number of its audit row."""


def insert_staged(tables: SealedTables, commands: Iterable[Numbered]) -> None:
    """Insert commands, those of each world as one row. Payloads are encoded here."""
    by_world: dict[str, list[Numbered]] = {}
    for one in commands:
        by_world.setdefault(one[1].world_id, []).append(one)
    tables.insert("staged", [_row(world_id, found) for world_id, found in by_world.items()])


def take_staged(tables: SealedTables, world_ids: Iterable[str], command_ids: Collection[str]) -> dict[str, int]:
    """Delete those of the commands that are staged, and return the numbers of their audit rows by id."""
    taken: dict[str, int] = {}
    for world_id in world_ids:
        query = "SELECT seq, members FROM staged WHERE world_id = ? ORDER BY seq"
        for first, members in tables.connection.execute(query, (world_id,)).fetchall():
            parsed = _parsed(members)
            found = {one[1]: one[0] for one in parsed if one[1] in command_ids}
            if found:
                rows = tables.take("staged", "seq = ?", (first,))
                if len(found) < len(parsed):
                    rest = [one for row in rows for one in staged_commands(row) if one[1].command_id not in found]
                    insert_staged(tables, rest)
                taken |= found
    return taken


def staged_commands(row: Sequence[Any]) -> Iterator[Numbered]:
    """The commands of a row, given without its hash."""
    _, world_id, members, payloads = row
    start = 0
    for seq, name, form, first, stop, due, priority, size in _parsed(members):
        payload = payloads[start : start + size]
        start += size
        yield seq, AcceptedCommand(name, world_id, form, payload, range(first, stop), due, priority, is_direct=True)


def staged_ids(members: object) -> list[str]:
    """The ids of the commands of a row, given its column ``members``."""
    return [name for _, name, *_ in _parsed(members)]


def _row(world_id: str, commands: Sequence[Numbered]) -> Row:
    payloads = [one.payload() for _, one in commands]
    members = [
        (
            seq,
            one.command_id,
            one.class_name,
            one.entity_ids.start,
            one.entity_ids.stop,
            one.due,
            one.priority,
            len(payload),
        )
        for (seq, one), payload in zip(commands, payloads, strict=True)
    ]
    return commands[0][0], world_id, json.dumps(members), b"".join(payloads)


def _parsed(members: object) -> list[list[Any]]:
    """What a row says of its commands; nothing if that was edited, which its hash shows."""
    try:
        found: list[list[Any]] = json.loads(members)  # type: ignore[arg-type]  # reason: text, unless it was edited
        return found if all(list(map(type, one)) == _TYPES for one in found) else []
    except (TypeError, ValueError):
        return []
