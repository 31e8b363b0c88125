"""Clauses on failed ticks: accepted commands stay, and apply once with the next tick that succeeds."""

from __future__ import annotations

from archetype_contracts.assertion import require, require_equal, require_refusal
from archetype_contracts.gate.queue import add_recording_handler
from archetype_contracts.gate.registry import clause
from archetype_contracts.gate.sample import Coin, Failing
from archetype_contracts.gate.subject import GateSubject
from archetype_core.command import AddHandler, AddProcessor, Custom, RemoveProcessor, Run, Spawn, Step, Update
from archetype_core.config import RunConfig
from archetype_core.errors import ProcessorError


def broken_world(subject: GateSubject) -> tuple[str, Failing, int]:
    """A world after one tick, with a coin, whose ticks fail from now on."""
    world, failing = subject.world(), Failing()
    coin = subject.as_admin(Spawn((Coin(number=1),)), world)
    subject.step(world)
    subject.as_admin(AddProcessor(failing), world)
    return world, failing, coin


@clause(
    "G-251", "A failed tick keeps its queued and executed commands; they apply once, with the next tick that succeeds."
)
def kept_by_a_failing_step(subject: GateSubject) -> None:
    world, failing, coin = broken_world(subject)
    actor = subject.new_actor("player")
    handler = add_recording_handler(subject, world)
    ticket = subject.submit(actor, Update(coin, (Coin(face="queued"),)), world)
    queued = subject.submit_spawn(actor, world, Coin(number=2))
    executed = subject.execute(actor, Spawn((Coin(number=3),)), world)
    noted = subject.submit(actor, Custom("note", "once"), world)
    for _ in range(3):
        require_refusal(ProcessorError, lambda: subject.step(world), tick=1)
        require_equal({coin: 1}, subject.coins(world), "coins after a tick that failed")
        require_equal(1, subject.info(world).tick, "the next tick after one that failed")
        row = subject.row(ticket.command_id, world)
        require_equal(("queued", None), (row.status, row.settled_at), "status of a command that a failed tick kept")
    failing.is_failing = False
    subject.step(world, 2)
    require_equal({coin: 1, queued: 2, executed: 3}, subject.coins(world), "coins after the tick that succeeded")
    require_equal("queued", subject.faces(world)[coin], "the face that was updated")
    rows = subject.history(world, actor=actor.id)
    require_equal(
        [("applied", 1)] * 4, [(row.status, row.tick) for row in rows], "statuses and ticks of the kept commands"
    )
    require(
        "once" in handler.received,
        f"expected the custom command to apply after the failed ticks, but its handler received {handler.received}",
    )
    require_equal("applied", subject.row(noted.command_id, world).status, "status of the custom command")


@clause(
    "G-252", "Commands that a failed tick kept are also kept when the gate is closed and opened before the next tick."
)
def kept_over_a_reopening(subject: GateSubject) -> None:
    world, _, coin = broken_world(subject)
    actor = subject.new_actor("player")
    queued = subject.submit_spawn(actor, world, Coin(number=2))
    executed = subject.execute(actor, Spawn((Coin(number=3),)), world)
    require_refusal(ProcessorError, lambda: subject.step(world))
    subject.reopen(world)
    require_equal({coin: 1}, subject.coins(world), "coins after a tick that failed")
    subject.step(world, 2)
    require_equal({coin: 1, queued: 2, executed: 3}, subject.coins(world), "coins after the tick that succeeded")
    rows = subject.history(world, actor=actor.id)
    require_equal(
        [("applied", 1)] * 2, [(row.status, row.tick) for row in rows], "statuses and ticks of the kept commands"
    )


@clause(
    "G-253",
    "A spawn that a failed tick kept can be updated before the next tick, together with newly submitted commands.",
)
def joined_after_a_failing_step(subject: GateSubject) -> None:
    world, _, coin = broken_world(subject)
    actor = subject.new_actor("player")
    queued = subject.submit_spawn(actor, world, Coin(number=2))
    require_refusal(ProcessorError, lambda: subject.step(world))
    later = subject.submit_spawn(actor, world, Coin(number=4))
    subject.submit(actor, Update(queued, (Coin(face="late"),)), world, priority=1)
    subject.as_admin(RemoveProcessor(Failing), world)
    subject.step(world)
    require_equal({coin: 1, queued: 2, later: 4}, subject.coins(world), "coins after the tick that succeeded")
    require_equal("late", subject.faces(world)[queued], "a face that was updated before it was there")


@clause("G-254", "A failed step or run is recorded as failed with its reason; earlier ticks of the run stay.")
def failing_steps_on_record(subject: GateSubject) -> None:
    world, failing, coin = broken_world(subject)
    operator, player = subject.new_actor("operator"), subject.new_actor("player")
    require_refusal(ProcessorError, lambda: subject.execute(operator, Step(), world))
    failing.is_failing = False

    def break_down(_scope: object, _data: object) -> None:
        failing.is_failing = True

    subject.as_admin(AddHandler("break", break_down), world)
    subject.submit(player, Custom("break"), world, tick=3)
    kept = subject.submit_spawn(player, world, Coin(number=5), tick=3)
    require_refusal(ProcessorError, lambda: subject.execute(operator, Run(RunConfig(steps=9)), world), tick=3)
    require_equal(3, subject.info(world).tick, "the next tick after a run that failed")
    rows = subject.history(world, actor=operator.id)
    require_equal([("step", "failed"), ("run", "failed")], [(row.type, row.status) for row in rows], "rows")
    require(
        all(row.reason and row.settled_at for row in rows),
        "expected a reason and a time in every row of a failed command, but one is empty",
    )
    subject.as_admin(RemoveProcessor(Failing), world)
    subject.step(world)
    require_equal({coin: 1, kept: 5}, subject.coins(world), "coins after the tick that succeeded")
