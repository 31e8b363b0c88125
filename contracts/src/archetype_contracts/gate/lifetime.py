"""Clauses on worlds (G8): created, found, closed, destroyed; and on closing the gate."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from archetype_contracts.assertion import ClauseFailed, require, require_equal, require_refusal
from archetype_contracts.gate.registry import clause
from archetype_contracts.gate.sample import Coin, Doubling
from archetype_contracts.gate.subject import GateSubject
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


def worlds_in_store(subject: GateSubject) -> dict[str, str]:
    """Close the gate and return the worlds in its store, names by id."""
    subject.leave()
    store = open_store(subject.storage)
    try:
        return {record.world_id: record.name for record in store.worlds()}
    finally:
        store.close()


def require_absent(subject: GateSubject, world: str) -> None:
    """Require that every command to a world raises ``WorldNotFound``."""
    for command in (Spawn((Coin(),)), Step(), GetWorldInfo(), ForkWorld()):
        actor = subject.new_actor("admin")
        require_refusal(WorldNotFound, lambda c=command, a=actor: subject.execute(a, c, world))
    require_equal(None, subject.peek(subject.new_actor("admin"), world), "peek at a world that does not exist")


@clause("G-401", "A new world is at tick 0, empty, live and listed, with the given name, id and seed.")
def created(subject: GateSubject) -> None:
    info = subject.as_admin(CreateWorld("first", subject.storage, world_id=_ID, seed=11))
    other = subject.as_admin(CreateWorld("second", subject.storage))
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
    require(
        other.world_id not in ("", _ID) and other.seed is not None,
        f"expected a new id and a seed for the second world, got {other.world_id!r} and {other.seed}",
    )


@clause("G-402", "Creating a world with an id that exists returns that world as it is.")
def created_again(subject: GateSubject) -> None:
    command = CreateWorld("world", subject.storage, world_id=_ID, seed=11)
    subject.as_admin(command)
    subject.as_admin(Spawn((Coin(),)), _ID)
    subject.step(_ID)
    again = subject.as_admin(command)
    require_equal((_ID, "world", 1, 1), (again.world_id, again.name, again.tick, again.entities), "the world again")
    require_equal({_ID}, set(subject.worlds()), "live worlds")


@clause("G-403", "A name can be used by one world only, live or closed.")
def names(subject: GateSubject) -> None:
    world = subject.world("taken")
    subject.step(world)
    create = CreateWorld("taken", subject.storage)
    for _ in range(2):
        require_refusal(WorldExists, lambda: subject.as_admin(create), name="taken", world_id=world)
        require_refusal(WorldExists, lambda: subject.as_admin(replace(create, world_id=_ID)), world_id=world)
    subject.as_admin(CloseWorld(), world)
    require_refusal(WorldExists, lambda: subject.as_admin(create), name="taken", world_id=world)
    subject.reopen()
    require_refusal(WorldExists, lambda: subject.as_admin(create), name="taken", world_id=world)
    subject.open_world(world)
    require_refusal(WorldExists, lambda: subject.as_admin(create), name="taken", world_id=world)
    other = subject.world("other")
    require_refusal(WorldExists, lambda: subject.fork(other, "taken"), name="taken", world_id=world)
    require_equal({world, other}, set(subject.worlds()), "live worlds")


@clause("G-404", "A world that cannot be created leaves nothing: no world, and its name and id are free.")
def failed_creation(subject: GateSubject) -> None:
    good = CreateWorld("world", subject.storage, world_id=_ID, seed=3)
    for bad in (
        replace(good, kernel="no such kernel"),
        replace(good, storage=StorageConfig("no-such-scheme:x")),
        replace(good, seed=-1),
    ):
        try:
            subject.as_admin(bad)
        except Exception as failure:  # noqa: BLE001  # reason: any error will do; nothing may be left
            subject.transcript.add(f"# {type(failure).__name__}, as expected")
        else:
            raise ClauseFailed(f"expected an error from {bad}, but it created a world")
        require_equal({}, subject.worlds(), "live worlds after a failed creation")
        require_absent(subject, _ID)
    statuses = [row.status for row in subject.history(type="create_world")]
    require_equal(["failed"] * 3, statuses, "statuses of worlds that could not be created")
    made = subject.as_admin(good)
    require_equal((_ID, 3, 0), (made.world_id, made.seed, made.tick), "id, seed and tick of the created world")
    subject.step(_ID)
    require_equal({_ID: "world"}, worlds_in_store(subject), "worlds in the store")


@clause("G-405", "Destroying or closing a world that does not exist returns False every time and is not a failure.")
def removing_the_missing(subject: GateSubject) -> None:
    worlds = [subject.world("destroyed"), subject.world("closed")]
    for world, command in zip(worlds, (DestroyWorld(), CloseWorld()), strict=True):
        require_equal(True, subject.as_admin(command, world), "the first answer")
        for _ in range(2):
            require_equal(False, subject.as_admin(command, world), "the answer for a world that was removed")
    for command in (DestroyWorld(), CloseWorld()):
        require_equal(False, subject.as_admin(command, "no such world"), "the answer for a world that never existed")
    rows = [row for row in subject.history() if row.type in ("destroy_world", "close_world")]
    require_equal(["applied"] * 8, [row.status for row in rows], "statuses of destroying and closing")


@clause("G-406", "A destroyed world and its queue are gone; its rows, its audit and other worlds stay.")
def destroyed(subject: GateSubject) -> None:
    world, other, actor = subject.world("gone"), subject.world("other"), subject.new_actor("player")
    subject.execute(actor, Spawn((Coin(),)), world)
    subject.step(world, 3)
    ticket = subject.submit(actor, Spawn((Coin(),)), world)
    coin = subject.submit_spawn(actor, other, Coin())
    before = len(subject.history(world_id=world))
    subject.as_admin(DestroyWorld(), world)
    require_absent(subject, world)
    require_equal({other}, set(subject.worlds()), "live worlds")
    subject.step(other)
    require_equal({coin}, set(subject.coins(other)), "coins of another world")
    for _ in range(2):
        rows = subject.history(world_id=world)
        require(len(rows) > before, f"expected more than {before} audit rows of the destroyed world, got {len(rows)}")
        require(
            "applied" not in [row.status for row in rows if row.command_id == ticket.command_id],
            "expected the dropped command not to be applied, but its row says applied",
        )
        subject.reopen()
    require(world in worlds_in_store(subject), "expected the store to keep the destroyed world, but it is missing")


@clause("G-407", "A world reopens by name or id as its last committed tick left it, after it or its gate was closed.")
def reopened(subject: GateSubject) -> None:
    world, other = subject.world("world", seed=5), subject.world("other")
    coin = subject.as_admin(Spawn((Coin(number=1),)), world)
    subject.as_admin(AddProcessor(Doubling()), world)
    subject.step(world, 3)
    before = subject.info(world)
    for name in ("world", world):
        subject.as_admin(CloseWorld(), world)
        require_absent(subject, world)
        subject.step(other)
        require_equal(world, subject.open_world(name), "the id of a world that was opened")
        info = subject.info(world)
        kept = (info.name, info.run_id, info.tick, info.entities, info.is_live)
        require_equal((before.name, before.run_id, 3, 1, True), kept, "a world that was opened again")
        subject.reopen()
        require_absent(subject, world)
        require_equal(world, subject.open_world(name), "the id of a world that was opened")
        subject.open_world("other")
        require_equal({coin: 4}, subject.coins(world), "coins of a world that was opened again")
    subject.step(world)
    require_equal({coin: 4}, subject.coins(world), "coins after a tick without processors, which are not stored")
    require_equal({coin: 2}, subject.coins(world, 1), "coins of a tick before it was closed")


@clause("G-408", "A world without a tick reopens with its queued and executed commands.")
def reopened_before_its_first_tick(subject: GateSubject) -> None:
    world, actor = subject.world("world", seed=5), subject.new_actor("player")
    queued = subject.submit_spawn(actor, world, Coin(number=1))
    executed = subject.execute(actor, Spawn((Coin(number=2),)), world)
    subject.reopen()
    require_equal(world, subject.open_world("world"), "the id of a world that was opened")
    info = subject.info(world)
    require_equal((0, 5, "world"), (info.tick, info.seed, info.name), "tick, seed and name")
    subject.step(world)
    require_equal({queued: 1, executed: 2}, subject.coins(world), "coins after its first tick")


@clause(
    "G-409", "Opening an unknown world raises WorldNotFound and leaves an audit row; with missing_ok it returns None."
)
def opening_nothing(subject: GateSubject) -> None:
    subject.world()
    actor = subject.new_actor("operator")
    require_refusal(WorldNotFound, lambda: subject.execute(actor, OpenWorld("no such world", subject.storage)))
    (row,) = subject.history(actor=actor.id)
    require_equal(("open_world", "failed"), (row.type, row.status), "type and status of the row")
    other = subject.new_actor("operator")
    looking = OpenWorld("no such world", subject.storage, missing_ok=True)
    require_equal(None, subject.execute(other, looking), "the result of a command that may find nothing")
    (row,) = subject.history(actor=other.id)
    require_equal(("open_world", "applied"), (row.type, row.status), "type and status of its row")


@clause("G-410", "Listing a storage returns all its worlds, and says which are live.")
def listed(subject: GateSubject) -> None:
    one, two = subject.world("one"), subject.world("two")
    for world in (one, two):
        subject.step(world)
    subject.as_admin(CloseWorld(), one)
    require_equal({two}, set(subject.worlds()), "live worlds")
    found = subject.worlds(subject.storage)
    expected = {one: ("one", False), two: ("two", True)}
    require_equal(expected, {key: (info.name, info.is_live) for key, info in found.items()}, "worlds of the storage")
    subject.reopen()
    require_equal({}, subject.worlds(), "live worlds of a gate that was opened again")
    require_equal({one, two}, set(subject.worlds(subject.storage)), "worlds of the storage")


@clause("G-411", "A peek shows a live world to an actor who may see it, costs nothing, and leaves no audit row.")
def peeked(subject: GateSubject) -> None:
    subject.limit(commands=1, credits=1)
    world, actor = subject.world(), subject.new_actor("viewer")
    for _ in range(3):
        info = subject.peek(actor, world)
        require(
            isinstance(info, WorldInfo) and info.world_id == world and info.is_live,
            f"expected the live world {world} from peek, got {info}",
        )
    require_equal(None, subject.peek(subject.new_actor(), world), "peek without a role")
    require_equal(None, subject.peek(subject.new_actor("wizard"), world), "peek with an unknown role")
    require_equal(None, subject.peek(actor, "no such world"), "peek at a world that does not exist")
    require_equal([], subject.history(actor=actor.id), "audit rows of peeks")
    subject.execute(actor, GetWorldInfo(), world)


@clause("G-412", "If many actors create a world at once, one is created: by id all get it, by name only one does.")
def created_at_once(subject: GateSubject) -> None:
    actors = [subject.new_actor("admin") for _ in range(20)]
    by_id = CreateWorld("one", subject.storage, world_id=_ID)
    by_name = CreateWorld("two", subject.storage)

    async def race(gate: CommandGate) -> list[Any]:
        tries = [gate.execute(actor, by_id if n % 2 else by_name) for n, actor in enumerate(actors)]
        return await asyncio.gather(*tries, return_exceptions=True)

    answers = subject.run(race, "20 actors create two worlds at once")
    require_equal({_ID}, {one.world_id for one in answers[1::2]}, "worlds created by id")
    made = [one for one in answers[::2] if isinstance(one, WorldInfo)]
    require_equal(1, len(made), "number of worlds created by name")
    refused = [type(one) for one in answers[::2] if not isinstance(one, WorldInfo)]
    require_equal([WorldExists] * 9, refused, "errors of the other actors")
    require_equal({_ID, made[0].world_id}, set(subject.worlds()), "live worlds")


@clause("G-413", "Concurrent steps of one world run one after the other, and each command applies in one of them.")
def steps_at_once(subject: GateSubject) -> None:
    world, other = subject.world(), subject.world("other")
    actors = [subject.new_actor("operator") for _ in range(12)]

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
        require_equal(given, found, "coins by issued id")


@clause("G-490", "A gate may be closed several times; after that every verb raises GateClosed.")
def closed(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.new_actor("admin")
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
