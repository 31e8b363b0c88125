"""Clauses on mutations of many entities, and on mutations that change nothing (T4 to T7, G3 to G5)."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa

from archetype_contracts.assertion import require_equal, require_refusal
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
from archetype_core.errors import ArchetypeError, QuotaExceeded


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


@clause("G-552", "Entities are one id, a list, a tuple, an array of numpy or Arrow, or a condition: all mean the same.")
def forms_of_entities(subject: GateSubject) -> None:
    world, ids = purse(subject)
    forms: tuple[Any, ...] = (
        ids,
        tuple(ids),
        range(ids[0], ids[-1] + 1),
        np.array(ids),
        np.array(ids, np.uint32),
        pa.array(ids),
        pa.chunked_array([ids[:2], ids[2:]]),
        Coin.c.number >= 0,
    )
    for number, form in enumerate(forms):
        face = f"form {number}"
        subject.as_admin(Update(form, (Coin(face=face),)), world)
        subject.as_admin(AddComponents(form, (Sash(colour=face),)), world)
        subject.step(world)
        require_equal(dict.fromkeys(ids, face), subject.faces(world), f"faces after an update of {type(form).__name__}")
        colours = {entity: kinds.get("Sash") for entity, kinds in subject.contents(world).items()}
        require_equal(dict.fromkeys(ids, (face,)), colours, f"sashes that were added to {type(form).__name__}")
        subject.as_admin(RemoveComponents(form, (Sash,)), world)
        subject.step(world)
    for one in ids[:2]:
        subject.as_admin(Despawn(np.array([one])), world)
    subject.as_admin(Despawn(Coin.c.number == 2), world)
    subject.step(world)
    require_equal({ids[3]: 3, ids[4]: 4}, subject.coins(world), "coins that are left")


@clause("G-553", "A condition means the entities that met it at the last completed tick before the command was sent.")
def conditions(subject: GateSubject) -> None:
    world, ids = purse(subject)
    actor = subject.new_actor("player")
    subject.submit(actor, Update(Coin.c.number < 2, (Coin(face="queued"),)), world, tick=2)
    subject.submit(actor, UpdateWhere(Coin.c.number > 2, {Coin.c.number: Coin.c.number + 10}), world, tick=2)
    # Staged, so the condition does not see them yet.
    subject.execute(actor, UpdateTable({"entity_id": ids, "coin__number": [9, 9, 0, 9, 9]}), world)
    subject.execute(actor, Update(Coin.c.number == 2, (Coin(face="executed"),)), world)
    subject.step(world)
    faces = {entity: face for entity, face in subject.faces(world).items() if face}
    require_equal({ids[2]: "executed"}, faces, "faces after the tick")
    subject.step(world, 2)
    faces = {entity: face for entity, face in subject.faces(world).items() if face}
    require_equal({ids[0]: "queued", ids[1]: "queued", ids[2]: "executed"}, faces, "faces after the queued command")
    numbers = dict(zip(ids, (9, 9, 0, 13, 14), strict=True))
    require_equal(numbers, subject.coins(world), "numbers after an increment by a queued command")


@clause("G-554", "Columns of an update are in any order and may be some of a component's; other fields stay.")
def columns(subject: GateSubject) -> None:
    world, ids = purse(subject)
    subject.as_admin(UpdateTable({"coin__face": list("abcde"), "entity_id": ids}), world)
    subject.step(world)
    require_equal(dict(zip(ids, range(5), strict=True)), subject.coins(world), "numbers, of which none was written")
    require_equal(dict(zip(ids, "abcde", strict=True)), subject.faces(world), "faces")
    table = pa.table({"coin__number": [7, 8], "coin__face": ["x", "y"], "entity_id": [ids[4], ids[0]]})
    subject.as_admin(UpdateTable(table), world)
    subject.as_admin(UpdateTable({Coin.c.number: [5, 6], Coin.c.face: "all"}, np.array([ids[2], ids[1]])), world)
    subject.step(world)
    require_equal(dict(zip(ids, (8, 6, 5, 3, 7), strict=True)), subject.coins(world), "numbers")
    require_equal(dict(zip(ids, ("y", "all", "all", "d", "x"), strict=True)), subject.faces(world), "faces")


@clause("G-555", "Of several rows for one entity the last one counts; naming an entity twice is naming it once.")
def duplicates(subject: GateSubject) -> None:
    world, ids = purse(subject)
    subject.as_admin(UpdateTable({"entity_id": [ids[0], ids[1], ids[0]], "coin__number": [10, 11, 12]}), world)
    subject.as_admin(AddComponents([ids[1], ids[1]], (Sash(colour="red"),)), world)
    subject.as_admin(Despawn([ids[2], ids[2], 1_000_000]), world)
    subject.step(world)
    expected = {ids[0]: 12, ids[1]: 11, ids[3]: 3, ids[4]: 4}
    require_equal(expected, subject.coins(world), "numbers of coins, one of which is gone")
    require_equal({"Coin": (11, ""), "Sash": ("red",)}, subject.contents(world)[ids[1]], "the coin with a sash")


@clause(
    "G-556",
    "An unknown entity among known ones refuses the whole command: nothing is staged, and the refusal is recorded.",
)
def all_or_nothing(subject: GateSubject) -> None:
    world, ids = purse(subject)
    some = [ids[0], 1_000_000, ids[1]]
    commands: tuple[EntityCommand[Any], ...] = (
        Update(some, (Coin(number=9),)),
        AddComponents(some, (Sash(),)),
        RemoveComponents(some, (Sash,)),
        UpdateTable({"entity_id": some, "coin__number": 9}),
        Update(ids, (Sash(colour="red"),)),
        RemoveComponents(ids, (Coin,)),
    )
    actor = subject.new_actor("operator")
    before = subject.contents(world)
    for command in commands:
        require_refusal(ArchetypeError, subject.execute, actor, command, world)
        require_refusal(ArchetypeError, subject.submit, actor, command, world)
    require_equal((0, 0), (subject.info(world).pending, subject.info(world).queued), "staged and queued commands")
    rows = subject.history(world, actor=actor.id)
    kinds = [command.kind for command in commands for _ in range(2)]
    require_equal(kinds, [row.type for row in rows], "types of refused commands")
    unsettled = [row for row in rows if row.status not in ("failed", "rejected") or not row.reason]
    require_equal([], unsettled, "rows of refused commands without a refusal or its reason")
    subject.step(world)
    require_equal(before, subject.contents(world), "contents after refused commands")


@clause("G-557", "A command for many entities leaves one audit row, which says which they are or how many.")
def one_row(subject: GateSubject) -> None:
    world, ids = purse(subject)
    commands: tuple[EntityCommand[Any], ...] = (
        Update(np.array(ids), (Coin(number=9),)),
        Update(Coin.c.number >= 0, (Coin(number=9),)),
        UpdateTable({"entity_id": ids, "coin__number": 9}),
        UpdateWhere(Coin.c.number >= 0, {Coin.c.number: 9}),
        AddComponents(ids, (Sash(),)),
        Despawn(tuple(ids)),
    )
    actor = subject.new_actor("operator")
    for command in commands:
        subject.execute(actor, command, world)
    subject.step(world)
    rows = subject.history(world, actor=actor.id)
    expected = [(command.kind, "applied") for command in commands]
    require_equal(
        expected, [(row.type, row.status) for row in rows], "types and statuses of commands for five entities"
    )
    for row in rows:
        asked = json.loads(row.payload)
        count = asked["entities"] if "entities" in asked else len(asked["entity_ids"])
        require_equal(5, count, f"number of entities in the payload {row.payload}")


@clause("G-558", "A command for many entities costs what one for each would cost, and counts as one command.")
def price_of_many(subject: GateSubject) -> None:
    subject.limit(credits=14, commands=3)
    world, ids = purse(subject)
    commands: tuple[EntityCommand[Any], ...] = (
        Update(Coin.c.number >= 0, (Coin(face="x"),)),
        UpdateWhere(Coin.c.number > 0, {Coin.c.number: 9}),
        UpdateTable({"entity_id": ids, "coin__number": list(range(5))}),
    )
    for name in ("execute", "submit"):
        actor = subject.new_actor("player")
        for command in commands:
            getattr(subject, name)(actor, command, world)
        for refused in (Update(ids[0], (Coin(number=1),)), Despawn(ids[:2])):
            require_refusal(QuotaExceeded, subject.submit, actor, refused, world)
        subject.step(world)
        actor = subject.new_actor("player")
        for command in (Update(ids, (Coin(face="y"),)), Update(np.array(ids), (Coin(face="y"),))):
            getattr(subject, name)(actor, command, world)
        # Four credits are left.
        require_refusal(QuotaExceeded, getattr(subject, name), actor, Despawn(ids), world)
        getattr(subject, name)(actor, Update(ids[:4], (Coin(face="z"),)), world)
        subject.step(world)


@clause(
    "G-559", "Commands for many entities can be queued, and are applied once, also if the gate is reopened meanwhile."
)
def queued_many(subject: GateSubject) -> None:
    world, ids = purse(subject)
    actor = subject.new_actor("operator")
    commands: tuple[EntityCommand[Any], ...] = (
        UpdateTable({"entity_id": ids[:2], "coin__face": ["a", "b"]}),
        UpdateWhere(Coin.c.number > 0, {Coin.c.number: Coin.c.number + 10}),
        AddComponents(np.array(ids[1:3]), (Sash(colour="red"),)),
        RemoveComponents(pa.array(ids[1:2]), (Sash,)),
        Update(Coin.c.number == 3, (Coin(face="d"),)),
        Despawn(ids[4:]),
        SpawnMany(((Coin(number=50),), (Coin(number=51),))),
    )
    tickets = [subject.submit(actor, command, world, tick=2) for command in commands]
    subject.reopen(world)
    subject.step(world)
    subject.reopen(world)
    require_equal(len(commands), subject.info(world).queued, "number of queued commands after reopening")
    subject.step(world)
    born = list(tickets[-1].entity_ids)
    expected = {
        ids[0]: {"Coin": (0, "a")},
        ids[1]: {"Coin": (11, "b")},
        ids[2]: {"Coin": (12, ""), "Sash": ("red",)},
        ids[3]: {"Coin": (13, "d")},
        **{entity: {"Coin": (number, "")} for entity, number in zip(born, (50, 51), strict=True)},
    }
    require_equal(expected, subject.contents(world), "contents after the queued commands")
    subject.reopen(world)
    subject.step(world, 2)
    require_equal(expected, subject.contents(world), "contents two ticks later")
    rows = [subject.row(ticket.command_id, world) for ticket in tickets]
    require_equal(
        [("applied", 2)] * len(rows), [(row.status, row.tick) for row in rows], "statuses and ticks of commands"
    )
