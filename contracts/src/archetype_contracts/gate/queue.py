"""Clauses on the queue (G5, G6): queued commands apply at their tick, in order, and once, also after reopening."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from archetype_contracts.assertion import require, require_equal, require_refusal
from archetype_contracts.gate.registry import clause
from archetype_contracts.gate.sample import Coin, Doubling, RecordingHandler, Sash
from archetype_contracts.gate.sample_command import SAMPLE_COMMANDS, SampleWorld
from archetype_contracts.gate.subject import GateSubject
from archetype_core.command import (
    AddComponents,
    AddHandler,
    AddProcessor,
    CloseWorld,
    Custom,
    Despawn,
    DestroyWorld,
    EntityCommand,
    RemoveComponents,
    Send,
    Spawn,
    SpawnMany,
    SpawnTable,
    Update,
)
from archetype_core.errors import ArchetypeError, NotDeferrable, WorldNotFound
from archetype_core.schema import Archetype
from archetype_core.store import open_store


def add_recording_handler(subject: GateSubject, world: str) -> RecordingHandler:
    """Add a handler ``note`` that records its data in call order."""
    handler = RecordingHandler()
    subject.as_admin(AddHandler("note", handler), world)
    return handler


@clause("G-201", "Commands of one tick apply by ascending priority, and in order of submission within one priority.")
def priorities(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.new_actor("player")
    handler = add_recording_handler(subject, world)
    priorities = [5, 0, -3, 0, 5, 7, -3, 0]
    for number, priority in enumerate(priorities[:4]):
        subject.submit(actor, Custom("note", number), world, priority=priority)
    subject.submit_batch(actor, [Custom("note", 4), Custom("note", 14)], world, priority=5)
    for number, priority in enumerate(priorities[5:], 5):
        subject.submit(subject.new_actor("player"), Custom("note", number), world, priority=priority)
    subject.step(world)
    require_equal([2, 6, 1, 3, 7, 0, 4, 14, 5], handler.received, "order of the commands of one tick")


@clause("G-202", "A command waits for its tick, also within a run; if the tick is past, it applies at the next one.")
def future_ticks(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.new_actor("player")
    ids = {tick: subject.submit_spawn(actor, world, Coin(number=tick), tick=tick) for tick in (6, 2, 0, 3)}
    tickets = {
        tick: subject.submit(actor, Update(ids[0], (Coin(face=str(tick)),)), world, tick=tick) for tick in (1, 5)
    }
    subject.step(world)
    require_equal({ids[0]}, set(subject.coins(world)), "coins after tick 0")
    subject.run_ticks(world, 7)
    for tick in range(8):
        expected = {entity: born for born, entity in ids.items() if born <= tick}
        require_equal(expected, subject.coins(world, tick), f"coins at tick {tick}")
        face = "5" if tick >= 5 else "1" if tick >= 1 else ""
        require_equal(face, subject.faces(world, tick)[ids[0]], f"the updated face at tick {tick}")
    for tick, ticket in tickets.items():
        row = subject.row(ticket.command_id, world)
        require_equal(("applied", tick), (row.status, row.tick), f"status and tick of the command for tick {tick}")
    late = subject.submit(actor, Spawn((Coin(),)), world, tick=3)
    subject.step(world)
    require_equal(
        8, subject.row(late.command_id, world).tick, "tick of a command that was submitted at tick 8 for tick 3"
    )


@clause("G-203", "Due commands apply before the step: they are stored as written, and processed from the next tick.")
def due_before_the_step(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.new_actor("player")
    subject.as_admin(AddProcessor(Doubling()), world)
    first = subject.submit_spawn(actor, world, Coin(number=1))
    subject.step(world, 2)
    subject.submit(actor, Update(first, (Coin(number=5),)), world)
    second = subject.submit_spawn(actor, world, Coin(number=10), tick=3)
    subject.step(world, 3)
    numbers = [subject.coins(world, tick) for tick in range(5)]
    expected = [{first: 1}, {first: 2}, {first: 5}, {first: 10, second: 10}, {first: 20, second: 20}]
    require_equal(expected, numbers, "numbers that double each tick")


@clause("G-204", "Commands that were executed before a step apply before queued ones.")
def executed_then_queued(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.new_actor("player")
    coin = subject.as_admin(Spawn((Coin(number=1),)), world)
    subject.step(world)
    subject.submit(actor, Update(coin, (Coin(face="queued"),)), world)
    subject.execute(actor, Update(coin, (Coin(face="executed"),)), world)
    subject.step(world)
    require_equal({coin: "queued"}, subject.faces(world), "the face that was written last")


@clause(
    "G-205",
    "A command to a world that does not exist is refused on submission, leaves an audit row, and costs nothing.",
)
def unknown_world(subject: GateSubject) -> None:
    subject.limit(commands=10, credits=3)
    gone, world = subject.world("gone"), subject.world("world")
    subject.as_admin(DestroyWorld(), gone)
    actor = subject.new_actor("player")
    for name in ("no such world", gone):
        require_refusal(WorldNotFound, lambda name=name: subject.submit(actor, Spawn((Coin(),)), name))
        require_refusal(WorldNotFound, lambda name=name: subject.submit_batch(actor, [Spawn((Coin(),))], name))
        require_refusal(WorldNotFound, lambda name=name: subject.submit_spawn(actor, name, Coin()))
    rows = [row for row in subject.history() if row.actor == actor.id]
    require_equal(
        [("spawn", "rejected")] * 6, [(row.type, row.status) for row in rows], "types and statuses of refused commands"
    )
    require(all(row.reason for row in rows), "expected a reason in every row of a refused command, but one is empty")
    for _ in range(3):
        subject.submit(actor, Spawn((Coin(),)), world)


@clause(
    "G-206",
    "A command that cannot be serialized cannot be queued: it is refused, leaves an audit row, and queues nothing.",
)
def not_deferrable(subject: GateSubject) -> None:
    sample = SampleWorld(subject)
    for sample_command in SAMPLE_COMMANDS:
        if sample_command.of.is_deferrable or sample_command.of.__name__.endswith("World"):
            continue
        command = sample_command.make(sample)[0]
        actor = subject.new_actor("admin")
        require_refusal(NotDeferrable, subject.submit, actor, command, sample.world)
        require_refusal(
            NotDeferrable,
            lambda actor=actor, command=command: subject.submit_batch(actor, [Spawn((Coin(),)), command], sample.world),
        )
        rows = [row for row in subject.history(sample.world, actor=actor.id) if row.status != "rejected"]
        require_equal([], rows, f"rows, other than rejected ones, of a {sample_command.kind} that cannot be queued")
        found = subject.history(sample.world, actor=actor.id)
        require_equal(
            [sample_command.kind, "spawn", sample_command.kind],
            [row.type for row in found],
            "types of rows of commands that cannot be queued",
        )
    require_equal(0, subject.info(sample.world).queued, "number of queued commands")


@clause(
    "G-207",
    "A command that fails to apply is recorded as failed; the other commands of the tick and the tick itself succeed.",
)
def failing_commands(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.new_actor("operator")
    coin, gone = (subject.as_admin(Spawn((Coin(number=number),)), world) for number in (1, 7))
    subject.as_admin(AddComponents(coin, (Sash(colour="blue"),)), world)

    def fail(_scope: object, _data: object) -> None:
        raise ValueError("this sample handler fails on purpose")

    subject.as_admin(AddHandler("fail", fail), world)
    subject.step(world)
    bad = [
        Update(gone, (Coin(number=5),)),
        Custom("fail"),
        Custom("no such handler"),
        Update(coin, (Sash(colour="red"),)),
    ]
    failing, fine = [], []
    for number, command in enumerate(bad):
        fine.append(subject.submit(actor, Spawn((Coin(number=number),)), world))
        failing.append(subject.submit(actor, command, world))
    fine.append(subject.submit(actor, Despawn((coin + 1000,)), world))
    meanwhile: list[EntityCommand[Any]] = [Despawn((gone,)), RemoveComponents(coin, (Sash,))]
    fine += [subject.submit(actor, command, world, priority=-1) for command in meanwhile]
    result = subject.step(world)
    require_equal(1, result.tick, "the tick with failing commands")
    require_equal([0, 1, 1, 2, 3], sorted(subject.coins(world).values()), "coins beside failing commands")
    for ticket in failing:
        row = subject.row(ticket.command_id, world)
        require_equal("failed", row.status, f"status of a failing {row.type}")
        require(bool(row.reason), f"expected a reason in the row of a failed {row.type}, but it is empty")
        require(
            row.settled_at is not None, f"expected the row of a failed {row.type} to be settled, but settled_at is None"
        )
    for ticket in fine:
        require_equal("applied", subject.row(ticket.command_id, world).status, "status beside failing commands")
    require_equal(0, subject.info(world).queued, "number of commands that are still queued")
    subject.step(world)
    require_equal([0, 1, 1, 2, 3], sorted(subject.coins(world).values()), "coins a tick after failing commands")


@clause(
    "G-208", "After the gate is closed and opened again, queued commands are still queued in order, and apply once."
)
def queue_survives(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.new_actor("player")
    subject.step(world)
    tickets = [
        subject.submit(actor, Custom("note", {"n": number}), world, tick=tick, priority=priority)
        for number, (tick, priority) in enumerate([(None, 3), (None, 1), (3, 0), (None, 1), (2, 0)])
    ]
    coin = subject.submit_spawn(actor, world, Coin(number=9), priority=-1)
    for _ in range(2):
        subject.reopen(world)
        require_equal(6, subject.info(world).queued, "number of queued commands after reopening")
    handler = add_recording_handler(subject, world)
    subject.step(world)
    require_equal(
        [{"n": 1}, {"n": 3}, {"n": 0}], handler.received, "data of the commands that applied at the first tick"
    )
    subject.reopen(world)
    handler = add_recording_handler(subject, world)
    subject.run_ticks(world, 4)
    require_equal([{"n": 4}, {"n": 2}], handler.received, "data of the commands that applied later")
    require_equal({coin: 9}, subject.coins(world), "coins")
    for ticket, tick in zip(tickets, (1, 1, 3, 1, 2), strict=True):
        row = subject.row(ticket.command_id, world)
        require_equal(("applied", tick), (row.status, row.tick), "status and tick of a queued command")


@clause("G-209", "After a world is closed and opened again, its queued commands are still queued.")
def queue_of_a_closed_world(subject: GateSubject) -> None:
    world, other, actor = subject.world(), subject.world("other"), subject.new_actor("player")
    coin = subject.submit_spawn(actor, world, Coin(number=9))
    subject.as_admin(CloseWorld(), world)
    subject.step(other)
    subject.open_world(world)
    subject.step(world, 2)
    require_equal({coin: 9}, subject.coins(world), "coins of a world that was closed and opened")
    require_equal({}, subject.coins(other), "coins of another world")


@clause(
    "G-210",
    "The ids that a spawn returns are the ids of its entities, and tickets carry the ids of what they spawn.",
)
def reserved_ids(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.new_actor("player")
    table = pa.table({"coin__number": pa.array([5, 6], pa.int64()), "coin__face": ["", ""]})
    expected = {
        subject.submit_spawn(actor, world, Coin(number=1), priority=9): 1,
        subject.execute(actor, Spawn((Coin(number=2),)), world): 2,
        subject.submit_spawn(actor, world, Coin(number=3), tick=2): 3,
    }
    one = subject.submit(actor, Spawn((Coin(number=4),)), world, priority=5)
    two = subject.submit(actor, SpawnTable(table, Archetype.of(Coin)), world)
    many: range = subject.execute(actor, SpawnMany(((Coin(number=7),), (Coin(number=8),))), world)
    three = subject.submit(actor, SpawnMany(((Coin(number=9),), (Coin(number=10),))), world, priority=-5)
    numbers = [4, 5, 6, 7, 8, 9, 10]
    ids = [*one.entity_ids, *two.entity_ids, *many, *three.entity_ids]
    require_equal(len(numbers), len(ids), "number of issued ids")
    expected |= zip(ids, numbers, strict=True)
    require_equal(10, len(expected), "number of different ids")
    for command in (Despawn(()), Update(ids[0], (Coin(number=4),)), Send(ids[0], 1), Custom("x")):
        ticket = subject.submit(actor, command, world, tick=1)
        require_equal(0, len(ticket.entity_ids), f"ids of a {command.kind}")
    subject.step(world, 3)
    require_equal(expected, subject.coins(world), "coins by issued id")


@clause("G-211", "No id is issued twice, also after reopening without a tick and after a despawn.")
def ids_never_again(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.new_actor("player")
    given: list[int] = []

    def take() -> None:
        given.append(subject.execute(actor, Spawn((Coin(),)), world))
        given.append(subject.submit_spawn(actor, world, Coin()))
        many: range = subject.execute(actor, SpawnMany(((Coin(),), (Coin(),))), world, durable=True)
        given.extend(many)
        given.extend(subject.submit(actor, Spawn((Coin(),)), world, tick=50).entity_ids)
        require_equal(len(given), len(set(given)), "number of different ids")

    take()
    subject.reopen(world)
    take()
    subject.as_admin(CloseWorld(), world)
    subject.open_world(world)
    take()
    subject.step(world)
    subject.execute(actor, Despawn(tuple(sorted(subject.coins(world)))), world)
    subject.step(world)
    take()
    subject.reopen(world)
    take()


@clause("G-212", "The same command may be submitted several times, and applies each time.")
def no_deduplication(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.new_actor("player")
    handler = add_recording_handler(subject, world)
    command = Custom("note", "again")
    tickets = [subject.submit(actor, command, world) for _ in range(2)]
    tickets += subject.submit_batch(actor, [command, command], world)
    subject.step(world)
    require_equal(["again"] * 4, handler.received, "data of the commands that applied")
    require_equal(4, len({ticket.command_id for ticket in tickets}), "number of different command ids")


@clause("G-213", "A step applies only queued commands of its own world.")
def queues_apart(subject: GateSubject) -> None:
    first, second, actor = subject.world("first"), subject.world("second"), subject.new_actor("player")
    one = subject.submit_spawn(actor, first, Coin(number=1))
    two = subject.submit_spawn(actor, second, Coin(number=2))
    subject.step(first, 2)
    require_equal(({one: 1}, {}), (subject.coins(first), subject.coins(second)), "coins after the first world's step")
    require_equal((0, 1), (subject.info(first).queued, subject.info(second).queued), "number of queued commands")
    subject.step(second)
    require_equal({two: 2}, subject.coins(second), "coins of the second world")


@clause("G-214", "Executed mutations that no tick applied are staged again when the gate is opened again.")
def staged_survives(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.new_actor("operator")
    old = subject.execute(actor, Spawn((Coin(number=1),)), world)
    subject.step(world)
    new = subject.execute(actor, Spawn((Coin(number=2),)), world)
    subject.execute(actor, Update(old, (Coin(face="first"),)), world)
    subject.execute(actor, Update(old, (Coin(face="second"),)), world)
    subject.reopen(world)
    third = subject.execute(actor, Spawn((Coin(number=3),)), world, durable=True)
    subject.as_admin(CloseWorld(), world)
    subject.open_world(world)
    require_equal({old: ""}, subject.faces(world), "faces before the tick")
    subject.step(world)
    expected = {old: (1, "second"), new: (2, ""), third: (3, "")}
    found = {entity: kinds["Coin"] for entity, kinds in subject.contents(world).items()}
    require_equal(expected, found, "coins after the tick")
    subject.reopen(world)
    subject.step(world)
    found = {entity: kinds["Coin"] for entity, kinds in subject.contents(world).items()}
    require_equal(expected, found, "coins after another tick")
    rows = [(row.type, row.status, row.tick) for row in subject.history(world, actor=actor.id)]
    expected_rows = [
        ("spawn", "applied", 0),
        *[(kind, "applied", 1) for kind in ("spawn", "update", "update", "spawn")],
    ]
    require_equal(expected_rows, rows, "types, statuses and ticks of executed commands")


@clause(
    "G-215",
    "A world reports how many commands are queued and how many mutations are staged; a step, how many it applied.",
)
def counts(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.new_actor("player")
    subject.submit(actor, Spawn((Coin(),)), world)
    subject.submit_batch(actor, [Spawn((Coin(),))] * 2, world, tick=1)
    for _ in range(4):
        subject.execute(actor, Spawn((Coin(),)), world)
    info = subject.info(world)
    require_equal((3, 4, 0, 0), (info.queued, info.pending, info.entities, info.tick), "counts before the first tick")
    require_equal(5, subject.step(world).applied, "commands that tick 0 applied")
    info = subject.info(world)
    require_equal((2, 0, 5, 1), (info.queued, info.pending, info.entities, info.tick), "counts after the first tick")
    require_equal(2, subject.step(world).applied, "commands that tick 1 applied")
    require_equal(0, subject.step(world).applied, "commands that tick 2 applied")


@clause("G-216", "The commit of a tick names the queued commands that it applied.")
def named_in_the_commit(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.new_actor("player")
    first = [subject.submit(actor, Spawn((Coin(),)), world).command_id for _ in range(2)]
    second = subject.submit(actor, Spawn((Coin(),)), world, tick=1).command_id
    subject.step(world, 2)
    subject.leave()
    store = open_store(subject.storage)
    try:
        require_equal([], sorted(set(first) - set(store.head(world, at=0).applied)), "commands missing from tick 0")
        require_equal([second], list(store.head(world, at=1).applied), "commands of tick 1")
    finally:
        store.close()


@clause("G-217", "Closing the gate with queued commands loses neither their audit rows nor their order.")
def queued_rows_survive(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.new_actor("player")
    tickets = [subject.submit(actor, Spawn((Coin(number=n),)), world) for n in range(3)]
    subject.reopen(world)
    for ticket in tickets:
        row = subject.row(ticket.command_id, world)
        require_equal(("queued", None), (row.status, row.settled_at), "status of a command that is still queued")
    subject.step(world)
    require_equal([0, 1, 2], [number for _, number in sorted(subject.coins(world).items())], "coins in order")


@clause(
    "G-218", "Executed mutations are staged again also if a custom command is queued, and later commands can use them."
)
def staged_beside_a_queued_custom(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.new_actor("player")
    subject.step(world)
    subject.submit(actor, Custom("note", 1), world, tick=5)
    coin = subject.execute(actor, Spawn((Coin(number=1),)), world)
    subject.reopen(world)
    info = subject.info(world)
    require_equal((1, 1), (info.queued, info.pending), "number of queued commands and staged mutations after reopening")
    subject.execute(actor, Update(coin, (Coin(face="built on"),)), world)
    subject.step(world)
    require_equal({coin: "built on"}, subject.faces(world), "face of the coin that was staged again")


@clause(
    "G-219",
    "What would be refused now is not queued, unless the queue makes it possible; the refusal is recorded.",
)
def refused_at_once(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.new_actor("operator")
    keep, gone = (subject.as_admin(Spawn((Coin(number=number),)), world) for number in (1, 2))
    subject.step(world)
    subject.as_admin(Despawn((gone,)), world)
    for command in (
        Update(gone, (Coin(number=3),)),
        Update(999, (Coin(number=3),)),
        Update(keep, (Sash(colour="red"),)),
        Update([keep, 999], (Coin(number=3),)),
        AddComponents(999, (Sash(colour="red"),)),
        RemoveComponents(keep, (Coin,)),
    ):
        require_refusal(ArchetypeError, lambda refused=command: subject.submit(actor, refused, world, tick=9))
    rows = subject.history(world, actor=actor.id)
    require_equal(
        [("rejected", True)] * 6, [(row.status, bool(row.reason)) for row in rows], "refusals in the audit log"
    )
    # Of a batch, all or none; and a refused spawn uses up no id.
    batch: list[EntityCommand[Any]] = [Spawn((Coin(number=4),)), Update(999, (Coin(number=3),))]
    require_refusal(ArchetypeError, lambda: subject.submit_batch(actor, batch, world))
    later = subject.submit_spawn(actor, world, Coin(number=5), tick=3)
    require_equal(gone + 1, later, "id of the spawn after the one that was refused")
    subject.submit(actor, AddComponents(later, (Sash(colour="red"),)), world, tick=4)
    subject.submit(actor, Update(later, (Sash(colour="blue"),)), world, tick=5)
    subject.submit_batch(
        actor, [AddComponents(keep, (Sash(colour="red"),)), Update(keep, (Sash(colour="green"),))], world
    )
    # What the queue ends later exists now.
    subject.submit(actor, Despawn((keep,)), world, tick=7)
    subject.submit(actor, Update(keep, (Coin(number=6),)), world, tick=6)
    subject.step(world, 6)
    contents = {keep: {"Coin": (6, ""), "Sash": ("green",)}, later: {"Coin": (5, ""), "Sash": ("blue",)}}
    require_equal(contents, subject.contents(world), "contents after the queued commands")
    require_equal(
        {"applied", "queued", "rejected"}, {row.status for row in subject.history(world, actor=actor.id)}, "statuses"
    )
