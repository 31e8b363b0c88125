"""Clauses on mutations of many entities, and on mutations that change nothing (T4 to T7, G3 to G5)."""

from __future__ import annotations

from typing import Any

from archetype_contracts.assertion import require_equal
from archetype_contracts.gate.registry import clause
from archetype_contracts.gate.sample import Coin, Sash
from archetype_contracts.gate.subject import GateSubject
from archetype_core.command import (
    AddComponents,
    Despawn,
    EntityCommand,
    RemoveComponents,
    SpawnMany,
    Update,
    UpdateTable,
    UpdateWhere,
)


def purse(subject: GateSubject, name: str = "world") -> tuple[str, list[int]]:
    """A world with five coins, of numbers 0 to 4, and their ids."""
    world = subject.world(name)
    ids = subject.as_admin(SpawnMany(tuple((Coin(number=number),) for number in range(5))), world)
    subject.step(world)
    return world, list(ids)


@clause("G-551", "A command that changes nothing stages nothing: it is applied at once, and the world can be forked.")
def no_ops(subject: GateSubject) -> None:
    world, ids = purse(subject)
    commands: tuple[EntityCommand[Any], ...] = (
        AddComponents(ids[0], (Coin(number=9),)),
        RemoveComponents(ids, (Sash,)),
        Despawn(()),
        Despawn(1_000_000),
        SpawnMany(()),
        Update((), (Coin(number=9),)),
        Update(Coin.c.number > 9, (Coin(number=9),)),
        UpdateTable({"entity_id": [], "coin__number": []}),
        UpdateWhere(Coin.c.number > 9, {Coin.c.number: 9}),
    )
    actor = subject.new_actor("operator")
    for command in commands:
        subject.execute(actor, command, world)
    rows = subject.history(world, actor=actor.id)
    expected = [(command.kind, "applied") for command in commands]
    require_equal(
        expected, [(row.type, row.status) for row in rows], "types and statuses of commands that change nothing"
    )
    require_equal(0, subject.info(world).pending, "number of staged mutations")
    subject.step(subject.fork(world, "branch"))
    before = subject.contents(world)
    subject.step(world)
    require_equal(before, subject.contents(world), "contents after a tick of commands that change nothing")
