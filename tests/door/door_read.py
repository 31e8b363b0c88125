"""Compares what is read through a runtime's door with the model: queries, snapshots, differences and messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from door_program import Compare, Look
from door_scene import condition
from tick_model import Held
from tick_scene import PARTS, exact, values_in

from archetype import TickNotFound

if TYPE_CHECKING:
    from door_player import Branch, Player


def look(player: Player, branch: Branch, line: Look) -> None:
    """A query of a range of ticks, which is clipped, and of one tick, which must be there (Q2)."""
    part, last = PARTS[line.part], branch.model.tick - 1
    ticks = range(line.first, line.first + line.count)
    where = condition(line.where) if line.where.part == line.part else None
    frame = player.done(
        "query_world", branch.real.query(part, ticks=ticks, where=where, include_inactive=line.with_inactive)
    )
    found = sorted(
        (row["world_id"], row["tick"], row["entity_id"], row["is_active"], repr(values_in(row, [line.part])))
        for row in frame.to_pylist()
    )
    expected = [
        one
        for one in _history(branch, line.part, lambda held: where is None or line.where.is_met(held))
        if one[1] in ticks and (one[3] or line.with_inactive)
    ]
    assert found == sorted(expected)
    if line.first > last:
        for work in (branch.real.query(part, ticks=line.first), branch.real.snapshot(part, at=line.first)):
            player.expect("query_world", "failed|rejected")
            with pytest.raises(TickNotFound):
                player.run(work)
        return
    frame = player.done("query_world", branch.real.snapshot(part, at=line.first, where=where))
    found_now = {row["entity_id"]: values_in(row, [line.part]) for row in frame.to_pylist()}
    held_then = {
        entity: exact({line.part: held[line.part]})
        for table, rows in branch.model.past[line.first].live.items()
        if line.part in table
        for entity, held in rows.items()
        if where is None or line.where.is_met(held)
    }
    assert found_now == held_then


def compare_difference(player: Player, branch: Branch, other: Branch, line: Compare) -> None:
    """The difference of two ticks, in one column: which entities have another value, or have it on one side only (Q2)."""
    if not branch.model.tick or not other.model.tick:
        return
    before, after = line.before % branch.model.tick, line.after % other.model.tick
    was, now = _live(branch, before), _live(other, after)
    column = getattr(PARTS[line.part].c, line.field)
    moments = ((branch.real, before), (other.real, after)) if other is not branch else (before, after)
    frame = player.done("query_world", branch.real.diff(*moments, column))
    found = {row["entity_id"]: (row["op"], row["before"], row["after"]) for row in frame.to_pylist()}
    expected = {}
    for entity in was.keys() | now.keys():
        left, right = (side.get(entity, {}).get(line.part) for side in (was, now))
        if left is None and right is None:
            continue
        values = tuple(None if one is None else one[line.field] for one in (left, right))
        op = "added" if entity not in was else "removed" if entity not in now else "changed"
        if (left is None) != (right is None) or values[0] != values[1]:
            expected[entity] = (op, *values)
    assert found == expected
    frame = player.done("query_world", branch.real.diff(*moments))
    columns = {(row["entity_id"], row["column"]) for row in frame.to_pylist() if row["column"] is not None}
    differing = {
        (entity, f"{part.lower()}__{name}")
        for entity in was.keys() | now.keys()
        for part in {*was.get(entity, ()), *now.get(entity, ())}
        for name in PARTS[part].model_fields
        if name != "due" and _differs(was.get(entity, {}).get(part), now.get(entity, {}).get(part), name)
    }
    assert {one for one in columns if "due" not in one[1]} == differing


def _differs(left: Any, right: Any, name: str) -> bool:
    return (left is None) != (right is None) or left[name] != right[name]


def _live(branch: Branch, tick: int) -> dict[int, Held]:
    return {entity: held for rows in branch.model.past[tick].live.values() for entity, held in rows.items()}


def _history(branch: Branch, part: str, is_met: Any) -> list[tuple[str, int, int, bool, str]]:
    return [
        (world, tick, entity, is_active, repr(exact({part: held[part]})))
        for tick, rows in enumerate(branch.model.rows)
        for world, table, entity, is_active, held in rows
        if part in table and is_met(held)
    ]


def compare_history(player: Player, branch: Branch) -> None:
    """Everything that a world ever was, tombstones and letters too."""
    if not branch.model.tick:
        return
    for name, part in PARTS.items():
        frame = player.done("query_world", branch.real.query(part, include_inactive=True))
        found = sorted(
            (row["world_id"], row["tick"], row["entity_id"], row["is_active"], repr(values_in(row, [name])))
            for row in frame.to_pylist()
        )
        assert found == sorted(_history(branch, name, lambda _: True)), f"history of {name} in {branch.name}"
    letters = player.done("query_world", branch.real.messages())
    sent = [one for past in branch.model.past for one in past.mail]
    assert sorted((one.recipient, one.body) for one in letters) == sorted(sent)
