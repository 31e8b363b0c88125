"""The attempt of a tick: what is staged inside it, and what a failure leaves (T7)."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from daft import DataFrame
from scene import (
    PATIENCE_S,
    Calls,
    Fails,
    Flagged,
    Frozen,
    Health,
    Move,
    Position,
    SkippedCalls,
    Velocity,
    drive,
    world,
    xs,
)

from archetype_core.engine import Commands, PreTick, Processor, World
from archetype_core.engine.attempt import Attempt
from archetype_core.errors import AttemptOver, ProcessorError
from archetype_core.schema import Component, Mailbox


async def failing(there: World, times: int) -> None:
    """Step until the tick succeeds, after so many failures."""
    for _ in range(times):
        with pytest.raises(ProcessorError):
            await there.step()
    await there.step()


STAGES: dict[str, Callable[[World, Commands], object]] = {
    "handle": lambda there, _: there.spawn(Health(hp=7)),
    "commands": lambda _, commands: commands.spawn(Health(hp=7)),
    "table": lambda there, _: there.spawn_table({"hp": [7]}, Health),
    "reserved": lambda there, _: there.spawn(Health(hp=7), entity_id=there.reserve(1)[0]),
}


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_only_the_last_attempt_counts(stage: Callable[[World, Commands], object]) -> None:
    """What a processor stages in attempts that fail is dropped, whatever it used, and its entity ids are used again (T7)."""

    async def scenario(times: int) -> tuple[str, list[int]]:
        act = Fails(0, lambda commands, **_: stage(there, commands))
        there = world(Calls(act), seed=1, world_id="w", run_id="r")
        there.spawn(Position())
        await there.step()
        act.times = times
        await failing(there, times)
        await there.step()
        return there.digest(), there.entity_ids(Health).to_pylist()

    expected = drive(lambda: scenario(0))
    assert expected[1] == [2]
    assert drive(lambda: scenario(2)) == expected


def test_what_was_staged_outside_is_kept() -> None:
    """Mutations from outside survive a failed attempt, those from inside do not (T7)."""

    async def scenario() -> None:
        act = Fails(0, lambda **_: there.update(entity, Position(x=2.0)))
        there = world(Calls(act))
        entity = there.spawn(Position())
        await there.step()
        act.times = 1
        there.update(entity, Position(x=1.0, y=1.0))
        early = there.spawn(Position(x=10.0))
        with pytest.raises(ProcessorError):
            await there.step()
        assert there.pending == 2
        await there.step()
        assert xs(there) == {entity: 1.0, early: 10.0}
        assert there.pending == 1
        await there.step()
        assert xs(there)[entity] == 2.0

    drive(scenario)


def test_pre_tick_hooks_belong_to_the_attempt() -> None:
    """What a pre-tick hook stages lands in its tick, once, whatever failed before (T7)."""

    async def scenario() -> None:
        act = Fails(0, lambda **_: None)
        there = world(Calls(act))
        there.spawn(Position())
        await there.step()
        there.add_hook(PreTick, lambda event: event.world.spawn(Health(hp=event.tick)))
        act.times = 2
        await failing(there, 2)
        assert [there.get(one, Health).hp for one in there.entity_ids(Health).to_pylist()] == [1]
        assert there.entity_ids(Health).to_pylist() == [2]

    drive(scenario)


def test_a_skipped_processor_stages_nothing() -> None:
    """Commands and messages of a processor that is skipped are dropped, those of the ones before it stay (T2, T7)."""

    async def scenario() -> None:
        def fails(df: DataFrame, commands: Commands, messages: Mailbox, **_: Any) -> DataFrame:
            commands.spawn(Frozen())
            commands.send(1, "never")
            messages.send(1, "never")
            raise RuntimeError("boom")

        heard: list[Any] = []

        def hears(df: DataFrame, commands: Commands, messages: Mailbox, **_: Any) -> DataFrame:
            heard.extend(letter.body for letter in messages)
            commands.spawn(Flagged())
            commands.send(1, "here")
            return df

        there = world(Calls(hears), SkippedCalls(fails))
        there.spawn(Position())
        await there.run(3)
        assert heard == ["here"]
        assert len(there.entity_ids(Flagged)) == 1
        assert len(there.entity_ids(Frozen)) == 0

    drive(scenario)


def test_commands_stage_for_one_entity_or_many() -> None:
    """Commands do what a handle does, for one entity or many, at the next tick (T9)."""

    async def scenario() -> None:
        def act(tick: int, commands: Commands, **_: Any) -> None:
            if tick == 1:
                commands.update(np.array([1, 2]), Position(y=5.0))
                commands.add_components([1, 2], Health(hp=3))
                commands.remove_components(3, Velocity)
                commands.despawn(4, 5)
                many = commands.spawn_many([Frozen(), (Frozen(), Flagged())])
                table = commands.spawn_table({"hp": [1, 2, 3]}, Health)
                given.extend([*many.tolist(), *table.tolist(), commands.spawn(Flagged())])

        given: list[int] = []
        there = world(Move(), Calls(Fails(0, act)))
        there.spawn_many([(Position(), Velocity(dx=1.0))] * 5)
        await there.run(3)
        assert given == list(range(6, 12))
        assert there.get(1, Position, Health) == (Position(x=2.0, y=5.0), Health(hp=3))
        assert there.get(3, Position) == Position(x=2.0)
        assert sorted(there.entity_ids().to_pylist()) == [1, 2, 3, *given]

    drive(scenario)


def test_many_are_refused_whole() -> None:
    """If one of many entities is refused, nothing is staged for the others (T6)."""

    async def scenario() -> None:
        def act(commands: Commands, **_: Any) -> None:
            with pytest.raises(LookupError):
                commands.update([1, 99], Position(y=5.0))

        there = world(Calls(Fails(0, act)))
        there.spawn(Position())
        await there.run(3)
        assert there.get(1, Position) == Position()

    drive(scenario)


def test_ids_do_not_depend_on_threads() -> None:
    """Tables that run side by side spawn entities with the same ids in whatever order they get there (T9)."""

    async def scenario(order: list[str]) -> str:
        turn, left = threading.Condition(), list(order)

        class Spawns(Processor):
            components = (Health,)

            def process(self, df: DataFrame, commands: Commands) -> DataFrame:
                table = str(df.to_pydict()["health__hp"][0])
                with turn:
                    assert turn.wait_for(lambda: not left or left[0] == table, PATIENCE_S)
                    ids = commands.spawn_many([Position(x=float(table))] * 20)
                    commands.update(ids[:3], Position(y=1.0))
                    if left:
                        left.pop(0)
                    turn.notify_all()
                return df

        there = world(Spawns(), seed=1, world_id="w", run_id="r")
        there.spawn_many([Health(hp=1), (Health(hp=2), Frozen()), (Health(hp=3), Flagged())])
        await there.run(3)
        return there.digest()

    digests = {drive(partial(scenario, list(order))) for order in ("123", "321", "213")}
    assert len(digests) == 1


def test_the_context_is_found_in_tasks_and_threads() -> None:
    """Tasks and to_thread of an attempt belong to it; a plain thread with a handle is an outside caller (T7)."""

    async def scenario() -> None:
        class Spreads(Processor):
            components = (Position,)
            fails = True

            async def process(self, df: DataFrame, commands: Commands) -> DataFrame:
                await asyncio.to_thread(there.spawn, Health(hp=1))
                await asyncio.create_task(stages())
                for stage in (lambda: there.spawn(Health(hp=3)), lambda: commands.spawn(Health(hp=4))):
                    thread = threading.Thread(target=stage)
                    thread.start()
                    thread.join()
                if self.fails:
                    raise RuntimeError("boom")
                return df

        async def stages() -> None:
            there.spawn(Health(hp=2))

        spreads = Spreads()
        there = world()
        there.spawn(Position())
        await there.step()
        there.add_processor(spreads)
        with pytest.raises(ProcessorError):
            await there.step()
        assert there.pending == 1
        spreads.fails = False
        await there.step()
        there.remove_processor(Spreads)
        await there.step()
        found = sorted(there.get(one, Health).hp for one in there.entity_ids(Health).to_pylist())
        assert found == [1, 2, 3, 3, 4]

    drive(scenario)


def test_a_task_outlives_its_attempt() -> None:
    """A task that goes on after its attempt failed gets AttemptOver; after a commit it is an ordinary caller (T7)."""

    async def scenario() -> None:
        tasks: list[asyncio.Task[int]] = []
        go_on = asyncio.Event()

        async def later(commands: Commands) -> int:
            await go_on.wait()
            with_handle = there.spawn(Health())
            return with_handle + commands.spawn(Health())

        class Starts(Processor):
            components = (Position,)
            fails = True

            async def process(self, df: DataFrame, commands: Commands) -> DataFrame:
                await asyncio.sleep(0)
                tasks.append(asyncio.create_task(later(commands)))
                if self.fails:
                    raise RuntimeError("boom")
                return df

        starts = Starts()
        there = world(starts)
        there.spawn(Position())
        await there.step()
        with pytest.raises(ProcessorError):
            await there.step()
        starts.fails = False
        await there.step()
        go_on.set()
        with pytest.raises(AttemptOver) as caught:
            await tasks[0]
        assert (caught.value.world, caught.value.tick) == ("world", 1)
        assert await tasks[1] == 2 + 3
        assert there.pending == 2

    drive(scenario)


def test_the_first_failure_raises_at_once() -> None:
    """A step raises while another table's processor still runs; the next step waits for that one (T7)."""

    async def scenario() -> None:
        entered, leave, ended = threading.Event(), threading.Event(), threading.Event()
        refused: list[BaseException] = []

        class Slow(Processor):
            components = (Frozen,)

            def process(self, df: DataFrame, commands: Commands) -> DataFrame:
                entered.set()
                assert leave.wait(PATIENCE_S)
                try:
                    commands.spawn(Health())
                except AttemptOver as over:
                    refused.append(over)
                ended.set()
                return df

        class FailsOnce(Processor):
            components = (Flagged,)
            times = 1

            def process(self, df: DataFrame) -> DataFrame:
                assert entered.wait(PATIENCE_S)
                if self.times:
                    self.times -= 1
                    raise RuntimeError("boom")
                return df

        there = world()
        there.spawn_many([Frozen(), Flagged()])
        await there.step()
        there.add_processor(Slow())
        there.add_processor(FailsOnce())
        with pytest.raises(ProcessorError, match="boom"):
            await there.step()
        assert not ended.is_set()
        again = asyncio.create_task(there.step())
        await asyncio.sleep(0)
        assert not again.done()
        leave.set()
        assert (await again).tick == 1
        assert ended.is_set()
        assert len(refused) == 1

    drive(scenario)


@pytest.mark.parametrize("failing_one", [Frozen, Flagged])
def test_whoever_is_told_of_a_failure_finds_the_attempt_over(
    failing_one: type[Component], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step does not raise before what is staged inside is refused, whichever thread ends first (T7)."""
    begun, ended = threading.Event(), []
    end = Attempt.fail

    def slowly(attempt: Attempt) -> None:
        begun.set()
        time.sleep(0.2)
        end(attempt)
        ended.append(attempt)

    class Fails(Processor):
        components = (failing_one,)

        def process(self, df: DataFrame) -> DataFrame:
            raise RuntimeError("boom")

    class Waits(Processor):
        components = (Flagged if failing_one is Frozen else Frozen,)

        def process(self, df: DataFrame) -> DataFrame:
            assert begun.wait(PATIENCE_S)
            return df

    async def scenario() -> None:
        there = world()
        there.spawn_many([Frozen(), Flagged()])
        await there.step()
        there.add_processor(Fails())
        there.add_processor(Waits())
        monkeypatch.setattr(Attempt, "fail", slowly)
        with pytest.raises(ProcessorError, match="boom"):
            await there.step()
        assert ended

    drive(scenario)


def test_a_failure_cancels_what_awaits() -> None:
    """An async processor that waits is cancelled when another table's fails (T7)."""

    async def scenario() -> None:
        waits, cancelled = asyncio.Event(), asyncio.Event()

        class Waits(Processor):
            components = (Frozen,)

            async def process(self, df: DataFrame) -> DataFrame:
                waits.set()
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    cancelled.set()
                    raise
                return df

        class Breaks(Processor):
            components = (Flagged,)

            async def process(self, df: DataFrame) -> DataFrame:
                await waits.wait()
                raise RuntimeError("boom")

        there = world(Waits(), Breaks())
        there.spawn_many([Frozen(), Flagged()])
        await there.step()
        with pytest.raises(ProcessorError, match="boom"):
            await there.step()
        await asyncio.wait_for(cancelled.wait(), PATIENCE_S)

    drive(scenario)


def test_what_is_staged_for_another_world_waits_for_the_commit() -> None:
    """Mutations of another world that come from inside an attempt are held until its commit, or dropped (T7)."""

    async def scenario() -> None:
        other = world()
        act = Fails(1, lambda **_: seen.append((other.spawn(Health(hp=1)), other.pending)))
        seen: list[tuple[int, int]] = []
        there = world()
        there.spawn(Position())
        await there.step()
        there.add_processor(Calls(act))
        await failing(there, 1)
        assert seen == [(1, 0), (1, 0)]
        assert other.pending == 1
        await other.step()
        assert len(other) == 1

    drive(scenario)


def test_ids_that_commands_and_a_handle_took_are_given_back_together() -> None:
    """After a failed attempt the next entity has the id that it would have had without it, whoever took ids (T7)."""

    async def scenario() -> None:
        def act(commands: Commands, **_: Any) -> None:
            commands.spawn(Health())
            there.spawn(Health())

        there = world(Calls(Fails(1, act)))
        there.spawn(Position())
        await there.step()
        with pytest.raises(ProcessorError):
            await there.step()
        assert there.spawn(Position()) == 2

    drive(scenario)
