"""Clauses on forks (R3 to R5): a branch shares what was and nothing that comes, and stands by itself."""

from __future__ import annotations

from archetype_contracts.gate.book import clause
from archetype_contracts.gate.sample import Coin
from archetype_contracts.gate.subject import GateSubject
from archetype_contracts.verdict import require, require_equal, require_refusal
from archetype_core.command import CloseWorld, DestroyWorld, ForkWorld, Spawn, Update
from archetype_core.errors import PendingMutations


def old_world(subject: GateSubject) -> tuple[str, int]:
    """A world with one coin, three ticks old; its number is the tick that it was written at."""
    world = subject.world("source")
    coin = subject.root(Spawn((Coin(number=0),)), world)
    subject.step(world)
    for tick in (1, 2):
        subject.root(Update(coin, (Coin(number=tick),)), world)
        subject.step(world)
    return world, coin


@clause("G-451", "A fork begins where its source stands, and from there neither sees anything of the other.")
def diverging(subject: GateSubject) -> None:
    world, coin = old_world(subject)
    fork = subject.fork(world, "branch")
    info, source = subject.info(fork), subject.info(world)
    require_equal(("branch", 3, 1, world), (info.name, info.tick, info.entities, info.parent), "a new fork")
    require(fork != world and info.run_id != source.run_id, "a fork has the id or the run of its source")
    in_fork = subject.root(Spawn((Coin(number=10),)), fork)
    in_world = subject.submit_spawn(subject.someone("player"), world, Coin(number=20))
    subject.step(fork, 2)
    require_equal((3, {coin: 2}), (subject.info(world).tick, subject.coins(world)), "the source")
    require_equal(1, subject.info(world).queued, "commands that wait in the source")
    subject.step(world)
    require_equal({coin: 2, in_world: 20}, subject.coins(world), "coins of the source")
    require_equal({coin: 2, in_fork: 10}, subject.coins(fork), "coins of the fork")
    require_equal({coin: 1}, subject.coins(fork, 1), "coins of the fork before it was one")
    require(all(row.world_id == fork for row in subject.history(fork)), "a fork's audit has rows of another world")


@clause("G-452", "A fork outlives its source, and a source its fork, closed and opened again, in any order.")
def outliving(subject: GateSubject) -> None:
    world, coin = old_world(subject)
    one, two = subject.fork(world, "one"), subject.fork(world, "two")
    for fork in (one, two):
        subject.step(fork)
    subject.root(DestroyWorld(), one)
    subject.step(world)
    subject.root(CloseWorld(), world)
    subject.step(two)
    require_equal({coin: 2}, subject.coins(two), "coins of a fork whose source is closed")
    subject.reopen("two")
    require_equal({coin: 1}, subject.coins(two, 1), "history of a fork whose source is closed")
    subject.step(two)
    subject.open_world(world)
    require_equal((4, 6), (subject.info(world).tick, subject.info(two).tick), "next ticks")
    require_equal(world, subject.info(two).parent, "the world it was forked from")


@clause("G-453", "A world with staged mutations is forked only with them: refused, or copied when asked.")
def staged_mutations(subject: GateSubject) -> None:
    world, coin = old_world(subject)
    new = subject.root(Spawn((Coin(number=9),)), world)
    actor = subject.someone("operator")
    require_refusal(PendingMutations, lambda: subject.execute(actor, ForkWorld("branch"), world), count=1)
    require_equal("failed", subject.history(world, actor=actor.id)[0].status, "status of a fork that was refused")
    fork = subject.fork(world, "branch", pending="copy")
    for place in (fork, world):
        subject.step(place)
        require_equal({coin: 2, new: 9}, subject.coins(place), "coins after the tick")
    rows = [row for row in subject.history(type="spawn") if row.world_id == fork]
    require_equal([], rows, "rows of a fork that nobody sent a spawn")


@clause("G-454", "A fork that never made a tick comes back as it was made, with what waits in it.")
def reopened_fork(subject: GateSubject) -> None:
    world, coin = old_world(subject)
    fork = subject.fork(world, "branch")
    subject.root(Update(coin, (Coin(number=30),)), world)
    subject.step(world)
    queued = subject.submit_spawn(subject.someone("player"), fork, Coin(number=5))
    subject.reopen()
    require_equal(fork, subject.open_world("branch"), "the id of a fork that was opened")
    info = subject.info(fork)
    require_equal((3, 1, world), (info.tick, info.entities, info.parent), "a fork that was opened again")
    require_equal({coin: 2}, subject.coins(fork), "coins of a fork that was opened again")
    subject.step(fork)
    require_equal({coin: 2, queued: 5}, subject.coins(fork), "coins after its first tick")


@clause("G-455", "A fork of an earlier tick begins right after it.")
def of_the_past(subject: GateSubject) -> None:
    world, coin = old_world(subject)
    made = subject.root(ForkWorld("past", at_tick=0), world)
    require_equal((1, 1), (made.tick, made.entities), "a fork of tick 0")
    subject.step(made.world_id)
    require_equal({coin: 0}, subject.coins(made.world_id), "coins of a fork of tick 0")
    require_equal({coin: 2}, subject.coins(world), "coins of its source")


@clause("G-456", "Forks have quotas and queues of their own, and the ids that they give out are theirs.")
def forks_apart(subject: GateSubject) -> None:
    subject.limit(commands=2)
    world, _ = old_world(subject)
    actor = subject.someone("player")
    for _ in range(2):
        subject.submit(actor, Spawn((Coin(),)), world, tick=9)
    fork = subject.fork(world, "branch")
    require_equal((0, 0), (subject.info(fork).queued, subject.info(fork).pending), "what waits in a new fork")
    ids = [subject.submit_spawn(actor, fork, Coin()) for _ in range(2)]
    subject.step(fork)
    require(set(ids) <= set(subject.coins(fork)), "a fork gave out ids that did not materialize")
    require_equal(3, len(subject.coins(fork)), "coins of a fork")


@clause("G-457", "Forks that are given no name never collide.")
def default_names(subject: GateSubject) -> None:
    world, _ = old_world(subject)
    forks = [subject.fork(world) for _ in range(5)]
    names = {subject.info(fork).name for fork in forks}
    require_equal((5, 5), (len(set(forks)), len(names)), "forks and names that differ")
