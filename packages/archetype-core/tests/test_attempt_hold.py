"""What waits for the end of an attempt, and what does not (T7)."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Any

import pytest
from daft import DataFrame
from scene import PATIENCE_S, Calls, Fails, FaultyStore, Flagged, Frozen, Health, Position, drive, world

from archetype_core.engine import Commands, Processor, current_attempt, outside_attempts
from archetype_core.errors import ProcessorError
from archetype_core.schema import Mailbox


def test_what_is_held_is_prepared_before_the_commit() -> None:
    """What is held is prepared right before the store commits, and settled after it; if that fails, so does the tick (T7)."""

    async def scenario() -> None:
        store, seen = FaultyStore(), list[tuple[str, int]]()
        faults = [OSError("full")]

        def prepare() -> None:
            seen.append(("prepare", len(store.commits)))
            if faults:
                raise faults.pop()

        def note(what: str) -> Callable[[], None]:
            return lambda: seen.append((what, len(store.commits)))

        def act(**_: Any) -> None:
            attempt = current_attempt()
            assert attempt is not None
            attempt.hold(note("commit"), note("drop"), prepare=prepare)
            there.spawn(Health())

        there = world(store=store)
        there.spawn(Position())
        await there.step()
        there.add_processor(Calls(Fails(0, act)))
        with pytest.raises(OSError, match="full"):
            await there.step()
        assert (there.tick, there.pending) == (1, 0)
        await there.step()
        assert seen == [("prepare", 1), ("drop", 1), ("prepare", 1), ("commit", 2)]
        assert there.pending == 1

    drive(scenario)


def test_what_is_held_late_is_prepared_at_once() -> None:
    """What a task holds while its tick is being committed is prepared at once (T7)."""

    async def scenario() -> None:
        seen: list[str] = []

        def late() -> None:
            attempt = current_attempt()
            assert attempt is not None
            attempt.hold(lambda: seen.append("commit"), lambda: None, prepare=lambda: seen.append("prepare"))

        def act(**_: Any) -> None:
            attempt, context = current_attempt(), contextvars.copy_context()
            assert attempt is not None
            attempt.hold(lambda: None, lambda: None, prepare=lambda: context.run(late))

        there = world()
        there.spawn(Position())
        await there.step()
        there.add_processor(Calls(Fails(0, act)))
        await there.step()
        assert seen == ["prepare", "commit"]

    drive(scenario)


def test_outside_attempts_nothing_is_held() -> None:
    """What is staged in a block outside attempts stays, whatever becomes of the caller's attempt (T7)."""

    async def scenario() -> None:
        def act(**_: Any) -> None:
            with outside_attempts():
                there.spawn(Health(hp=1))
            there.spawn(Health(hp=2))

        there = world()
        there.spawn(Position())
        await there.step()
        there.add_processor(Calls(Fails(1, act)))
        with pytest.raises(ProcessorError):
            await there.step()
        assert there.pending == 1
        there.remove_processor(Calls)
        await there.step()
        assert [there.get(one, Health).hp for one in there.entity_ids(Health).to_pylist()] == [1]

    drive(scenario)


def test_a_tick_inside_a_failed_attempt_holds_nothing() -> None:
    """A world that is stepped from inside an attempt commits; what its tick staged elsewhere fails with the outer one (T7)."""

    async def scenario() -> None:
        third, inner = world(), world()
        inner.spawn(Position())
        await inner.step()
        entered, leave = threading.Event(), threading.Event()

        def inside(**_: Any) -> None:
            third.spawn(Health())
            entered.set()
            assert leave.wait(PATIENCE_S)

        inner.add_processor(Calls(Fails(0, inside)))

        class Steps(Processor):
            components = (Frozen,)

            def process(self, df: DataFrame) -> DataFrame:
                asyncio.run(inner.step())
                return df

        class Breaks(Processor):
            components = (Flagged,)

            def process(self, df: DataFrame) -> DataFrame:
                assert entered.wait(PATIENCE_S)
                raise RuntimeError("boom")

        there = world()
        there.spawn_many([Frozen(), Flagged()])
        await there.step()
        there.add_processor(Steps())
        there.add_processor(Breaks())
        with pytest.raises(ProcessorError, match="boom"):
            await there.step()
        leave.set()
        there.remove_processor(Steps)
        there.remove_processor(Breaks)
        # Waits for the threads of the failed attempt.
        await there.step()
        assert (inner.tick, third.pending) == (2, 0)

    drive(scenario)


def test_a_handle_sends_with_the_next_tick() -> None:
    """What a handle sends from inside a tick is part of the next one, what ``commands`` send is part of this one (T9, T15)."""

    async def scenario() -> None:
        heard: list[tuple[int, str]] = []

        def act(tick: int, commands: Commands, messages: Mailbox, **_: Any) -> None:
            heard.extend((tick, letter.body) for letter in messages)
            if tick == 1:
                there.send(1, "handle")
                commands.send(1, "commands")

        there = world(Calls(Fails(0, act)))
        there.spawn(Position())
        await there.run(5)
        assert heard == [(2, "commands"), (3, "handle")]

    drive(scenario)
