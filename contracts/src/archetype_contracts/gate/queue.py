"""Clauses on the queue (G5, G6): what waits for a tick is applied at it, in order, once, and whatever happens before."""

from __future__ import annotations

import pyarrow as pa

from archetype_contracts.gate.book import clause
from archetype_contracts.gate.sample import Coin, Doubling, Notebook, Sash
from archetype_contracts.gate.scene import SPECIMENS, Scene
from archetype_contracts.gate.subject import GateSubject
from archetype_contracts.verdict import require, require_equal, require_refusal
from archetype_core.command import (
    AddHandler,
    AddProcessor,
    CloseWorld,
    Custom,
    Despawn,
    DestroyWorld,
    Send,
    Spawn,
    SpawnMany,
    SpawnTable,
    Update,
)
from archetype_core.errors import NotDeferrable, WorldNotFound
from archetype_core.schema import Archetype
from archetype_core.store import open_store


def listening(subject: GateSubject, world: str) -> Notebook:
    """Register a handler that notes in which order it is called."""
    notebook = Notebook()
    subject.root(AddHandler("note", notebook), world)
    return notebook


@clause("G-201", "Commands of one tick apply by ascending priority, among equals as they were submitted.")
def priorities(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.someone("player")
    notebook = listening(subject, world)
    priorities = [5, 0, -3, 0, 5, 7, -3, 0]
    for number, priority in enumerate(priorities[:4]):
        subject.submit(actor, Custom("note", number), world, priority=priority)
    subject.submit_batch(actor, [Custom("note", 4), Custom("note", 14)], world, priority=5)
    for number, priority in enumerate(priorities[5:], 5):
        subject.submit(subject.someone("player"), Custom("note", number), world, priority=priority)
    subject.step(world)
    require_equal([2, 6, 1, 3, 7, 0, 4, 14, 5], notebook.pages, "order of the commands of one tick")


@clause(
    "G-202", "A command waits for its tick, also for one in the middle of a run, and a tick that is past is the next."
)
def future_ticks(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.someone("player")
    ids = {tick: subject.submit_spawn(actor, world, Coin(number=tick), tick=tick) for tick in (6, 2, 0, 3)}
    tickets = {
        tick: subject.submit(actor, Update(ids[0], (Coin(face=str(tick)),)), world, tick=tick) for tick in (1, 5)
    }
    subject.step(world)
    require_equal({ids[0]}, set(subject.coins(world)), "coins after tick 0")
    subject.walk(world, 7)
    for tick in range(8):
        expected = {entity: born for born, entity in ids.items() if born <= tick}
        require_equal(expected, subject.coins(world, tick), f"coins at tick {tick}")
        face = "5" if tick >= 5 else "1" if tick >= 1 else ""
        require_equal(face, subject.faces(world, tick)[ids[0]], f"the updated face at tick {tick}")
    for tick, ticket in tickets.items():
        row = subject.row(ticket.command_id, world)
        require_equal(("applied", tick), (row.status, row.tick), f"the row of what was to apply at tick {tick}")
    late = subject.submit(actor, Spawn((Coin(),)), world, tick=3)
    subject.step(world)
    require_equal(
        8, subject.row(late.command_id, world).tick, "tick of a command that was submitted for tick 3 at tick 8"
    )


@clause(
    "G-203", "What is due applies before the step: it is at its tick as it was written, and processed from the next."
)
def due_before_the_step(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.someone("player")
    subject.root(AddProcessor(Doubling()), world)
    first = subject.submit_spawn(actor, world, Coin(number=1))
    subject.step(world, 2)
    subject.submit(actor, Update(first, (Coin(number=5),)), world)
    second = subject.submit_spawn(actor, world, Coin(number=10), tick=3)
    subject.step(world, 3)
    numbers = [subject.coins(world, tick) for tick in range(5)]
    expected = [{first: 1}, {first: 2}, {first: 5}, {first: 10, second: 10}, {first: 20, second: 20}]
    require_equal(expected, numbers, "numbers that double each tick")


@clause("G-204", "What was executed before a step applies before what waited for it in the queue.")
def executed_then_queued(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.someone("player")
    coin = subject.root(Spawn((Coin(number=1),)), world)
    subject.step(world)
    subject.submit(actor, Update(coin, (Coin(face="queued"),)), world)
    subject.execute(actor, Update(coin, (Coin(face="executed"),)), world)
    subject.step(world)
    require_equal({coin: "queued"}, subject.faces(world), "the face that was written last")


@clause("G-205", "A command to a world that is not there is refused when it is submitted, on record, at no cost.")
def unknown_world(subject: GateSubject) -> None:
    subject.limit(commands=10, tokens=3)
    gone, world = subject.world("gone"), subject.world("world")
    subject.root(DestroyWorld(), gone)
    actor = subject.someone("player")
    for name in ("no such world", gone):
        require_refusal(WorldNotFound, lambda name=name: subject.submit(actor, Spawn((Coin(),)), name))
        require_refusal(WorldNotFound, lambda name=name: subject.submit_batch(actor, [Spawn((Coin(),))], name))
        require_refusal(WorldNotFound, lambda name=name: subject.submit_spawn(actor, name, Coin()))
    rows = [row for row in subject.history() if row.actor == actor.id]
    require_equal(
        [("spawn", "rejected")] * 6, [(row.type, row.status) for row in rows], "rows of what nobody could apply"
    )
    require(all(row.reason for row in rows), "a refused command has no reason on record")
    for _ in range(3):
        subject.submit(actor, Spawn((Coin(),)), world)


@clause(
    "G-206", "What cannot be written down cannot wait: such a command is refused, on record, and nothing is queued."
)
def not_deferrable(subject: GateSubject) -> None:
    scene = Scene(subject)
    for specimen in SPECIMENS:
        if specimen.of.is_deferrable or specimen.of.__name__.endswith("World"):
            continue
        command = specimen.make(scene)[0]
        actor = subject.someone("admin")
        require_refusal(NotDeferrable, subject.submit, actor, command, scene.world)
        require_refusal(
            NotDeferrable,
            lambda actor=actor, command=command: subject.submit_batch(actor, [Spawn((Coin(),)), command], scene.world),
        )
        rows = [row for row in subject.history(scene.world, actor=actor.id) if row.status != "rejected"]
        require_equal([], rows, f"rows that are not rejected, of a {specimen.kind} that cannot wait")
        found = subject.history(scene.world, actor=actor.id)
        require_equal([specimen.kind, "spawn", specimen.kind], [row.type for row in found], "rows of what cannot wait")
    require_equal(0, subject.info(scene.world).queued, "queued commands")


@clause(
    "G-207", "A command that fails to apply is on record as failed; the others of its tick apply, and so does the tick."
)
def failing_commands(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.someone("operator")
    coin = subject.root(Spawn((Coin(number=1),)), world)

    def fail(_scope: object, _data: object) -> None:
        raise ValueError("told to fail")

    subject.root(AddHandler("fail", fail), world)
    subject.step(world)
    bad = [
        Update(coin + 1000, (Coin(number=5),)),
        Custom("fail"),
        Custom("nobody handles this"),
        Update(coin, (Sash(colour="red"),)),
    ]
    failing, fine = [], []
    for number, command in enumerate(bad):
        fine.append(subject.submit(actor, Spawn((Coin(number=number),)), world))
        failing.append(subject.submit(actor, command, world))
    fine.append(subject.submit(actor, Despawn((coin + 1000,)), world))
    result = subject.step(world)
    require_equal(1, result.tick, "the tick with failing commands")
    require_equal([0, 1, 1, 2, 3], sorted(subject.coins(world).values()), "coins beside failing commands")
    for ticket in failing:
        row = subject.row(ticket.command_id, world)
        require_equal("failed", row.status, f"status of a failing {row.type}")
        require(bool(row.reason), f"a failing {row.type} has no reason on record")
        require(row.settled_at is not None, f"a failing {row.type} is not settled")
    for ticket in fine:
        require_equal("applied", subject.row(ticket.command_id, world).status, "status beside failing commands")
    require_equal(0, subject.info(world).queued, "commands that still wait")
    subject.step(world)
    require_equal([0, 1, 1, 2, 3], sorted(subject.coins(world).values()), "coins a tick after failing commands")


@clause(
    "G-208", "What waits in a queue waits there after the gate was closed and opened, in its order, and applies once."
)
def queue_survives(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.someone("player")
    subject.step(world)
    tickets = [
        subject.submit(actor, Custom("note", {"n": number}), world, tick=tick, priority=priority)
        for number, (tick, priority) in enumerate([(None, 3), (None, 1), (3, 0), (None, 1), (2, 0)])
    ]
    coin = subject.submit_spawn(actor, world, Coin(number=9), priority=-1)
    for _ in range(2):
        subject.reopen(world)
        require_equal(6, subject.info(world).queued, "commands that wait after the gate was opened again")
    notebook = listening(subject, world)
    subject.step(world)
    require_equal([{"n": 1}, {"n": 3}, {"n": 0}], notebook.pages, "what applied at the first tick")
    subject.reopen(world)
    notebook = listening(subject, world)
    subject.walk(world, 4)
    require_equal([{"n": 4}, {"n": 2}], notebook.pages, "what applied later")
    require_equal({coin: 9}, subject.coins(world), "coins")
    for ticket, tick in zip(tickets, (1, 1, 3, 1, 2), strict=True):
        row = subject.row(ticket.command_id, world)
        require_equal(("applied", tick), (row.status, row.tick), "status and tick of what waited")


@clause("G-209", "What waits in a queue waits there after its world was closed and opened.")
def queue_of_a_closed_world(subject: GateSubject) -> None:
    world, other, actor = subject.world(), subject.world("other"), subject.someone("player")
    coin = subject.submit_spawn(actor, world, Coin(number=9))
    subject.root(CloseWorld(), world)
    subject.step(other)
    subject.open_world(world)
    subject.step(world, 2)
    require_equal({coin: 9}, subject.coins(world), "coins of a world that was closed and opened")
    require_equal({}, subject.coins(other), "coins of another world")


@clause(
    "G-210",
    "An id that a spawn was answered with is the one that materializes; tickets name the ids of what they spawn.",
)
def reserved_ids(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.someone("player")
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
    require_equal(len(numbers), len(ids), "ids that were given out")
    expected |= zip(ids, numbers, strict=True)
    require_equal(10, len(expected), "ids that differ")
    for command in (Despawn(()), Update(ids[0], (Coin(number=4),)), Send(ids[0], 1), Custom("x")):
        ticket = subject.submit(actor, command, world, tick=1)
        require_equal(0, len(ticket.entity_ids), f"ids of a {command.kind}")
    subject.step(world, 3)
    require_equal(expected, subject.coins(world), "coins by the ids that were given out")


@clause(
    "G-211", "No id is given out twice: not after closing and opening the gate without a tick, nor after a despawn."
)
def ids_never_again(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.someone("player")
    given: list[int] = []

    def take() -> None:
        given.append(subject.execute(actor, Spawn((Coin(),)), world))
        given.append(subject.submit_spawn(actor, world, Coin()))
        many: range = subject.execute(actor, SpawnMany(((Coin(),), (Coin(),))), world, durable=True)
        given.extend(many)
        given.extend(subject.submit(actor, Spawn((Coin(),)), world, tick=50).entity_ids)
        require_equal(len(given), len(set(given)), "ids that differ")

    take()
    subject.reopen(world)
    take()
    subject.root(CloseWorld(), world)
    subject.open_world(world)
    take()
    subject.step(world)
    subject.execute(actor, Despawn(tuple(sorted(subject.coins(world)))), world)
    subject.step(world)
    take()
    subject.reopen(world)
    take()


@clause("G-212", "A queue takes the same command as often as it is submitted.")
def no_deduplication(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.someone("player")
    notebook = listening(subject, world)
    command = Custom("note", "again")
    tickets = [subject.submit(actor, command, world) for _ in range(2)]
    tickets += subject.submit_batch(actor, [command, command], world)
    subject.step(world)
    require_equal(["again"] * 4, notebook.pages, "what applied")
    require_equal(4, len({ticket.command_id for ticket in tickets}), "ids of commands that differ")


@clause("G-213", "Queues belong to their worlds: a step applies nothing of another's.")
def queues_apart(subject: GateSubject) -> None:
    first, second, actor = subject.world("first"), subject.world("second"), subject.someone("player")
    one = subject.submit_spawn(actor, first, Coin(number=1))
    two = subject.submit_spawn(actor, second, Coin(number=2))
    subject.step(first, 2)
    require_equal(({one: 1}, {}), (subject.coins(first), subject.coins(second)), "coins after the first world's step")
    require_equal((0, 1), (subject.info(first).queued, subject.info(second).queued), "commands that wait")
    subject.step(second)
    require_equal({two: 2}, subject.coins(second), "coins of the second world")


@clause("G-214", "Mutations that were executed, and no tick applied, are staged again when the gate is opened again.")
def staged_survives(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.someone("operator")
    old = subject.execute(actor, Spawn((Coin(number=1),)), world)
    subject.step(world)
    new = subject.execute(actor, Spawn((Coin(number=2),)), world)
    subject.execute(actor, Update(old, (Coin(face="first"),)), world)
    subject.execute(actor, Update(old, (Coin(face="second"),)), world)
    subject.reopen(world)
    third = subject.execute(actor, Spawn((Coin(number=3),)), world, durable=True)
    subject.root(CloseWorld(), world)
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
    require_equal(expected_rows, rows, "rows of what was executed")


@clause(
    "G-215", "A world says how many commands wait and how many mutations are staged; a step says how many it applied."
)
def counts(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.someone("player")
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
    world, actor = subject.world(), subject.someone("player")
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


@clause("G-217", "Closing the gate with commands in its queue and a tick to come loses neither rows nor order.")
def queued_rows_survive(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.someone("player")
    tickets = [subject.submit(actor, Spawn((Coin(number=n),)), world) for n in range(3)]
    subject.reopen(world)
    for ticket in tickets:
        row = subject.row(ticket.command_id, world)
        require_equal(("queued", None), (row.status, row.settled_at), "status of what still waits")
    subject.step(world)
    require_equal([0, 1, 2], [number for _, number in sorted(subject.coins(world).items())], "coins in order")


@clause(
    "G-218", "What was executed is staged again also where a custom command waits in the queue, and can be built on."
)
def staged_beside_a_queued_custom(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.someone("player")
    subject.step(world)
    subject.submit(actor, Custom("note", 1), world, tick=5)
    coin = subject.execute(actor, Spawn((Coin(number=1),)), world)
    subject.reopen(world)
    info = subject.info(world)
    require_equal((1, 1), (info.queued, info.pending), "what waits and what is staged after a reopening")
    subject.execute(actor, Update(coin, (Coin(face="built on"),)), world)
    subject.step(world)
    require_equal({coin: "built on"}, subject.faces(world), "the face of what was staged again")
