"""Clauses on ticks that fail: what was accepted stays, and applies with the tick that succeeds, once."""

from __future__ import annotations

from archetype_contracts.gate.book import clause
from archetype_contracts.gate.queue import listening
from archetype_contracts.gate.sample import Breaking, Coin
from archetype_contracts.gate.subject import GateSubject
from archetype_contracts.verdict import require, require_equal, require_refusal
from archetype_core.command import AddHandler, AddProcessor, Custom, RemoveProcessor, Run, Spawn, Step, Update
from archetype_core.config import RunConfig
from archetype_core.errors import ProcessorError


def broken_world(subject: GateSubject) -> tuple[str, Breaking, int]:
    """A world with a coin, one tick old, whose ticks fail from now on."""
    world, breaking = subject.world(), Breaking()
    coin = subject.root(Spawn((Coin(number=1),)), world)
    subject.step(world)
    subject.root(AddProcessor(breaking), world)
    return world, breaking, coin


@clause(
    "G-251", "A tick that fails keeps its commands, queued and executed; they apply with the next that succeeds, once."
)
def kept_by_a_failing_step(subject: GateSubject) -> None:
    world, breaking, coin = broken_world(subject)
    actor = subject.someone("player")
    notebook = listening(subject, world)
    ticket = subject.submit(actor, Update(coin, (Coin(face="queued"),)), world)
    queued = subject.submit_spawn(actor, world, Coin(number=2))
    executed = subject.execute(actor, Spawn((Coin(number=3),)), world)
    noted = subject.submit(actor, Custom("note", "once"), world)
    for _ in range(3):
        require_refusal(ProcessorError, lambda: subject.step(world), tick=1)
        require_equal({coin: 1}, subject.coins(world), "coins after a tick that failed")
        require_equal(1, subject.info(world).tick, "the next tick after one that failed")
        row = subject.row(ticket.command_id, world)
        require_equal(("queued", None), (row.status, row.settled_at), "status of what a failing tick kept")
    breaking.is_broken = False
    subject.step(world, 2)
    require_equal({coin: 1, queued: 2, executed: 3}, subject.coins(world), "coins after the tick that succeeded")
    require_equal("queued", subject.faces(world)[coin], "the face that was updated")
    rows = subject.history(world, actor=actor.id)
    require_equal([("applied", 1)] * 4, [(row.status, row.tick) for row in rows], "rows of what was kept")
    require("once" in notebook.pages, "a custom command that a failing tick kept did not apply")
    require_equal("applied", subject.row(noted.command_id, world).status, "status of the custom command")


@clause("G-252", "What a failing tick kept is also kept when the gate is closed and opened before the next one.")
def kept_over_a_reopening(subject: GateSubject) -> None:
    world, _, coin = broken_world(subject)
    actor = subject.someone("player")
    queued = subject.submit_spawn(actor, world, Coin(number=2))
    executed = subject.execute(actor, Spawn((Coin(number=3),)), world)
    require_refusal(ProcessorError, lambda: subject.step(world))
    subject.reopen(world)
    require_equal({coin: 1}, subject.coins(world), "coins after a tick that failed")
    subject.step(world, 2)
    require_equal({coin: 1, queued: 2, executed: 3}, subject.coins(world), "coins after the tick that succeeded")
    rows = subject.history(world, actor=actor.id)
    require_equal([("applied", 1)] * 2, [(row.status, row.tick) for row in rows], "rows of what was kept")


@clause(
    "G-253", "A spawn that a failing tick kept can be updated before the next, and what is submitted then joins it."
)
def joined_after_a_failing_step(subject: GateSubject) -> None:
    world, _, coin = broken_world(subject)
    actor = subject.someone("player")
    queued = subject.submit_spawn(actor, world, Coin(number=2))
    require_refusal(ProcessorError, lambda: subject.step(world))
    later = subject.submit_spawn(actor, world, Coin(number=4))
    subject.submit(actor, Update(queued, (Coin(face="late"),)), world, priority=1)
    subject.root(RemoveProcessor(Breaking), world)
    subject.step(world)
    require_equal({coin: 1, queued: 2, later: 4}, subject.coins(world), "coins after the tick that succeeded")
    require_equal("late", subject.faces(world)[queued], "a face that was updated before it was there")


@clause("G-254", "A step or a run that fails is on record as failed, with its reason; ticks of the run before stay.")
def failing_steps_on_record(subject: GateSubject) -> None:
    world, breaking, coin = broken_world(subject)
    operator, player = subject.someone("operator"), subject.someone("player")
    require_refusal(ProcessorError, lambda: subject.execute(operator, Step(), world))
    breaking.is_broken = False

    def break_down(_scope: object, _data: object) -> None:
        breaking.is_broken = True

    subject.root(AddHandler("break", break_down), world)
    subject.submit(player, Custom("break"), world, tick=3)
    kept = subject.submit_spawn(player, world, Coin(number=5), tick=3)
    require_refusal(ProcessorError, lambda: subject.execute(operator, Run(RunConfig(steps=9)), world), tick=3)
    require_equal(3, subject.info(world).tick, "the next tick after a run that failed")
    rows = subject.history(world, actor=operator.id)
    require_equal([("step", "failed"), ("run", "failed")], [(row.type, row.status) for row in rows], "rows")
    require(all(row.reason and row.settled_at for row in rows), "what failed has no reason on record, or no time")
    subject.root(RemoveProcessor(Breaking), world)
    subject.step(world)
    require_equal({coin: 1, kept: 5}, subject.coins(world), "coins after the tick that succeeded")
