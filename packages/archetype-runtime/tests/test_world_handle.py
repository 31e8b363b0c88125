"""The operations of a world handle."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, assert_type

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runtime_scene import Done, Movement, Position, Velocity, with_runtime, xs

from archetype import (
    ArchetypeRuntime,
    Component,
    Despawn,
    Entity,
    EntityNotFound,
    NotDeferrable,
    Processor,
    RunConfig,
    RunConflict,
    SignatureError,
    Spawn,
    UnknownRecipient,
    Update,
    ValueRejected,
    WorldClosed,
)


class Reads(Processor):
    """Collects its arguments."""

    components = (Position,)

    def __init__(self) -> None:
        self.inputs: list[Any] = []
        self.bodies: list[Any] = []

    def process(self, df: Any, messages: Any, wind: int = 0) -> Any:
        self.inputs.append(wind)
        self.bodies.extend(letter.body for letter in messages)
        return df


def test_queue_keeps_its_order() -> None:
    """Queued commands apply at their tick, by priority and then in order, and spawn the ids they returned (C5, C6)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        world = runtime.world("demo")
        later = await world.submit_spawn(Position(), tick=1)
        first = await world.submit_spawn(Position(x=1.0))
        await world.submit(Update(first, (Position(x=3.0),)), priority=2)
        (mine, last) = await world.submit_batch([Update(first, (Position(x=2.0),)), Spawn((Velocity(),))], priority=1)
        assert (len(mine.entity_ids), len(last.entity_ids)) == (0, 1)
        assert (await world.info()).queued == 5
        await world.step()
        assert await world.get(first, Position) == Position(x=3.0)
        with pytest.raises(EntityNotFound):
            await world.get(later)
        await world.step()
        assert set(await world.get(later)) == {Position}
        with pytest.raises(NotDeferrable):
            await world.submit(Query())  # type: ignore[arg-type]  # reason: what is refused
        await world.submit(Despawn((first,)))
        await world.step()
        with pytest.raises(EntityNotFound):
            await world.get(first)

    from archetype_core.command import Query

    with_runtime(main)


def test_inputs_and_messages_reach_processors() -> None:
    """Keyword arguments of a run, and messages of the last tick, reach the processors that name them (T9, G7)."""
    reads = Reads()

    async def main(runtime: ArchetypeRuntime) -> None:
        world = runtime.world("demo", processors=[reads])
        eid = await world.spawn(Position())
        await world.step()
        await world.send(eid, {"hello": 1}, kind="greeting")
        await world.step(wind=3)
        await world.run(2, wind=4, config=RunConfig(inputs={"wind": 5}))
        assert reads.inputs == [3, 4, 4]
        assert reads.bodies == [{"hello": 1}]
        (sent,) = await world.messages(recipient=eid)
        assert (sent.body, sent.kind, sent.tick) == ({"hello": 1}, "greeting", 1)
        with pytest.raises(UnknownRecipient):
            await world.send(99, "nobody")

    with_runtime(main)


def test_runs_have_ids() -> None:
    """A run keeps its id, a new id starts a run at the current tick, and an ended run cannot be resumed (R1)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        world = runtime.world("demo")
        await world.spawn(Position())
        first = await world.run(2)
        second = await world.run(config=RunConfig(steps=3, run_id="second"))
        assert (first.first_tick, first.final_tick, first.steps, first.applied) == (0, 1, 2, 1)
        assert (second.run_id, second.first_tick, second.steps) == ("second", 2, 3)
        assert (await world.run()).run_id == "second"
        with pytest.raises(RunConflict):
            await world.step(RunConfig(run_id=first.run_id))

    with_runtime(main)


def test_mutations_are_refused_where_they_enter() -> None:
    """What no table can store is refused at the call, and nothing is staged (M7, T6)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        world = runtime.world("demo")
        with pytest.raises(SignatureError):
            await world.spawn()
        with pytest.raises(EntityNotFound):
            await world.update(1, Position(x=1.0))
        with pytest.raises(ValueRejected):
            await world.send(1, object())
        assert (await world.info()).pending == 0
        eid = await world.spawn(Position())
        await world.add_components(eid, Velocity(dx=1.0))
        await world.remove_components(eid, Position)
        await world.step()
        assert await world.get_components(eid) == (Velocity(dx=1.0),)
        with pytest.raises(KeyError):
            await world.get(eid, Position)

    with_runtime(main)


def test_what_changes_nothing_stages_nothing() -> None:
    """A call that changes nothing is applied at once, stages nothing and does not stand in the way of a fork (T5, T6, G5)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        world = runtime.world("demo")
        eid = await world.spawn(Position(x=1.0))
        await world.step()
        calls = (
            world.add_components(eid, Position(x=9.0)),
            world.remove_components(eid, Velocity),
            world.update(Position.c.x > 5.0, Position(x=0.0)),
            world.update_where(Position.c.x > 5.0, {Position.c.x: 0.0}),
            world.update_table({"entity_id": [], "position__x": []}),
            world.despawn([]),
            world.despawn(1_000),
            world.spawn_many([]),
        )
        for call in calls:
            await call
        assert (await world.info()).pending == 0
        rows = (await world.history(len(calls))).to_pydict()
        assert rows["status"] == ["applied"] * len(calls)
        branch = await world.fork("branch")
        assert await branch.get(eid, Position) == Position(x=1.0)

    with_runtime(main)


def test_get_returns_what_was_asked_for() -> None:
    """`get` returns an entity, one component or a tuple, typed as such; `get_components` always a tuple (M6)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        world = runtime.world("demo")
        eid = await world.spawn(Position(x=1.0), Velocity(dx=2.0))
        await world.step()
        entity = assert_type(await world.get(eid), Entity)
        assert entity.entity_id == eid
        kinds: set[type[Component]] = {Position, Velocity}
        assert set(entity) == kinds
        assert assert_type(entity[Position], Position).x == 1.0
        assert assert_type(await world.get(eid, Position), Position) == entity[Position]
        both = assert_type(await world.get(eid, Velocity, Position), tuple[Velocity, Position])
        assert both == (Velocity(dx=2.0), Position(x=1.0))
        assert assert_type(await world.get_components(eid, Position), tuple[Position]) == (Position(x=1.0),)
        every = assert_type(await world.get_components(eid), tuple[Component, ...])
        assert list(every) == list(entity.values())
        for read in (world.get, world.get_components):
            with pytest.raises(KeyError, match=r"no Done; it has Position"):
                await read(eid, Done)
            with pytest.raises(EntityNotFound):
                await read(eid + 1, Position)

    with_runtime(main)
    with ArchetypeRuntime.sync("memory:") as runtime:
        world = runtime.world("demo")
        eid = world.spawn(Position(x=1.0), Velocity())
        world.step()
        assert assert_type(world.get(eid, Position), Position).x == 1.0
        assert assert_type(world.get(eid), Entity)[Velocity] == Velocity()


def test_processors_and_resources_come_and_go() -> None:
    """Processors and resources are added, listed as info objects and removed through the gate (RT11)."""

    class Tally:
        pass

    async def main(runtime: ArchetypeRuntime) -> None:
        world = runtime.world("demo")
        info = await world.add_processor(Movement())
        assert (info.priority, info.components) == (10, ("Position", "Velocity"))
        assert await world.list_processors() == (info,)
        assert await world.remove_processor(Movement) == 1
        assert await world.remove_processor(Movement) == 0
        added = await world.add_resource(Tally())
        assert await world.list_resources() == (added,)
        assert await world.remove_resource(Tally)
        assert not await world.remove_resource(Tally)

    with_runtime(main)


def test_fork_to_another_storage(tmp_path: Path) -> None:
    """A fork to another storage has the live state, and is listed there (R3)."""
    place = f"journal:{tmp_path}/other"

    async def main(runtime: ArchetypeRuntime) -> None:
        world = runtime.world("demo", processors=[Movement()])
        await world.spawn(Position(), Velocity(dx=1))
        await world.run(2)
        fork = await world.fork("moved", storage=place)
        await fork.run(2)
        assert xs(await fork.query(Position))[-2:] == [2.0, 3.0]
        assert [one.name for one in await runtime.worlds(place)] == ["moved"]

    with_runtime(main)


def test_runtime_outlives_a_loop() -> None:
    """A runtime is not bound to an event loop: it may be used on one loop after another."""
    runtime = ArchetypeRuntime("memory:")
    world = runtime.world("demo", processors=[Movement()])

    async def first() -> None:
        await world.spawn(Position(), Velocity(dx=1))
        await world.run(2)

    async def second() -> None:
        await world.run(1)
        assert xs(await world.query(Position)) == [0.0, 1.0, 2.0]
        await runtime.shutdown()

    asyncio.run(first())
    asyncio.run(second())


def test_errors_have_no_cause_in_themselves() -> None:
    """An error of the gate is raised as it is, or as the cause of a clearer one; never as its own cause."""

    async def main(runtime: ArchetypeRuntime) -> None:
        world = runtime.world("demo")
        other = await runtime.world("other").fork("fork")
        gone = other.world_id
        await other.shutdown()
        with pytest.raises(WorldClosed) as closed:
            await other.submit(Despawn((1,)))
        assert closed.value.__cause__ is not closed.value
        with pytest.raises(LookupError) as missing:
            await runtime.open("nobody").info()
        assert missing.value.__cause__ is None
        assert (await runtime.open(gone).activate()) == gone
        assert world.name == "demo"

    with_runtime(main)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("spawn"), st.floats(-9, 9)),
        st.tuples(st.just("update"), st.integers(1, 6)),
        st.tuples(st.just("despawn"), st.integers(1, 6)),
        st.tuples(st.just("add"), st.integers(1, 6)),
        st.tuples(st.just("submit"), st.integers(0, 4)),
        st.tuples(st.just("run"), st.integers(0, 2)),
    ),
    max_size=12,
)


def played(steps: list[tuple[str, Any]], call: Any, world: Any) -> list[Any]:
    """Return the results of a program of steps; `call` makes each call."""
    results: list[Any] = []
    for verb, value in steps:
        try:
            match verb:
                case "spawn":
                    results.append(call(world.spawn, Position(x=value), Velocity(dx=1.0)))
                case "update":
                    results.append(call(world.update, value, Position(x=0.5)))
                case "despawn":
                    results.append(call(world.despawn, value))
                case "add":
                    results.append(call(world.add_components, value, Velocity(dx=2.0)))
                case "submit":
                    results.append(call(world.submit_spawn, Position(), tick=value))
                case _:
                    results.append(call(world.run, value).final_tick)
        except LookupError as refusal:
            results.append(type(refusal))
    call(world.step)
    return [*results, call(world.digest), call(world.info).entities]


@settings(max_examples=15, deadline=None, derandomize=True)
@given(STEPS)
def test_sync_and_async_are_one(steps: list[tuple[str, Any]]) -> None:
    """The sync twin returns what the original returns and ends in the same state (RT6)."""
    with ArchetypeRuntime.sync("memory:") as runtime:
        world = runtime.world("demo", processors=[Movement()], seed=1)
        twin = played(steps, lambda verb, *given, **named: verb(*given, **named), world)

    with asyncio.Runner() as runner:
        original = ArchetypeRuntime("memory:")
        handle = original.world("demo", processors=[Movement()], seed=1)
        assert played(steps, lambda verb, *given, **named: runner.run(verb(*given, **named)), handle) == twin
        runner.run(original.shutdown())
