"""Clauses on the audit (G4): one row per command, its content, how it is read, and that tampering is found."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import timedelta

from archetype_contracts.assertion import require, require_equal, require_refusal
from archetype_contracts.gate.registry import clause
from archetype_contracts.gate.sample import Coin, Failing
from archetype_contracts.gate.sample_command import SAMPLE_COMMANDS, SampleWorld
from archetype_contracts.gate.subject import GateSubject, Tampering
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


@clause("G-301", "Every executed command leaves one audit row with its kind, actor, world and payload.")
def one_row_each(subject: GateSubject) -> None:
    sample = SampleWorld(subject)
    for sample_command in SAMPLE_COMMANDS:
        command, world = sample_command.make(sample)
        actor = subject.new_actor("admin", "player")
        answer: object = subject.execute(actor, command, world)
        rows = subject.history(actor=actor.id)
        require_equal(1, len(rows), f"number of rows of a {sample_command.of.__name__}")
        (row,) = rows
        require_equal(sample_command.kind, row.type, "type of a row")
        # The row of a command to the gate may belong to the world that it created or opened.
        owners = {world} if world is not None else {"", getattr(answer, "world_id", "")}
        require(
            row.world_id in owners,
            f"expected the world of a {sample_command.kind} row to be one of {sorted(map(str, owners))}, got {row.world_id!r}",
        )
        require_equal(actor.roles, frozenset(row.roles), f"roles of a {sample_command.kind} row")
        require_equal("", row.reason, f"reason of a {sample_command.kind} row")
        require(
            row.duration_s >= 0,
            f"expected a duration of at least 0 in a {sample_command.kind} row, got {row.duration_s}",
        )
        expected = json.loads(json.dumps(dict(command.describe())))
        require_equal(expected, json.loads(row.payload), f"payload of a {sample_command.kind} row")
    rows = subject.history()
    seqs = [row.seq for row in rows]
    require_equal(sorted(set(seqs)), seqs, "numbers (seq) of rows, oldest first")
    require_equal(len(rows), len({row.command_id for row in rows}), "number of different command ids")


@clause(
    "G-302",
    "An executed mutation is recorded as queued until its tick commits, then as applied at that tick.",
)
def executed_mutations(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.new_actor("player")
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
    "A command that is not a mutation is recorded as applied at once, at the world's next tick; a step at the tick it makes.",
)
def others_at_once(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.new_actor("operator")
    subject.step(world, 3)
    subject.execute(actor, GetWorldInfo(), world)
    subject.execute(actor, Step(), world)
    subject.execute(actor, Run(RunConfig(steps=4)), world)
    subject.execute(actor, AddProcessor(Failing()), world)
    rows = subject.history(world, actor=actor.id)
    expected = [("get_world_info", 3), ("step", 3), ("run", 4), ("add_processor", 8)]
    require_equal(expected, [(row.type, row.tick) for row in rows], "types and ticks of rows")
    for row in rows:
        require_equal("applied", row.status, f"status of a {row.type}")
        require(row.settled_at is not None, f"expected a settled {row.type} row, but settled_at is None")


@clause("G-304", "An audit row has the times of the gate's clock at which the command was submitted and settled.")
def times(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.new_actor("operator")
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
        # A row may be settled a little later than the clock says: compare whole minutes.
        asked_at, settled_at = (moment - asked for moment in (row.submitted_at, row.settled_at))
        found.append((row.type, asked_at // timedelta(minutes=1), settled_at // timedelta(minutes=1)))
    require_equal(expected, found, "minutes at which commands were submitted and settled")


@clause("G-305", "A rejected or failed command leaves one settled audit row with the reason.")
def reasons(subject: GateSubject) -> None:
    subject.limit(commands=5)
    world, actor = subject.world(), subject.new_actor("operator")
    failing = Failing()
    subject.as_admin(SPAWN, world)
    subject.step(world)
    require_refusal(PermissionDenied, lambda: subject.execute(actor, CreateWorld("x", subject.storage)))
    require_refusal(WorldNotFound, lambda: subject.execute(actor, Step(), "no such world"))
    require_refusal(EntityNotFound, lambda: subject.execute(actor, Update(999, (Coin(number=1),)), world))
    subject.as_admin(AddProcessor(failing), world)
    require_refusal(ProcessorError, lambda: subject.execute(actor, Step(), world))
    failing.is_failing = False
    with suppress(QuotaExceeded):
        for _ in range(6):
            subject.execute(actor, GetWorldInfo(), world)
    rows = [row for row in subject.history(actor=actor.id) if row.status != "applied"]
    found = [(row.type, row.status) for row in rows]
    require(
        found[1:2] in ([("step", "rejected")], [("step", "failed")]),
        f"expected a rejected or failed step of the missing world, got {found[1:2]}",
    )
    del found[1:2]
    expected = [("create_world", "rejected"), ("update", "failed"), ("step", "failed"), ("get_world_info", "rejected")]
    require_equal(expected, found, "types and statuses of commands that did not apply")
    for row in rows:
        require(bool(row.reason), f"expected a reason in the row of a {row.status} {row.type}, but it is empty")
        require(
            row.settled_at is not None,
            f"expected the row of a {row.status} {row.type} to be settled, but settled_at is None",
        )


@clause("G-306", "History can be filtered by actor, type, status, world and time, and by combinations.")
def filters(subject: GateSubject) -> None:
    one, two = subject.world("one"), subject.world("two")
    player, operator = subject.new_actor("player"), subject.new_actor("operator")
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
            {"actor": "unknown actor"},
        ):
            expected = [row for row in everything if place in (None, row.world_id)]
            for name, value in only.items():
                expected = [row for row in expected if getattr(row, name) == value]
            require_equal(expected, subject.history(place, **only), f"rows with {only} of world {place}")
    require_equal(
        [row for row in everything if row.world_id == two],
        subject.history(world_id=two),
        "rows of a world, read from the gate",
    )
    since, until = start + timedelta(seconds=30), start + timedelta(seconds=90)
    expected = [row for row in everything if since <= row.submitted_at <= until]
    require_equal(expected, subject.history(since=since, until=until), "rows of one minute")
    require_equal(6, len(expected), "number of rows of one minute")


@clause("G-307", "History comes newest first, or oldest first on request, in pages without gaps or repetitions.")
def pages(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.new_actor("player")
    for number in range(7):
        subject.execute(actor, Spawn((Coin(number=number),)), world)
    expected = subject.history(world, actor=actor.id)
    require_equal(7, len(expected), "rows")
    for oldest_first in (False, True):
        for limit in (1, 3, 7, 100):
            found: list[AuditRow] = []
            after: int | None = None
            # Stop if the gate returns the same page again and again.
            while len(found) <= len(expected):
                asked = AuditFilter(actor=actor.id, after=after, limit=limit, oldest_first=oldest_first)
                page = subject.execute(subject.observer(), GetHistory(asked), world)
                require(len(page) <= limit, f"expected at most {limit} rows in a page, got {len(page)}")
                if not page:
                    break
                found += page
                after = page[-1].seq
            wanted = expected if oldest_first else expected[::-1]
            require_equal(wanted, found, f"pages of {limit}, {'oldest' if oldest_first else 'newest'} first")
    none = subject.execute(subject.observer(), GetHistory(AuditFilter(limit=0)), world)
    require_equal((), tuple(none), "a page with limit 0")


@clause("G-320", "By settlement, history has every settled command once, in the order of settling, also in pages.")
def by_settlement(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.new_actor("operator")
    first = subject.submit(actor, SPAWN, world, tick=1).command_id
    second = subject.submit(actor, SPAWN, world).command_id
    subject.execute(actor, GetWorldInfo(), world)
    waiting = subject.submit(actor, SPAWN, world, tick=9).command_id
    asked = AuditFilter(actor=actor.id, by_settlement=True, oldest_first=True)
    (row,) = subject.execute(subject.observer(), GetHistory(asked), world)
    require_equal("get_world_info", row.type, "what is settled before a tick")
    last = row.seq
    subject.step(world, 2)
    found: list[AuditRow] = []
    while len(found) < 9:
        asked = AuditFilter(actor=actor.id, after=last, limit=1, by_settlement=True, oldest_first=True)
        page = subject.execute(subject.observer(), GetHistory(asked), world)
        if not page:
            break
        require(page[0].seq > last, f"expected a number after {last}, got {page[0].seq}")
        found += page
        last = page[-1].seq
    expected = [(second, "applied", 0), (first, "applied", 1)]
    require_equal(expected, [(one.command_id, one.status, one.tick) for one in found], "what two ticks settled")
    require(waiting not in {one.command_id for one in found}, "expected a command that waits not to be among them")
    newest = AuditFilter(actor=actor.id, by_settlement=True)
    backwards = subject.execute(subject.observer(), GetHistory(newest), world)
    require_equal([first, second, row.command_id], [one.command_id for one in backwards], "the newest first")


@clause("G-308", "History survives closing and opening the gate, and continues with higher numbers.")
def history_survives(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.new_actor("player")
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
    require(last.seq > before[-1].seq, f"expected a number after {before[-1].seq}, got {last.seq}")


@clause(
    "G-309",
    "A world's history has only its own rows, the gate's history has all; commands to the gate belong to no world.",
)
def of_a_world_and_of_the_gate(subject: GateSubject) -> None:
    one, two, actor = subject.world("one"), subject.world("two"), subject.new_actor("operator")
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


@clause("G-310", "A long payload is shortened in its audit row; a short one is kept whole.")
def long_payloads(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.new_actor("player")
    for text in ("a" * 1_000_000, "b" * 1_000_000):
        subject.submit(actor, Custom("note", text), world)
    one, two = subject.history(world, actor=actor.id)
    require(
        max(len(one.payload), len(two.payload)) < 100_000,
        f"expected fewer than 100000 characters of a long payload, got {max(len(one.payload), len(two.payload))}",
    )
    json.loads(one.payload)
    bundles = tuple((Coin(number=number),) for number in range(3))
    subject.execute(actor, SpawnMany(bundles), world)
    require_equal(
        3, len(json.loads(subject.history(world)[-1].payload)["bundles"]), "number of bundles in a short payload"
    )


@clause(
    "G-311",
    "The audit chain verifies after commands that were applied, queued, rejected and failed, and after reopening.",
)
def chain_verifies(subject: GateSubject) -> None:
    fill_audit(subject)
    require_equal([], subject.verify(), "defects in the audit chain")
    require_equal([], subject.verify(), "defects in the audit chain, verified again")
    subject.as_admin(ListWorlds())
    require_equal([], subject.verify(), "defects in the audit chain after reopening")


def fill_audit(subject: GateSubject) -> None:
    """Leave audit rows of every status."""
    world, actor = subject.world(), subject.new_actor("player")
    for number in range(3):
        subject.execute(actor, SPAWN, world)
        subject.submit(actor, Custom("no such handler", number), world)
        require_refusal(PermissionDenied, lambda: subject.execute(actor, Step(), world))
        subject.step(world)
    subject.submit(actor, SPAWN, world)


def require_tampering_found(subject: GateSubject, how: Tampering) -> None:
    """Require that the audit chain verifies before tampering and does not verify after it."""
    fill_audit(subject)
    require_equal([], subject.verify(), "defects in the audit chain before tampering")
    subject.hooks.tamper(subject.place, how)
    require(bool(subject.verify()), f"expected defects after tampering ({how!r}), but verify returned none")


@clause("G-312", "Verification finds an edited audit row.")
def edited(subject: GateSubject) -> None:
    require_tampering_found(subject, "edit")


@clause("G-313", "Verification finds a removed audit row.")
def removed(subject: GateSubject) -> None:
    require_tampering_found(subject, "remove")


@clause("G-314", "Verification finds two swapped audit rows.")
def reordered(subject: GateSubject) -> None:
    require_tampering_found(subject, "reorder")
