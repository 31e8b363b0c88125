"""Clauses on quotas (G3): what counts, for which actor, and until when."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from archetype_contracts.assertion import require, require_equal, require_refusal
from archetype_contracts.gate.registry import clause
from archetype_contracts.gate.sample import Coin, Idle, Sash
from archetype_contracts.gate.subject import GateSubject
from archetype_core.command import (
    ActorCtx,
    ActorUsage,
    AddComponents,
    AddProcessor,
    Command,
    GetUsage,
    GetWorldInfo,
    ListWorlds,
    Run,
    Send,
    Spawn,
    SpawnMany,
    Step,
    Update,
)
from archetype_core.config import RunConfig
from archetype_core.errors import PermissionDenied, QuotaExceeded

SPAWN = Spawn((Coin(),))


def spend(subject: GateSubject, actor: ActorCtx, world: str | None, times: int, command: Command[Any] = SPAWN) -> None:
    """Execute a command several times; every one must be accepted."""
    for _ in range(times):
        subject.execute(actor, command, world)


def require_over_quota(
    subject: GateSubject, actor: ActorCtx, world: str | None, command: Command[Any] = SPAWN, **attributes: object
) -> None:
    """Require that a command is refused because it is over a quota."""
    require_refusal(QuotaExceeded, lambda: subject.execute(actor, command, world), actor=actor.id, **attributes)


@clause("G-101", "An actor has a number of commands per world and tick, and gets them again after the tick.")
def commands_per_tick(subject: GateSubject) -> None:
    subject.limit(commands=3)
    world, actor = subject.world(), subject.new_actor("player")
    for _ in range(3):
        spend(subject, actor, world, 3)
        for _ in range(2):
            require_over_quota(subject, actor, world, quota="commands", limit=3, used=3, asked=1)
        subject.step(world)


@clause("G-102", "Commands are counted per world: neither the use nor the ticks of one world affect another.")
def worlds_apart(subject: GateSubject) -> None:
    subject.limit(commands=2)
    first, second, actor = subject.world("first"), subject.world("second"), subject.new_actor("player")
    spend(subject, actor, first, 2)
    spend(subject, actor, second, 2)
    require_over_quota(subject, actor, first)
    subject.step(second, 2)
    require_over_quota(subject, actor, first, used=2)
    spend(subject, actor, second, 2)
    subject.step(first)
    spend(subject, actor, first, 2)
    require_over_quota(subject, actor, second, used=2)


@clause(
    "G-103", "Two actors with the same role are counted separately; one actor with different roles is counted once."
)
def actors_apart(subject: GateSubject) -> None:
    subject.limit(commands=2, credits=6)
    world = subject.world()
    one, two = subject.new_actor("player"), subject.new_actor("player")
    for _ in range(3):
        spend(subject, one, world, 2)
        require_over_quota(subject, one, world)
        spend(subject, two, world, 2)
        require_over_quota(subject, two, world)
        require_over_quota(subject, ActorCtx(one.id, ("admin",)), world, used=2)
        subject.step(world)
    require_over_quota(subject, one, world, quota="credits", used=6)
    require_over_quota(subject, two, world, quota="credits", used=6)
    spend(subject, subject.new_actor("player"), world, 2)


@clause("G-104", "An actor has a number of credits per UTC day: only midnight renews them, not ticks or other worlds.")
def credits_per_day(subject: GateSubject) -> None:
    subject.limit(credits=10, spawn=3)
    first, second, actor = subject.world("first"), subject.world("second"), subject.new_actor("player")
    for _ in range(2):
        spend(subject, actor, first, 2)
        spend(subject, actor, second, 1)
        subject.step(first)
        require_over_quota(subject, actor, first, quota="credits", limit=10, used=9, asked=3)
        require_over_quota(subject, actor, second, quota="credits", limit=10, used=9, asked=3)
        spend(subject, actor, first, 1, GetWorldInfo())
        require_over_quota(subject, actor, first, GetWorldInfo(), quota="credits", used=10, asked=1)
        subject.clock.start_next_day()
        subject.clock.advance(timedelta(microseconds=-1))
        require_over_quota(subject, actor, first, GetWorldInfo(), quota="credits", used=10)
        subject.clock.advance(timedelta(microseconds=1))


@clause("G-105", "A new day renews credits, not commands; a new tick renews commands, not credits.")
def day_is_no_tick(subject: GateSubject) -> None:
    subject.limit(commands=2, credits=4)
    world, actor = subject.world(), subject.new_actor("player")
    spend(subject, actor, world, 2)
    subject.clock.start_next_day()
    require_over_quota(subject, actor, world, quota="commands", used=2)
    for _ in range(2):
        subject.step(world)
        spend(subject, actor, world, 2)
    subject.step(world)
    require_over_quota(subject, actor, world, quota="credits", used=4)


@clause("G-106", "A command counts as one command and costs its kind's credits times its weight; cost 0 is free.")
def weights(subject: GateSubject) -> None:
    subject.limit(commands=4, credits=20, spawn=2, run=3, get_world_info=0)
    world = subject.world()
    actor, other = subject.new_actor("player"), subject.new_actor("operator")
    many = SpawnMany(tuple((Coin(number=number),) for number in range(5)))
    spend(subject, actor, world, 1, many)
    require_over_quota(subject, actor, world, SpawnMany((*many.bundles, (Coin(),))), quota="credits", used=10, asked=12)
    spend(subject, actor, world, 1, many)
    spend(subject, actor, world, 2, GetWorldInfo())
    require_over_quota(subject, actor, world, GetWorldInfo(), quota="commands", used=4)
    # A run of several ticks is one command.
    spend(subject, other, world, 1, Run(RunConfig(steps=5)))
    require_over_quota(subject, other, world, Run(RunConfig(steps=2)), quota="credits", used=15, asked=6)
    spend(subject, other, world, 1, Run(RunConfig(steps=1)))


@clause("G-107", "A command over a quota is not executed and uses nothing: whatever fitted before it fits after it.")
def rejections_cost_nothing(subject: GateSubject) -> None:
    subject.limit(commands=3, credits=10)
    world, actor = subject.world(), subject.new_actor("player")
    big = SpawnMany(tuple((Coin(),) for _ in range(11)))
    for _ in range(5):
        require_over_quota(subject, actor, world, big, quota="credits", used=0, asked=11)
        require_refusal(QuotaExceeded, lambda: subject.submit(actor, big, world), used=0, asked=11)
    spend(subject, actor, world, 3)
    for _ in range(5):
        require_over_quota(subject, actor, world, quota="commands", used=3)
        require_refusal(QuotaExceeded, lambda: subject.submit_spawn(actor, world, Coin()), quota="commands", used=3)
    subject.step(world)
    require_equal(3, subject.info(world).entities, "entities after commands over the quota")
    spend(subject, actor, world, 1, SpawnMany(tuple((Coin(),) for _ in range(7))))
    require_over_quota(subject, actor, world, quota="credits", used=10, asked=1)


@clause("G-108", "A batch is accepted or refused as a whole, by commands, by credits and by policy.")
def batches(subject: GateSubject) -> None:
    subject.limit(commands=5, credits=12, message=4)
    world, actor = subject.world(), subject.new_actor("player")
    subject.submit_batch(actor, [SPAWN] * 3, world)
    for _ in range(2):
        require_refusal(
            QuotaExceeded,
            lambda: subject.submit_batch(actor, [SPAWN] * 3, world),
            actor=actor.id,
            quota="commands",
            limit=5,
            used=3,
        )
        require_refusal(QuotaExceeded, lambda: subject.submit_batch(actor, [Send(1, None)] * 4, world), used=3)
        require_refusal(QuotaExceeded, lambda: subject.submit(actor, SpawnMany(((Coin(),),) * 10), world), used=3)
        require_refusal(
            PermissionDenied,
            lambda: subject.submit_batch(actor, [SPAWN, AddComponents(1, (Sash(),))], world),
            actor=actor.id,
        )
    require_equal(3, subject.info(world).queued, "queued commands after refused batches")
    subject.submit_batch(actor, [SPAWN] * 2, world)
    require_over_quota(subject, actor, world, quota="commands", used=5)
    subject.step(world)
    require_equal(5, subject.info(world).entities, "entities after refused batches")
    require_equal((), subject.submit_batch(actor, [], world), "tickets of an empty batch")
    require_refusal(
        QuotaExceeded, lambda: subject.submit_batch(actor, [Send(1, None)] * 2, world), quota="credits", used=5
    )
    subject.submit_batch(actor, [Send(1, None), SPAWN, SPAWN, SPAWN], world)
    require_over_quota(subject, actor, world, quota="credits", used=12)


@clause("G-109", "Used quotas stay used after the gate is closed and opened again.")
def counters_survive(subject: GateSubject) -> None:
    subject.limit(commands=3, credits=5)
    world, actor = subject.world(), subject.new_actor("player")
    spend(subject, actor, world, 2)
    subject.reopen(world)
    subject.submit(actor, SPAWN, world)
    subject.reopen(world)
    require_over_quota(subject, actor, world, quota="commands", used=3)
    subject.step(world)
    spend(subject, actor, world, 2)
    subject.reopen(world)
    require_over_quota(subject, actor, world, quota="credits", used=5)
    subject.clock.start_next_day()
    subject.reopen(world)
    spend(subject, actor, world, 1)
    require_over_quota(subject, actor, world, quota="commands", used=3)


@clause("G-110", "Every command to a world counts as one command, including reads and steps.")
def everything_counts(subject: GateSubject) -> None:
    subject.limit(commands=4)
    world, actor = subject.world(), subject.new_actor("operator")
    spend(subject, actor, world, 2, GetWorldInfo())
    subject.submit(actor, SPAWN, world)
    spend(subject, actor, world, 1)
    require_over_quota(subject, actor, world, GetWorldInfo(), quota="commands", used=4)
    require_over_quota(subject, actor, world, Step(), quota="commands", used=4)
    require_over_quota(subject, actor, world, AddProcessor(Idle()), quota="commands", used=4)
    subject.step(world)
    # A step counts for the tick that it makes; later commands count for the next tick.
    spend(subject, actor, world, 8, Step())
    spend(subject, actor, world, 4, GetWorldInfo())
    require_over_quota(subject, actor, world, Step(), quota="commands", used=4)


@clause("G-111", "Commands to the gate itself use only credits.")
def gate_commands(subject: GateSubject) -> None:
    subject.limit(commands=1, credits=6, list_worlds=1)
    world, actor = subject.world(), subject.new_actor("viewer")
    spend(subject, actor, None, 5, ListWorlds())
    spend(subject, actor, world, 1, GetWorldInfo())
    require_over_quota(subject, actor, None, ListWorlds(), quota="credits", used=6)
    subject.clock.start_next_day()
    spend(subject, actor, None, 6, ListWorlds())


@clause("G-112", "A queued command counts once, when it is submitted.")
def counted_once(subject: GateSubject) -> None:
    subject.limit(commands=2, credits=7)
    world, actor = subject.world(), subject.new_actor("player")
    for _ in range(3):
        subject.submit(actor, SPAWN, world, tick=3)
        subject.submit_spawn(actor, world, Coin(), tick=3)
        require_over_quota(subject, actor, world, quota="commands", used=2)
        subject.step(world)
    subject.step(world)
    require_equal(6, subject.info(world).entities, "number of entities whose spawns waited for tick 3")
    spend(subject, actor, world, 1)
    require_over_quota(subject, actor, world, quota="credits", used=7)


@clause("G-113", "Each command over a quota leaves one audit row with the reason.")
def rejection_on_record(subject: GateSubject) -> None:
    subject.limit(commands=1)
    world, actor = subject.world(), subject.new_actor("player")
    spend(subject, actor, world, 1)
    require_over_quota(subject, actor, world)
    require_refusal(QuotaExceeded, lambda: subject.submit(actor, Update(1, ()), world))
    require_refusal(QuotaExceeded, lambda: subject.submit_batch(actor, [SPAWN, Send(1, None)], world))
    require_refusal(QuotaExceeded, lambda: subject.submit_spawn(actor, world, Coin()))
    rows = [row for row in subject.history(world) if row.actor == actor.id]
    expected = ["spawn", "spawn", "update", "spawn", "message", "spawn"]
    require_equal(expected, [row.type for row in rows], "rows of an actor over its quota")
    for row in rows[1:]:
        require_equal("rejected", row.status, f"status of a {row.type} over the quota")
        require(bool(row.reason), f"expected a reason in the row of a {row.type} over the quota, but it is empty")


@clause(
    "G-114",
    "Everybody may see what it has used itself, and admins what anybody has; it costs and counts as any command.",
)
def own_usage(subject: GateSubject) -> None:
    subject.limit(commands=5, credits=50, get_usage=2, spawn=3)
    first, second = subject.world("first"), subject.world("second")
    actor, viewer = subject.new_actor("player"), subject.new_actor("viewer")
    spend(subject, actor, first, 2)
    subject.step(first)
    spend(subject, actor, first, 1)
    spend(subject, actor, second, 3)
    found = subject.execute(actor, GetUsage())
    require_equal(
        (actor.id, 20, 0, 50, 5), _figures(found), "actor, credits used, reserved and limit, and commands limit"
    )
    require_equal({first: 1, second: 3}, dict(found.commands), "commands of the current tick by world")
    require_refusal(PermissionDenied, lambda: subject.execute(viewer, GetUsage(actor.id)), actor=viewer.id)
    require_equal(2, subject.execute(viewer, GetUsage(viewer.id)).credits_used, "credits of an actor that only asked")
    require_equal(20, subject.as_admin(GetUsage(actor.id)).credits_used, "credits that an admin sees")
    subject.clock.start_next_day()
    found = subject.as_admin(GetUsage(actor.id))
    require_equal((0, subject.clock.now().date()), (found.credits_used, found.day), "credits of a new day, and the day")


def _figures(found: ActorUsage) -> tuple[object, ...]:
    return (found.actor, found.credits_used, found.credits_reserved, found.credits_limit, found.commands_limit)
