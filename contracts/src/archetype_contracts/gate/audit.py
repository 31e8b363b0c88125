"""Clauses on audit (G4): one row for every command, what it says, how it is read, and that nobody can change it unseen."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import timedelta

from archetype_contracts.gate.book import clause
from archetype_contracts.gate.sample import Breaking, Coin
from archetype_contracts.gate.scene import SPECIMENS, Scene
from archetype_contracts.gate.subject import GateSubject, Tampering
from archetype_contracts.verdict import require, require_equal, require_refusal
from archetype_core.command import (
    AddProcessor,
    AuditFilter,
    AuditRow,
    CreateWorld,
    Custom,
    Despawn,
    GetHistory,
    GetWorldInfo,
    ListWorlds,
    Run,
    Spawn,
    SpawnMany,
    Step,
    Update,
)
from archetype_core.config import RunConfig
from archetype_core.errors import EntityNotFound, PermissionDenied, ProcessorError, QuotaExceeded, WorldNotFound

SPAWN = Spawn((Coin(),))


@clause(
    "G-301", "Every command that is carried out leaves one row: of its kind, its actor, its world, with what it asked."
)
def one_row_each(subject: GateSubject) -> None:
    scene = Scene(subject)
    for specimen in SPECIMENS:
        command, world = specimen.make(scene)
        actor = subject.someone("admin", "player")
        answer: object = subject.execute(actor, command, world)
        rows = subject.history(actor=actor.id)
        require_equal(1, len(rows), f"rows of a {specimen.of.__name__}")
        (row,) = rows
        require_equal(specimen.kind, row.type, "type of a row")
        # A world that a command to the gate made or opened may own its row.
        owners = {world} if world is not None else {"", getattr(answer, "world_id", "")}
        require(row.world_id in owners, f"world of a {specimen.kind} row: {row.world_id!r}")
        require_equal(actor.roles, frozenset(row.roles), f"roles of a {specimen.kind} row")
        require_equal("", row.reason, f"reason of a {specimen.kind} row")
        require(row.duration_s >= 0, f"duration of a {specimen.kind} row")
        expected = json.loads(json.dumps(dict(command.describe())))
        require_equal(expected, json.loads(row.payload), f"payload of a {specimen.kind} row")
    rows = subject.history()
    seqs = [row.seq for row in rows]
    require_equal(sorted(set(seqs)), seqs, "numbers of rows, oldest first")
    require_equal(len(rows), len({row.command_id for row in rows}), "ids of commands that differ")


@clause(
    "G-302",
    "An executed mutation is queued on record until the tick that applies it commits, then applied with that tick.",
)
def executed_mutations(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.someone("player")
    subject.step(world, 2)
    coin = subject.execute(actor, SPAWN, world)
    subject.execute(actor, Update(coin, (Coin(number=1),)), world, durable=True)
    for row in subject.history(world, actor=actor.id):
        require_equal(("queued", None), (row.status, row.settled_at), f"a {row.type} before its tick")
    subject.step(world)
    rows = subject.history(world, actor=actor.id)
    expected = [("spawn", "applied", 2), ("update", "applied", 2)]
    require_equal(expected, [(row.type, row.status, row.tick) for row in rows], "mutations after their tick")
    subject.step(world)
    require_equal(rows, subject.history(world, actor=actor.id), "rows a tick later")


@clause(
    "G-303",
    "What is no mutation is applied on record at once, with the world's next tick; a step with the one it makes.",
)
def others_at_once(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.someone("operator")
    subject.step(world, 3)
    subject.execute(actor, GetWorldInfo(), world)
    subject.execute(actor, Step(), world)
    subject.execute(actor, Run(RunConfig(steps=4)), world)
    subject.execute(actor, AddProcessor(Breaking()), world)
    rows = subject.history(world, actor=actor.id)
    expected = [("get_world_info", 3), ("step", 3), ("run", 4), ("add_processor", 8)]
    require_equal(expected, [(row.type, row.tick) for row in rows], "types and ticks of rows")
    for row in rows:
        require_equal("applied", row.status, f"status of a {row.type}")
        require(row.settled_at is not None, f"a {row.type} is not settled")


@clause("G-304", "A row says when it was asked and when it was settled, by the gate's clock.")
def times(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.someone("operator")
    asked = subject.clock.now()
    subject.submit(actor, SPAWN, world)
    require_refusal(PermissionDenied, lambda: subject.execute(actor, CreateWorld("x", subject.storage)))
    subject.clock.advance(timedelta(minutes=1))
    subject.execute(actor, SPAWN, world)
    subject.clock.advance(timedelta(hours=1))
    subject.step(world)
    subject.clock.advance(timedelta(minutes=1))
    rows = subject.history(actor=actor.id)
    expected = [("spawn", 0, 61), ("create_world", 0, 0), ("spawn", 1, 61)]
    found = []
    for row in rows:
        assert row.settled_at is not None
        # What took a while may be settled that much later than the clock says.
        asked_at, settled_at = (moment - asked for moment in (row.submitted_at, row.settled_at))
        found.append((row.type, asked_at // timedelta(minutes=1), settled_at // timedelta(minutes=1)))
    require_equal(expected, found, "minutes at which rows were asked and settled")


@clause("G-305", "Rejected and failed commands have a row each with the reason, and are settled.")
def reasons(subject: GateSubject) -> None:
    subject.limit(commands=5)
    world, actor = subject.world(), subject.someone("operator")
    breaking = Breaking()
    subject.root(SPAWN, world)
    subject.step(world)
    require_refusal(PermissionDenied, lambda: subject.execute(actor, CreateWorld("x", subject.storage)))
    require_refusal(WorldNotFound, lambda: subject.execute(actor, Step(), "no such world"))
    require_refusal(EntityNotFound, lambda: subject.execute(actor, Update(999, (Coin(number=1),)), world))
    subject.root(AddProcessor(breaking), world)
    require_refusal(ProcessorError, lambda: subject.execute(actor, Step(), world))
    breaking.is_broken = False
    with suppress(QuotaExceeded):
        for _ in range(6):
            subject.execute(actor, GetWorldInfo(), world)
    rows = [row for row in subject.history(actor=actor.id) if row.status != "applied"]
    found = [(row.type, row.status) for row in rows]
    require(
        found[1:2] in ([("step", "rejected")], [("step", "failed")]),
        "a step of no world is neither rejected nor failed",
    )
    del found[1:2]
    expected = [("create_world", "rejected"), ("update", "failed"), ("step", "failed"), ("get_world_info", "rejected")]
    require_equal(expected, found, "rows of what was not done")
    for row in rows:
        require(bool(row.reason), f"a {row.status} {row.type} gives no reason")
        require(row.settled_at is not None, f"a {row.status} {row.type} is not settled")


@clause("G-306", "History is filtered by actor, type, status, world and time, alone and together.")
def filters(subject: GateSubject) -> None:
    one, two = subject.world("one"), subject.world("two")
    player, operator = subject.someone("player"), subject.someone("operator")
    start = subject.clock.now()
    for number in range(3):
        for world in (one, two):
            subject.execute(player, SPAWN, world)
            subject.submit(operator, Custom("note", number), world, tick=50)
            require_refusal(PermissionDenied, lambda world=world: subject.execute(player, Step(), world))
        subject.clock.advance(timedelta(minutes=1))
    subject.step(one)
    everything = subject.history()
    for place in (None, one):
        for only in (
            {"actor": player.id},
            {"type": "custom"},
            {"status": "rejected"},
            {"status": "queued", "actor": player.id},
            {"type": "spawn", "status": "applied"},
            {"actor": "nobody at all"},
        ):
            expected = [row for row in everything if place in (None, row.world_id)]
            for name, value in only.items():
                expected = [row for row in expected if getattr(row, name) == value]
            require_equal(expected, subject.history(place, **only), f"rows of {only} in {place}")
    require_equal(
        [row for row in everything if row.world_id == two],
        subject.history(world_id=two),
        "rows of a world, from the gate",
    )
    since, until = start + timedelta(seconds=30), start + timedelta(seconds=90)
    expected = [row for row in everything if since <= row.submitted_at <= until]
    require_equal(expected, subject.history(since=since, until=until), "rows of one minute")
    require_equal(6, len(expected), "rows of one minute")


@clause("G-307", "History comes newest first, or oldest first when asked, in pages that miss and repeat nothing.")
def pages(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.someone("player")
    for number in range(7):
        subject.execute(actor, Spawn((Coin(number=number),)), world)
    expected = subject.history(world, actor=actor.id)
    require_equal(7, len(expected), "rows")
    for oldest_first in (False, True):
        for limit in (1, 3, 7, 100):
            found: list[AuditRow] = []
            after: int | None = None
            # A gate that gives the same page again and again must not keep us here.
            while len(found) <= len(expected):
                asked = AuditFilter(actor=actor.id, after=after, limit=limit, oldest_first=oldest_first)
                page = subject.execute(subject.watcher(), GetHistory(asked), world)
                require(len(page) <= limit, f"a page of {len(page)} rows, asked for {limit}")
                if not page:
                    break
                found += page
                after = page[-1].seq
            wanted = expected if oldest_first else expected[::-1]
            require_equal(wanted, found, f"pages of {limit}, {'oldest' if oldest_first else 'newest'} first")
    none = subject.execute(subject.watcher(), GetHistory(AuditFilter(limit=0)), world)
    require_equal((), tuple(none), "a page of no rows")


@clause("G-308", "History is there when the gate was closed and opened again, and goes on with higher numbers.")
def history_survives(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.someone("player")
    subject.execute(actor, SPAWN, world)
    subject.step(world)
    subject.submit(actor, SPAWN, world)
    require_refusal(PermissionDenied, lambda: subject.execute(actor, Step(), world))
    subject.execute(actor, GetWorldInfo(), world)
    before, gate_rows = subject.history(world), subject.history(actor=actor.id)
    subject.reopen()
    require_equal(gate_rows, subject.history(actor=actor.id), "rows of the gate after it was opened again")
    subject.open_world(world)
    require_equal(before, [row for row in subject.history(world) if row.seq <= before[-1].seq], "rows of a world")
    subject.execute(actor, GetWorldInfo(), world)
    last = subject.history(world)[-1]
    require(last.seq > before[-1].seq, f"row {last.seq} came after row {before[-1].seq}")


@clause(
    "G-309", "A world's history is of that world, the gate's of everything; commands to the gate belong to no world."
)
def of_a_world_and_of_the_gate(subject: GateSubject) -> None:
    one, two, actor = subject.world("one"), subject.world("two"), subject.someone("operator")
    subject.execute(actor, SPAWN, one)
    subject.execute(actor, ListWorlds())
    subject.submit(actor, Despawn((1,)), two)
    subject.execute(actor, Step(), one)
    whole = subject.history()
    own = [(row.world_id, row.type) for row in whole if row.actor == actor.id]
    require_equal([(one, "spawn"), ("", "list_worlds"), (two, "despawn"), (one, "step")], own, "rows of the gate")
    for world in (one, two):
        mine = [row for row in whole if row.world_id == world]
        require_equal(mine, subject.history(world), "rows of a world")


@clause("G-310", "Of a payload that is long a row keeps no more than what tells it from another.")
def long_payloads(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.someone("player")
    for text in ("a" * 1_000_000, "b" * 1_000_000):
        subject.submit(actor, Custom("note", text), world)
    one, two = subject.history(world, actor=actor.id)
    require(max(len(one.payload), len(two.payload)) < 100_000, "a long payload is kept whole")
    json.loads(one.payload)
    bundles = tuple((Coin(number=number),) for number in range(3))
    subject.execute(actor, SpawnMany(bundles), world)
    require_equal(3, len(json.loads(subject.history(world)[-1].payload)["bundles"]), "bundles in a short payload")


@clause(
    "G-311",
    "The chain of rows verifies, whatever was asked, refused, applied and failed, before and after a reopening.",
)
def chain_verifies(subject: GateSubject) -> None:
    busy(subject)
    require_equal([], subject.verify(), "what is wrong with the chain")
    require_equal([], subject.verify(), "what is wrong with the chain, looked at again")
    subject.root(ListWorlds())
    require_equal([], subject.verify(), "what is wrong with the chain after a reopening")


def busy(subject: GateSubject) -> None:
    """Leave rows of every status."""
    world, actor = subject.world(), subject.someone("player")
    for number in range(3):
        subject.execute(actor, SPAWN, world)
        subject.submit(actor, Custom("nobody handles this", number), world)
        require_refusal(PermissionDenied, lambda: subject.execute(actor, Step(), world))
        subject.step(world)
    subject.submit(actor, SPAWN, world)


def tampered(subject: GateSubject, how: Tampering) -> None:
    """Require that tampering is found, and that it was the tampering."""
    busy(subject)
    require_equal([], subject.verify(), "what is wrong with the chain before anybody tampered with it")
    subject.hooks.tamper(subject.place, how)
    require(bool(subject.verify()), f"rows were tampered with ({how}), and the chain still verifies")


@clause("G-312", "A row that was edited is found.")
def edited(subject: GateSubject) -> None:
    tampered(subject, "edit")


@clause("G-313", "A row that was removed is found.")
def removed(subject: GateSubject) -> None:
    tampered(subject, "remove")


@clause("G-314", "Two rows that changed places are found.")
def reordered(subject: GateSubject) -> None:
    tampered(subject, "reorder")
