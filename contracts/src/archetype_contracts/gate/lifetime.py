"""Clauses on worlds (G8): made once, found again, forked, closed, destroyed; and on the end of the gate itself."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from archetype_contracts.gate.book import clause
from archetype_contracts.gate.sample import Coin, Doubling
from archetype_contracts.gate.subject import GateSubject
from archetype_contracts.verdict import Broken, require, require_equal, require_refusal
from archetype_core.command import (
    AddProcessor,
    CloseWorld,
    Command,
    CommandGate,
    CreateWorld,
    DestroyWorld,
    ForkWorld,
    GetWorldInfo,
    OpenWorld,
    Spawn,
    Step,
    Update,
    WorldInfo,
)
from archetype_core.config import StorageConfig
from archetype_core.errors import GateClosed, WorldExists, WorldNotFound
from archetype_core.store import open_store

_ID = "0190a3c4-0000-7000-8000-00000000abcd"


def lying(subject: GateSubject) -> dict[str, str]:
    """The worlds that the store itself holds, with the gate closed; names by id."""
    subject.leave()
    store = open_store(subject.storage)
    try:
        return {record.world_id: record.name for record in store.worlds()}
    finally:
        store.close()


def absent(subject: GateSubject, world: str) -> None:
    """Require that nothing can be asked of a world."""
    for command in (Spawn((Coin(),)), Step(), GetWorldInfo(), ForkWorld()):
        actor = subject.someone("admin")
        require_refusal(WorldNotFound, lambda c=command, a=actor: subject.execute(a, c, world))
    require_equal(None, subject.peek(subject.someone("admin"), world), "what is seen of a world that is not there")


@clause("G-401", "A new world is at tick 0, empty, live, listed, and has the name, id and seed that it was given.")
def created(subject: GateSubject) -> None:
    info = subject.root(CreateWorld("first", subject.storage, world_id=_ID, seed=11))
    other = subject.root(CreateWorld("second", subject.storage))
    for one in (info, subject.info(_ID), subject.worlds()[_ID]):
        found = (
            one.world_id,
            one.name,
            one.seed,
            one.tick,
            one.entities,
            one.is_live,
            one.queued,
            one.pending,
            one.parent,
        )
        require_equal((_ID, "first", 11, 0, 0, True, 0, 0, None), found, "a new world")
    require_equal({_ID, other.world_id}, set(subject.worlds()), "live worlds")
    require(other.world_id not in ("", _ID) and other.seed is not None, "a world of its own id and seed")


@clause("G-402", "Creating a world by an id that is there answers with that world, as it stands.")
def created_again(subject: GateSubject) -> None:
    command = CreateWorld("world", subject.storage, world_id=_ID, seed=11)
    subject.root(command)
    subject.root(Spawn((Coin(),)), _ID)
    subject.step(_ID)
    again = subject.root(command)
    require_equal((_ID, "world", 1, 1), (again.world_id, again.name, again.tick, again.entities), "the world again")
    require_equal({_ID}, set(subject.worlds()), "live worlds")


@clause("G-403", "A name is taken once: by a live world, and by one that is closed.")
def names(subject: GateSubject) -> None:
    world = subject.world("taken")
    subject.step(world)
    create = CreateWorld("taken", subject.storage)
    for _ in range(2):
        require_refusal(WorldExists, lambda: subject.root(create), name="taken", world_id=world)
        require_refusal(WorldExists, lambda: subject.root(replace(create, world_id=_ID)), world_id=world)
    subject.root(CloseWorld(), world)
    require_refusal(WorldExists, lambda: subject.root(create), name="taken", world_id=world)
    subject.reopen()
    require_refusal(WorldExists, lambda: subject.root(create), name="taken", world_id=world)
    subject.open_world(world)
    require_refusal(WorldExists, lambda: subject.root(create), name="taken", world_id=world)
    other = subject.world("other")
    require_refusal(WorldExists, lambda: subject.fork(other, "taken"), name="taken", world_id=world)
    require_equal({world, other}, set(subject.worlds()), "live worlds")


@clause("G-404", "A world that cannot be made leaves nothing behind: no world, and its name and id are free.")
def failed_creation(subject: GateSubject) -> None:
    good = CreateWorld("world", subject.storage, world_id=_ID, seed=3)
    for bad in (
        replace(good, kernel="no such kernel"),
        replace(good, storage=StorageConfig("no-such-scheme:x")),
        replace(good, seed=-1),
    ):
        try:
            subject.root(bad)
        except Exception as failure:  # noqa: BLE001  # reason: whatever is wrong with it, nothing may be left
            subject.transcript.note(f"# {type(failure).__name__}, as it should")
        else:
            raise Broken(f"a world was made of {bad}")
        require_equal({}, subject.worlds(), "live worlds after one that could not be made")
        absent(subject, _ID)
    statuses = [row.status for row in subject.history(type="create_world")]
    require_equal(["failed"] * 3, statuses, "rows of worlds that could not be made")
    made = subject.root(good)
    require_equal((_ID, 3, 0), (made.world_id, made.seed, made.tick), "the world that could be made")
    subject.step(_ID)
    require_equal({_ID: "world"}, lying(subject), "worlds in the store")


@clause("G-405", "Destroying or closing a world that is not there answers False, again and again, and is no failure.")
def removing_the_missing(subject: GateSubject) -> None:
    worlds = [subject.world("destroyed"), subject.world("closed")]
    for world, command in zip(worlds, (DestroyWorld(), CloseWorld()), strict=True):
        require_equal(True, subject.root(command, world), "the first answer")
        for _ in range(2):
            require_equal(False, subject.root(command, world), "the answer of a world that is gone")
    for command in (DestroyWorld(), CloseWorld()):
        require_equal(False, subject.root(command, "no such world"), "the answer of a world that never was")
    rows = [row for row in subject.history() if row.type in ("destroy_world", "close_world")]
    require_equal(["applied"] * 8, [row.status for row in rows], "statuses of destroying and closing")


@clause(
    "G-406", "A world that is destroyed is gone, with its queue; its rows and its audit stay, and so do other worlds."
)
def destroyed(subject: GateSubject) -> None:
    world, other, actor = subject.world("gone"), subject.world("other"), subject.someone("player")
    subject.execute(actor, Spawn((Coin(),)), world)
    subject.step(world, 3)
    ticket = subject.submit(actor, Spawn((Coin(),)), world)
    coin = subject.submit_spawn(actor, other, Coin())
    before = len(subject.history(world_id=world))
    subject.root(DestroyWorld(), world)
    absent(subject, world)
    require_equal({other}, set(subject.worlds()), "live worlds")
    subject.step(other)
    require_equal({coin}, set(subject.coins(other)), "coins of another world")
    for _ in range(2):
        rows = subject.history(world_id=world)
        require(len(rows) > before, "rows of a world were lost with it")
        require(
            "applied" not in [row.status for row in rows if row.command_id == ticket.command_id],
            "a dropped command applied",
        )
        subject.reopen()
    require(world in lying(subject), "a store lost a world that was destroyed")


@clause(
    "G-407", "A world comes back by name or by id as its last committed tick left it, from another world's closing too."
)
def reopened(subject: GateSubject) -> None:
    world, other = subject.world("world", seed=5), subject.world("other")
    coin = subject.root(Spawn((Coin(number=1),)), world)
    subject.root(AddProcessor(Doubling()), world)
    subject.step(world, 3)
    before = subject.info(world)
    for name in ("world", world):
        subject.root(CloseWorld(), world)
        absent(subject, world)
        subject.step(other)
        require_equal(world, subject.open_world(name), "the id of a world that was opened")
        info = subject.info(world)
        kept = (info.name, info.run_id, info.tick, info.entities, info.is_live)
        require_equal((before.name, before.run_id, 3, 1, True), kept, "a world that was opened again")
        subject.reopen()
        absent(subject, world)
        require_equal(world, subject.open_world(name), "the id of a world that was opened")
        subject.open_world("other")
        require_equal({coin: 4}, subject.coins(world), "coins of a world that was opened again")
    subject.step(world)
    require_equal({coin: 4}, subject.coins(world), "coins after a tick without processors, which are code")
    require_equal({coin: 2}, subject.coins(world, 1), "coins of a tick before it was closed")


@clause("G-408", "A world that never made a tick comes back as well, with what waits in it.")
def reopened_before_its_first_tick(subject: GateSubject) -> None:
    world, actor = subject.world("world", seed=5), subject.someone("player")
    queued = subject.submit_spawn(actor, world, Coin(number=1))
    executed = subject.execute(actor, Spawn((Coin(number=2),)), world)
    subject.reopen()
    require_equal(world, subject.open_world("world"), "the id of a world that was opened")
    info = subject.info(world)
    require_equal((0, 5, "world"), (info.tick, info.seed, info.name), "tick, seed and name")
    subject.step(world)
    require_equal({queued: 1, executed: 2}, subject.coins(world), "coins after its first tick")


@clause("G-409", "Opening a world that nobody knows is WorldNotFound, and on record.")
def opening_nothing(subject: GateSubject) -> None:
    subject.world()
    actor = subject.someone("operator")
    require_refusal(WorldNotFound, lambda: subject.execute(actor, OpenWorld("no such world", subject.storage)))
    (row,) = subject.history(actor=actor.id)
    require_equal(("open_world", "failed"), (row.type, row.status), "the row of a world that could not be opened")


@clause("G-410", "Worlds that lie in a storage are listed when it is named, live ones as such.")
def listed(subject: GateSubject) -> None:
    one, two = subject.world("one"), subject.world("two")
    for world in (one, two):
        subject.step(world)
    subject.root(CloseWorld(), one)
    require_equal({two}, set(subject.worlds()), "live worlds")
    found = subject.worlds(subject.storage)
    expected = {one: ("one", False), two: ("two", True)}
    require_equal(expected, {key: (info.name, info.is_live) for key, info in found.items()}, "worlds of the storage")
    subject.reopen()
    require_equal({}, subject.worlds(), "live worlds of a gate that was opened again")
    require_equal({one, two}, set(subject.worlds(subject.storage)), "worlds of the storage")


@clause("G-411", "A peek shows a live world to who may see it, costs nothing, and leaves no row.")
def peeked(subject: GateSubject) -> None:
    subject.limit(commands=1, tokens=1)
    world, actor = subject.world(), subject.someone("viewer")
    for _ in range(3):
        info = subject.peek(actor, world)
        require(isinstance(info, WorldInfo) and info.world_id == world and info.is_live, f"a peek showed {info}")
    require_equal(None, subject.peek(subject.someone(), world), "what is seen without a role")
    require_equal(None, subject.peek(subject.someone("wizard"), world), "what is seen with an unknown role")
    require_equal(None, subject.peek(actor, "no such world"), "what is seen of no world")
    require_equal([], subject.history(actor=actor.id), "rows of peeks")
    subject.execute(actor, GetWorldInfo(), world)


@clause("G-412", "However many ask at once, one world is made: by id all get it, by name one does.")
def created_at_once(subject: GateSubject) -> None:
    actors = [subject.someone("admin") for _ in range(20)]
    by_id = CreateWorld("one", subject.storage, world_id=_ID)
    by_name = CreateWorld("two", subject.storage)

    async def race(gate: CommandGate) -> list[Any]:
        tries = [gate.execute(actor, by_id if n % 2 else by_name) for n, actor in enumerate(actors)]
        return await asyncio.gather(*tries, return_exceptions=True)

    answers = subject.run(race, "20 actors create two worlds at once")
    require_equal({_ID}, {one.world_id for one in answers[1::2]}, "worlds of one id")
    made = [one for one in answers[::2] if isinstance(one, WorldInfo)]
    require_equal(1, len(made), "worlds of one name")
    refused = [type(one) for one in answers[::2] if not isinstance(one, WorldInfo)]
    require_equal([WorldExists] * 9, refused, "those who came too late")
    require_equal({_ID, made[0].world_id}, set(subject.worlds()), "live worlds")


@clause("G-413", "Steps that are asked for at once are made one after the other, each command applied in one of them.")
def steps_at_once(subject: GateSubject) -> None:
    world, other = subject.world(), subject.world("other")
    actors = [subject.someone("operator") for _ in range(12)]

    async def race(gate: CommandGate) -> list[Any]:
        tries: list[Any] = []
        for number, actor in enumerate(actors):
            place = other if number % 3 == 2 else world
            tries += [gate.execute(actor, Step(), place), gate.submit_spawn(actor, place, Coin(number=number))]
            tries.append(gate.execute(actor, Spawn((Coin(number=100 + number),)), place))
        return await asyncio.gather(*tries)

    answers = subject.run(race, "12 actors step two worlds and spawn in them at once")
    for place, numbers in ((world, [n for n in range(12) if n % 3 != 2]), (other, [2, 5, 8, 11])):
        ticks = sorted(one.tick for one in answers[::3] if one.world_id == place)
        require_equal(list(range(len(numbers))), ticks, "ticks that were made")
        subject.step(place)
        found = subject.coins(place)
        require_equal(sorted([*numbers, *(n + 100 for n in numbers)]), sorted(found.values()), "coins")
        given = {answers[3 * n + k]: n + 100 * (k - 1) for n in numbers for k in (1, 2)}
        require_equal(given, found, "coins by the ids that were given out")


@clause("G-490", "A gate is closed as often as one likes; whatever is asked of it afterwards is GateClosed.")
def closed(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.someone("admin")
    coin = subject.submit_spawn(actor, world, Coin(number=1))

    async def close(gate: CommandGate) -> None:
        await gate.flush()
        await gate.close()
        await gate.close()

    subject.run(close, "flush(), close(), close()")
    commands: tuple[tuple[Command[Any], str | None], ...] = (
        (Spawn((Coin(),)), world),
        (GetWorldInfo(), world),
        (Step(), world),
        (CreateWorld("new", subject.storage), None),
        (Update(coin, ()), "no such world"),
    )
    for command, place in commands:
        require_refusal(GateClosed, subject.execute, actor, command, place)
    require_refusal(GateClosed, subject.submit, actor, Spawn((Coin(),)), world)
    require_refusal(GateClosed, lambda: subject.submit_batch(actor, [Spawn((Coin(),))], world))
    require_refusal(GateClosed, lambda: subject.submit_spawn(actor, world, Coin()))
    subject.reopen(world)
    subject.step(world)
    require_equal({coin: 1}, subject.coins(world), "coins of a queue that outlived its gate")
