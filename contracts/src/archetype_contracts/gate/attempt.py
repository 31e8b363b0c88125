"""Clauses on commands that are sent from inside a tick: they count once its attempt is committed (T7)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from archetype_contracts.assertion import require, require_equal, require_refusal
from archetype_contracts.gate.registry import clause
from archetype_contracts.gate.rendering import render_command
from archetype_contracts.gate.sample import Coin, Failing, SampleError
from archetype_contracts.gate.subject import GateSubject
from archetype_core.command import ActorCtx, AddProcessor, EntityCommand, Spawn, Step, Update
from archetype_core.errors import ProcessorError


@dataclass(frozen=True, slots=True)
class Inside:
    """A command that a processor sends in the middle of a tick."""

    command: EntityCommand[Any]
    world: str
    is_queued: bool = False


def step_with(
    subject: GateSubject,
    world: str,
    failing: Failing,
    actor: ActorCtx,
    commands: Sequence[Inside],
    *,
    fails: bool = False,
    stepper: ActorCtx | None = None,
) -> list[Any]:
    """Make a tick of a world with a coin, in which a processor sends commands and then fails if asked; return the answers."""
    answers: list[Any] = []

    async def act() -> None:
        for one in commands:
            verb = "submit" if one.is_queued else "execute"
            subject.transcript.add(f"# inside the tick: {verb}({actor.id}, {render_command(one.command)})")
            if one.is_queued:
                answers.append(await subject.gate.submit(actor, one.command, one.world))
            else:
                answers.append(await subject.gate.execute(actor, one.command, one.world))
        if fails:
            raise SampleError("this sample processor fails after its commands")

    failing.act = act
    stepper = stepper or subject.new_actor("operator")
    if fails:
        require_refusal(ProcessorError, lambda: subject.execute(stepper, Step(), world))
    else:
        subject.execute(stepper, Step(), world)
    require(failing.act is None, "expected the processor to act in this tick, but it was not called")
    return answers


def acting_world(subject: GateSubject, name: str = "world") -> tuple[str, Failing, int]:
    """A world after one tick, with a coin and a processor that acts."""
    world, failing = subject.world(name), Failing()
    failing.is_failing = False
    coin = subject.as_admin(Spawn((Coin(number=1),)), world)
    subject.step(world)
    subject.as_admin(AddProcessor(failing), world)
    return world, failing, coin


@clause(
    "G-261",
    "Of the commands that a processor sends to its world, only those of the attempt that is committed apply, once, at the "
    "next tick.",
)
def only_the_last_attempt(subject: GateSubject) -> None:
    world, failing, coin = acting_world(subject)
    actor = subject.new_actor("player")
    commands = (
        Inside(Spawn((Coin(number=2),)), world),
        Inside(Spawn((Coin(number=3),)), world, is_queued=True),
        Inside(Update(coin, (Coin(face="inside"),)), world),
    )
    outside = subject.submit_spawn(actor, world, Coin(number=4))
    for _ in range(2):
        step_with(subject, world, failing, actor, commands, fails=True)
        info = subject.info(world)
        require_equal((1, 1, 0), (info.tick, info.entities, info.queued), "tick, entities, queue after a failed tick")
    executed, ticket, _ = step_with(subject, world, failing, actor, commands)
    require_equal({coin: 1, outside: 4}, subject.coins(world), "coins after the tick that sent the commands")
    require_equal("", subject.faces(world)[coin], "the face before the tick that applies the update")
    subject.step(world)
    expected = {coin: 1, outside: 4, executed: 2, ticket.entity_ids.start: 3}
    require_equal(expected, subject.coins(world), "coins after the next tick")
    require_equal("inside", subject.faces(world)[coin], "the face after the next tick")
    subject.step(world)
    require_equal(expected, subject.coins(world), "coins one tick later")


@clause(
    "G-262",
    "Commands that a processor submits or executes in another world reach it with the commit; those of a failed attempt "
    "never do.",
)
def held_for_another_world(subject: GateSubject) -> None:
    world, failing, _ = acting_world(subject)
    other = subject.world("other")
    actor = subject.new_actor("player")
    commands = (
        Inside(Spawn((Coin(number=2),)), other, is_queued=True),
        Inside(Spawn((Coin(number=3),)), other),
    )
    step_with(subject, world, failing, actor, commands, fails=True)
    subject.step(other)
    require_equal({}, subject.coins(other), "coins of the other world after the failed attempt")
    ticket, executed = step_with(subject, world, failing, actor, commands)
    require_equal(1, subject.info(other).queued, "queued commands of the other world after the commit")
    subject.step(other)
    require_equal({ticket.entity_ids.start: 2, executed: 3}, subject.coins(other), "coins of the other world")


@clause(
    "G-263",
    "Commands of a failed attempt have no audit rows and cost nothing; the row of the failed step says how many there were.",
)
def dropped_without_a_trace(subject: GateSubject) -> None:
    subject.limit(commands=7, credits=7)
    world, failing, _ = acting_world(subject)
    actor, operator = subject.new_actor("player"), subject.new_actor("operator")
    commands = [Inside(Spawn((Coin(number=2),)), world, is_queued=number % 2 == 0) for number in range(7)]
    for _ in range(2):
        step_with(subject, world, failing, actor, commands, fails=True, stepper=operator)
        require_equal([], subject.history(world, actor=actor.id), "rows of the commands of a failed attempt")
    for row in subject.history(world, actor=operator.id):
        require_equal(("step", "failed"), (row.type, row.status), "type and status of a failed step's row")
        counts = re.search(r"\b7\b", row.reason) is not None
        require(counts, f"expected a reason that counts the 7 dropped commands, but it is {row.reason!r}")
    step_with(subject, world, failing, actor, commands)
    rows = subject.history(world, actor=actor.id)
    require_equal([("spawn", "queued")] * 7, [(row.type, row.status) for row in rows], "rows after the commit")
    subject.step(world)
    rows = subject.history(world, actor=actor.id)
    require_equal([("applied", 2)] * 7, [(row.status, row.tick) for row in rows], "rows after the next tick")


@clause("G-264", "Commands that a processor sent in a committed tick apply once after the gate is closed and opened.")
def held_commands_survive(subject: GateSubject) -> None:
    world, failing, coin = acting_world(subject)
    other = subject.world("other")
    actor = subject.new_actor("player")
    queued, executed, elsewhere = step_with(
        subject,
        world,
        failing,
        actor,
        (
            Inside(Spawn((Coin(number=2),)), world, is_queued=True),
            Inside(Spawn((Coin(number=3),)), world),
            Inside(Spawn((Coin(number=4),)), other, is_queued=True),
        ),
    )
    subject.reopen(world, other)
    subject.step(world, 2)
    subject.step(other)
    require_equal({coin: 1, queued.entity_ids.start: 2, executed: 3}, subject.coins(world), "coins of the world")
    require_equal({elsewhere.entity_ids.start: 4}, subject.coins(other), "coins of the other world")


@clause(
    "G-265",
    "A fork has what the processors of its source's last tick executed, also before its first tick in a gate that is opened "
    "again, and is not refused for it; the source applies it too.",
)
def forked_with_the_tick(subject: GateSubject) -> None:
    world, failing, coin = acting_world(subject)
    actor = subject.new_actor("player")
    commands = (Inside(Spawn((Coin(number=2),)), world), Inside(Update(coin, (Coin(face="inside"),)), world))
    executed, _ = step_with(subject, world, failing, actor, commands)
    fork, later = subject.fork(world, "fork"), subject.fork(world, "later")
    subject.step(fork)
    subject.reopen(world, fork, later)
    for place in (later, world):
        subject.step(place)
    for place in (fork, later, world):
        require_equal({coin: 1, executed: 2}, subject.coins(place), "coins after the next tick")
        require_equal("inside", subject.faces(place)[coin], "the face after the next tick")
    rows = [row for row in subject.history(actor=actor.id) if row.world_id != world]
    require_equal([], rows, "rows of the commands in a fork that nobody sent them to")
