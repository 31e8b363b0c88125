"""Worlds: concurrent steps, runs, cancelling, and handles used inside a tick."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from daft import DataFrame, lit
from scene import (
    PATIENCE_S,
    Calls,
    FaultyStore,
    Flagged,
    Frozen,
    Health,
    Move,
    Position,
    Velocity,
    drive,
    history,
    world,
    xs,
)

from archetype_core.config import RunConfig
from archetype_core.engine import PostTick, PreTick, World
from archetype_core.errors import CommitError, ReentrantStep, RunConflict, TickConflict, WorldClosed
from archetype_core.store import MemoryStore


class SlowStore(MemoryStore):
    """Commits at once, and returns when the test lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.leave = threading.Event(), threading.Event()

    def commit(self, ticks: Any) -> None:
        super().commit(ticks)
        self.inside.set()
        assert self.leave.wait(PATIENCE_S)


def test_hook_processor_and_resource_may_use_their_world() -> None:
    """From inside a tick mutations are staged for the next one and reads see the last one; step and run refuse (T15)."""

    async def scenario() -> None:
        seen: list[tuple[str, Any]] = []

        async def hook(event: PreTick) -> None:
            with pytest.raises(ReentrantStep):
                await event.world.step()
            with pytest.raises(ReentrantStep):
                await event.world.run(2)
            with pytest.raises(ReentrantStep):
                await event.world.close()
            seen.append(("hook", xs(event.world)))

        async def act(df: DataFrame, tick: int, **_: Any) -> DataFrame:
            await asyncio.sleep(0)
            with pytest.raises(ReentrantStep) as caught:
                await there.step()
            assert (caught.value.world, caught.value.tick) == ("world", tick)
            seen.append(("processor", xs(there)))
            if tick == 1:
                there.spawn(Position(x=50.0))
                # Staged, but not before the next tick.
                assert len(there) == 1
            return df.with_column("position__x", lit(float(tick)))

        there = world(Calls(act), hooks=[(PreTick, hook), (PostTick, hook)])
        there.spawn(Position())
        await there.run(3)
        assert seen == [
            ("hook", {}),
            ("hook", {1: 0.0}),
            ("hook", {1: 0.0}),
            ("processor", {1: 0.0}),
            ("hook", {1: 1.0}),
            ("hook", {1: 1.0}),
            ("processor", {1: 1.0}),
            ("hook", {1: 2.0, 2: 50.0}),
        ]

    drive(scenario)


def test_sync_processor_may_stage_from_its_thread() -> None:
    """A plain processor spawns and despawns through its world while other threads run (T15)."""

    async def scenario() -> None:
        def act(df: DataFrame, tick: int, **_: Any) -> DataFrame:
            there.spawn(Health(hp=tick))
            return df

        there = world(Calls(act))
        there.spawn_many([Position(), (Position(), Frozen()), (Position(), Flagged())])
        await there.run(4)
        assert len(there.entity_ids(Health)) == 3 * 2
        assert there.pending == 3

    drive(scenario)


def test_stepping_another_world_from_a_tick_is_allowed() -> None:
    """Only a world's own step is reentrant (T15)."""

    async def scenario() -> None:
        other = world()

        async def act(df: DataFrame, **_: Any) -> DataFrame:
            await other.step()
            return df

        there = world(Calls(act))
        there.spawn(Position())
        await there.run(3)
        assert other.tick == 2

    drive(scenario)


def test_steps_of_one_world_take_turns() -> None:
    """Concurrent steps of one world run one after the other."""

    async def scenario() -> None:
        there = world(Move())
        there.spawn(Position(), Velocity())
        await asyncio.gather(*(there.step() for _ in range(5)))
        assert there.tick == 5
        assert xs(there) == {1: 4.0}

    drive(scenario)


def test_steps_take_turns_on_a_second_loop() -> None:
    """A world can be stepped concurrently on one event loop after another."""
    there = world()

    async def scenario() -> None:
        await asyncio.gather(there.step(), there.step())

    drive(scenario)
    drive(scenario)
    assert there.tick == 4


def test_cancelled_step_leaves_the_world_usable() -> None:
    """Cancelling a step in the middle of a processor waits for it, commits nothing and keeps what was staged (T7, T15)."""

    async def scenario() -> None:
        inside, leave = threading.Event(), threading.Event()
        ended: list[bool] = []

        def act(df: DataFrame, **_: Any) -> DataFrame:
            inside.set()
            ended.append(leave.wait(PATIENCE_S))
            return df

        there = world(Calls(act), Move())
        entity = there.spawn(Position(), Velocity())
        await there.step()
        there.update(entity, Position(y=1.0))
        task = asyncio.create_task(there.step())
        await asyncio.to_thread(inside.wait, PATIENCE_S)
        task.cancel()
        asyncio.get_running_loop().call_soon(leave.set)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended == [True]
        assert (there.tick, there.pending) == (1, 1)
        await there.step()
        assert there.get(entity)[Position] == Position(x=1.0, y=1.0)

    drive(scenario)


def test_cancelled_step_cancels_an_async_processor() -> None:
    """A processor that awaits is cancelled with its step, and the world stays usable (T15)."""

    async def scenario() -> None:
        inside = asyncio.Event()
        blocks = True

        async def act(df: DataFrame, **_: Any) -> DataFrame:
            if blocks:
                inside.set()
                await asyncio.Event().wait()
            return df

        there = world(Calls(act))
        there.spawn(Position())
        await there.step()
        task = asyncio.create_task(there.step())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        blocks = False
        assert (await there.run(2)).final_tick == 2

    drive(scenario)


def test_run_takes_its_steps_by_name_or_place() -> None:
    """run(3), run(steps=3) and a config mean the same; 0 steps run none, and a negative number is refused (R1)."""

    async def scenario() -> None:
        there = world()
        assert (await there.run(0)).steps == 0
        assert (await there.run(3)).final_tick == 2
        assert (await there.run(steps=2)).final_tick == 4
        assert (await there.run(config=RunConfig(steps=2))).final_tick == 6
        assert (await there.run()).final_tick == 7
        for odd in (-1, True, 1.5):
            with pytest.raises(ValueError, match="steps"):
                await there.run(odd)  # type: ignore[arg-type]  # reason: this is what is refused
        with pytest.raises(TypeError):
            await there.run(applied=("x",))
        assert there.tick == 8

    drive(scenario)


def test_run_id_stays_until_a_new_one_is_given() -> None:
    """A run keeps one id; a new id starts a run at the current tick; an old id is refused (R1)."""

    async def scenario() -> None:
        there = world(Move())
        there.spawn(Position(), Velocity())
        await there.run(2)
        first = there.run_id
        await there.run(2, config=RunConfig(run_id="second"))
        await there.step()
        await there.step(config=RunConfig(run_id="second"))
        rows = there.query(Position).sort("tick").to_pydict()
        assert rows["run_id"] == [first] * 2 + ["second"] * 4
        assert rows["position__x"] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
        with pytest.raises(RunConflict) as caught:
            await there.step(RunConfig(run_id=first))
        assert caught.value.run_id == first
        assert there.tick == 6

    drive(scenario)


def test_failed_tick_does_not_start_a_run() -> None:
    """A new run begins with its first committed tick (R1, T7)."""

    async def scenario() -> None:
        store = FaultyStore()
        there = world(store=store)
        await there.step()
        first = there.run_id
        store.faults.append(OSError())
        with pytest.raises(CommitError):
            await there.step(RunConfig(run_id="second"))
        assert there.run_id == first
        await there.step()
        assert there.run_id == first

    drive(scenario)


def test_two_writers_of_one_world_never_interleave() -> None:
    """Of two handles that step one world, the second gets TickConflict, and can reopen (S3)."""

    async def scenario() -> None:
        store = MemoryStore()
        one = world(Move(), store=store, name="w")
        one.spawn(Position(), Velocity())
        await one.step()
        two = await World.open(store, "w", processors=[Move()])
        await one.step()
        two.spawn(Health())
        with pytest.raises(TickConflict) as caught:
            await two.step()
        assert (caught.value.expected, caught.value.got) == (2, 1)
        assert (two.tick, two.pending) == (1, 1)
        again = await World.open(store, "w", processors=[Move()])
        await again.step()
        assert xs(again) == {1: 2.0}

    drive(scenario)


def test_closed_world_refuses_mutations_and_steps() -> None:
    """After close, every change is WorldClosed, and history can be read."""

    async def scenario() -> None:
        there = world()
        entity = there.spawn(Position())
        await there.step()
        await there.close()
        await there.close()
        for act in (
            lambda: there.spawn(Position()),
            lambda: there.spawn_many([]),
            lambda: there.spawn_table({"x": [1.0]}, Position),
            lambda: there.update(entity, Position(x=1.0)),
            lambda: there.despawn(entity),
            lambda: there.add_components(entity, Frozen()),
            lambda: there.remove_components(entity, Frozen),
            lambda: there.send(entity, 1),
            there.reserve,
            lambda: there.add_processor(Move()),
            lambda: there.remove_processor(Move),
            lambda: there.add_hook(PreTick, print),
        ):
            with pytest.raises(WorldClosed) as caught:
                act()
            assert caught.value.world == "world"
        for ask in (there.step, there.fork):
            with pytest.raises(WorldClosed):
                await ask()
        assert [row["entity_id"] for row in history(there, Position)] == [entity]

    drive(scenario)


def test_processors_come_and_go_during_a_run() -> None:
    """Adding or removing a processor during a tick takes effect in the next one."""

    async def scenario() -> None:
        def act(df: DataFrame, tick: int, **_: Any) -> DataFrame:
            if tick == 2:
                there.add_processor(Move())
            if tick == 4:
                assert there.remove_processor(Move) == 1
            return df

        there = world(Calls(act))
        there.spawn(Position(), Velocity())
        await there.run(7)
        assert [row["position__x"] for row in history(there, Position)] == [0.0, 0.0, 0.0, 1.0, 2.0, 2.0, 2.0]

    drive(scenario)


def test_step_cancelled_while_it_commits_is_committed() -> None:
    """A step cancelled during its commit is committed and live, and the next step runs (T7)."""

    async def scenario() -> None:
        store = SlowStore()
        there = world(store=store)
        entity = there.spawn(Position())
        task = asyncio.create_task(there.step())
        await asyncio.to_thread(store.inside.wait, PATIENCE_S)
        task.cancel()
        asyncio.get_running_loop().call_soon(store.leave.set)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (there.tick, there.pending, entity in there) == (1, 0, True)
        await there.step()
        assert there.tick == 2

    drive(scenario)


def test_hooks_hear_of_every_committed_tick() -> None:
    """Hooks are called for a committed tick, also if its step was cancelled during the commit (§8)."""

    async def scenario() -> None:
        store = SlowStore()
        heard: list[int] = []
        there = world(store=store, hooks=[(PostTick, lambda event: heard.append(event.tick))])
        task = asyncio.create_task(there.step())
        await asyncio.to_thread(store.inside.wait, PATIENCE_S)
        task.cancel()
        asyncio.get_running_loop().call_soon(store.leave.set)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert heard == [0]

    drive(scenario)
