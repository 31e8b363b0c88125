"""Clauses on forks (R3 to R5): a fork shares the history up to its start and is independent afterwards."""

from __future__ import annotations

from archetype_contracts.assertion import require, require_equal, require_refusal
from archetype_contracts.gate.registry import clause
from archetype_contracts.gate.sample import Coin
from archetype_contracts.gate.subject import GateSubject
from archetype_core.command import CloseWorld, DestroyWorld, ForkWorld, Spawn, Update
from archetype_core.errors import PendingMutations


def old_world(subject: GateSubject) -> tuple[str, int]:
    """A world after three ticks with one coin, whose number is the tick that wrote it."""
    world = subject.world("source")
    coin = subject.as_admin(Spawn((Coin(number=0),)), world)
    subject.step(world)
    for tick in (1, 2):
        subject.as_admin(Update(coin, (Coin(number=tick),)), world)
        subject.step(world)
    return world, coin


@clause("G-451", "A fork starts where its source is; from there neither sees changes of the other.")
def diverging(subject: GateSubject) -> None:
    world, coin = old_world(subject)
    fork = subject.fork(world, "branch")
    info, source = subject.info(fork), subject.info(world)
    require_equal(("branch", 3, 1, world), (info.name, info.tick, info.entities, info.parent), "a new fork")
    require(
        fork != world and info.run_id != source.run_id,
        "expected another id and run than the source has, but the fork shares one",
    )
    in_fork = subject.as_admin(Spawn((Coin(number=10),)), fork)
    in_world = subject.submit_spawn(subject.new_actor("player"), world, Coin(number=20))
    subject.step(fork, 2)
    require_equal((3, {coin: 2}), (subject.info(world).tick, subject.coins(world)), "the source")
    require_equal(1, subject.info(world).queued, "number of queued commands in the source")
    subject.step(world)
    require_equal({coin: 2, in_world: 20}, subject.coins(world), "coins of the source")
    require_equal({coin: 2, in_fork: 10}, subject.coins(fork), "coins of the fork")
    require_equal({coin: 1}, subject.coins(fork, 1), "coins of the fork at a tick before it started")
    require(
        all(row.world_id == fork for row in subject.history(fork)),
        "expected only the fork's own rows in its history, but there are others",
    )


@clause(
    "G-452",
    "A fork works after its source is closed or its siblings are destroyed, and each can be reopened, in any order.",
)
def outliving(subject: GateSubject) -> None:
    world, coin = old_world(subject)
    one, two = subject.fork(world, "one"), subject.fork(world, "two")
    for fork in (one, two):
        subject.step(fork)
    subject.as_admin(DestroyWorld(), one)
    subject.step(world)
    subject.as_admin(CloseWorld(), world)
    subject.step(two)
    require_equal({coin: 2}, subject.coins(two), "coins of a fork whose source is closed")
    subject.reopen("two")
    require_equal({coin: 1}, subject.coins(two, 1), "history of a fork whose source is closed")
    subject.step(two)
    subject.open_world(world)
    require_equal((4, 6), (subject.info(world).tick, subject.info(two).tick), "next ticks")
    require_equal(world, subject.info(two).parent, "the world it was forked from")


@clause("G-453", "Forking a world with staged mutations is refused, or copies them on request.")
def staged_mutations(subject: GateSubject) -> None:
    world, coin = old_world(subject)
    new = subject.as_admin(Spawn((Coin(number=9),)), world)
    actor = subject.new_actor("operator")
    require_refusal(PendingMutations, lambda: subject.execute(actor, ForkWorld("branch"), world), count=1)
    require_equal("failed", subject.history(world, actor=actor.id)[0].status, "status of a fork that was refused")
    fork = subject.fork(world, "branch", pending="copy")
    for place in (fork, world):
        subject.step(place)
        require_equal({coin: 2, new: 9}, subject.coins(place), "coins after the tick")
    rows = [row for row in subject.history(type="spawn") if row.world_id == fork]
    require_equal([], rows, "spawn rows of a fork that received no spawn")


@clause("G-454", "A fork without a tick reopens as it was created, with its queued commands.")
def reopened_fork(subject: GateSubject) -> None:
    world, coin = old_world(subject)
    fork = subject.fork(world, "branch")
    subject.as_admin(Update(coin, (Coin(number=30),)), world)
    subject.step(world)
    queued = subject.submit_spawn(subject.new_actor("player"), fork, Coin(number=5))
    subject.reopen()
    require_equal(fork, subject.open_world("branch"), "the id of a fork that was opened")
    info = subject.info(fork)
    require_equal((3, 1, world), (info.tick, info.entities, info.parent), "a fork that was opened again")
    require_equal({coin: 2}, subject.coins(fork), "coins of a fork that was opened again")
    subject.step(fork)
    require_equal({coin: 2, queued: 5}, subject.coins(fork), "coins after its first tick")


@clause("G-455", "A fork of an older tick starts right after it.")
def of_the_past(subject: GateSubject) -> None:
    world, coin = old_world(subject)
    made = subject.as_admin(ForkWorld("past", at_tick=0), world)
    require_equal((1, 1), (made.tick, made.entities), "a fork of tick 0")
    subject.step(made.world_id)
    require_equal({coin: 0}, subject.coins(made.world_id), "coins of a fork of tick 0")
    require_equal({coin: 2}, subject.coins(world), "coins of its source")


@clause("G-456", "Each fork has its own quotas, queue and entity ids.")
def forks_apart(subject: GateSubject) -> None:
    subject.limit(commands=2)
    world, _ = old_world(subject)
    actor = subject.new_actor("player")
    for _ in range(2):
        subject.submit(actor, Spawn((Coin(),)), world, tick=9)
    fork = subject.fork(world, "branch")
    require_equal(
        (0, 0),
        (subject.info(fork).queued, subject.info(fork).pending),
        "number of queued commands and staged mutations of a new fork",
    )
    ids = [subject.submit_spawn(actor, fork, Coin()) for _ in range(2)]
    subject.step(fork)
    require(
        set(ids) <= set(subject.coins(fork)), f"expected coins with the issued ids {ids}, got {subject.coins(fork)}"
    )
    require_equal(3, len(subject.coins(fork)), "coins of a fork")


@clause("G-457", "Forks without a given name get different names.")
def default_names(subject: GateSubject) -> None:
    world, _ = old_world(subject)
    forks = [subject.fork(world) for _ in range(5)]
    names = {subject.info(fork).name for fork in forks}
    require_equal((5, 5), (len(set(forks)), len(names)), "number of different forks and names")
