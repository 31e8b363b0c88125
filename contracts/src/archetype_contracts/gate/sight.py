"""Clauses on actors with worlds of their own: for them other worlds do not exist (G1, G2)."""

from __future__ import annotations

from typing import Any

from archetype_contracts.assertion import require, require_equal, require_refusal
from archetype_contracts.gate.registry import clause
from archetype_contracts.gate.sample import Coin
from archetype_contracts.gate.sample_command import DEFERRABLE, SAMPLE_COMMANDS, SampleWorld
from archetype_contracts.gate.subject import GateSubject
from archetype_core.command import (
    ActorCtx,
    Administer,
    Command,
    CreateWorld,
    DestroyWorld,
    Diff,
    ForkWorld,
    GetAuditHead,
    GetHistory,
    GetWorldInfo,
    IdempotencyKey,
    ListWorlds,
    OpenWorld,
    QueryEpisodes,
    SealStorage,
    Spawn,
    Step,
)
from archetype_core.errors import ArchetypeError, PermissionDenied, WorldExists, WorldNotFound


def _own(subject: GateSubject, *worlds: str) -> ActorCtx:
    """A new administrator with a few worlds."""
    return ActorCtx(subject.new_actor("admin").id, ("admin",), worlds)


def _refusals(subject: GateSubject, actor: ActorCtx, command: Command[Any], world: str) -> str:
    refusal = require_refusal(WorldNotFound, lambda: subject.execute(actor, command, world))
    return str(refusal).replace(world, "?")


@clause("G-011", "Every command to a world that its actor has not is refused as if that world did not exist.")
def every_command(subject: GateSubject) -> None:
    sample = SampleWorld(subject, "secret")
    own = subject.world("own")
    tried = 0
    for one in SAMPLE_COMMANDS:
        command, world = one.make(sample)
        if world is None:
            continue
        sample.settle()
        actor, tried, before = _own(subject, own), tried + 1, subject.info(world)
        told = _refusals(subject, actor, command, world)
        require_equal(_refusals(subject, actor, command, "no such world"), told, f"what a refused {one.kind} tells")
        require("secret" not in told, f"expected nothing about the hidden world from {one.kind}, got {told!r}")
        require_equal(before, subject.info(world), f"the hidden world after a refused {one.kind}")
        rows = [row.status for row in subject.history(world) if row.actor == actor.id]
        require_equal(["rejected"], rows, f"rows of a refused {one.kind}")
    for one in DEFERRABLE:
        batch: Any = [one.make(sample)[0]]
        sample.settle()
        require_refusal(WorldNotFound, lambda b=batch: subject.submit_batch(_own(subject, own), b, sample.world))
    require(tried > 20, "expected commands of every class")
    require_equal(None, subject.peek(_own(subject, own), sample.world), "what peek shows of a hidden world")


@clause("G-012", "Lists, and commands that name worlds, tell an actor with worlds of its own nothing of others.")
def nothing_told(subject: GateSubject) -> None:
    secret = subject.world("secret")
    subject.as_admin(Spawn((Coin(),)), secret)
    subject.step(secret, 2)
    branch = subject.fork(secret, "branch")
    subject.step(branch, 2)
    actor = _own(subject, branch)
    for storage in (None, subject.storage):
        found = subject.execute(actor, ListWorlds(storage))
        require_equal([("branch", None)], [(one.name, one.parent) for one in found], "names and parents of the list")
    require_equal(None, subject.execute(actor, GetWorldInfo(), branch).parent, "the parent that is told")
    require_refusal(WorldNotFound, lambda: subject.execute(actor, Diff(0, (secret, 1)), branch))
    require_refusal(WorldNotFound, lambda: subject.execute(actor, QueryEpisodes((Coin,), world_ids=(secret,)), branch))
    for name in (secret, "secret", "no such world"):
        opening: OpenWorld[Any] = OpenWorld(name, subject.storage)
        require_refusal(WorldNotFound, lambda o=opening: subject.execute(actor, o))
    taken = require_refusal(WorldExists, lambda: subject.execute(actor, CreateWorld("secret", subject.storage)))
    require(secret not in str(taken), f"expected no id of a hidden world, got {taken}")
    require_refusal(ArchetypeError, lambda: subject.execute(actor, CreateWorld("x", subject.storage, world_id=secret)))
    for command in (GetHistory(), GetAuditHead(), SealStorage(subject.storage), Administer("make a key")):
        require_refusal(PermissionDenied, lambda c=command: subject.execute(actor, c))


@clause(
    "G-013", "An actor has its worlds by id or name, and those that it makes, also after reopening; others have not."
)
def own_worlds(subject: GateSubject) -> None:
    first, second = subject.world("first"), subject.world("second")
    actor, other = _own(subject, first, "second"), _own(subject, first)
    for world in (first, second):
        subject.execute(actor, Spawn((Coin(),)), world)
        subject.execute(actor, Step(), world)
    fork = subject.execute(actor, ForkWorld("mine"), first).world_id
    made = subject.execute(actor, CreateWorld("new", subject.storage), None).world_id
    subject.reopen(first, second, fork, made)
    for world in (first, second, fork, made):
        subject.execute(actor, Step(), world)
    names = {one.name for one in subject.execute(actor, ListWorlds())}
    require_equal({"first", "second", "mine", "new"}, names, "names of the actor's worlds")
    for world in (second, fork, made):
        require_refusal(WorldNotFound, lambda w=world: subject.execute(other, Step(), w))
    require_equal({"first"}, {one.name for one in subject.execute(other, ListWorlds())}, "worlds of the other actor")
    subject.execute(actor, DestroyWorld(), fork)
    require_equal({"first"}, {one.name for one in subject.execute(other, ListWorlds())}, "worlds of the other actor")


@clause("G-014", "A result is given again to a key only if its actor still has the world.")
def keys_of_hidden_worlds(subject: GateSubject) -> None:
    first, second = subject.world("first"), subject.world("second")
    actor, key = _own(subject, first), IdempotencyKey("key")
    subject.execute(actor, Spawn((Coin(),)), first, key=key)
    narrower = ActorCtx(actor.id, actor.roles, [second])
    require_refusal(WorldNotFound, lambda: subject.execute(narrower, Spawn((Coin(),)), first, key=key))
