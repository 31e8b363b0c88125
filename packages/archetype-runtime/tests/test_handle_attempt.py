"""What handles do from inside a tick belongs to its attempt, wherever they are called (T7)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from daft import DataFrame
from runtime_scene import Position, Velocity, with_runtime

from archetype import (
    ArchetypeRuntime,
    AttemptOver,
    Commands,
    PreTick,
    Processor,
    ProcessorError,
    RuntimeWorld,
    SyncRuntimeWorld,
)


class FailsTwice(Processor):
    """Calls a function, in a worker thread, and fails the first two times."""

    components = (Position,)

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self._failures = 2

    def process(self, df: DataFrame) -> DataFrame:
        self._call()
        return self.passed(df)

    def passed(self, df: DataFrame) -> DataFrame:
        if self._failures:
            self._failures -= 1
            raise RuntimeError("boom")
        return df


class FailsTwiceOnLoop(FailsTwice):
    """The same on the event loop."""

    async def process(self, df: DataFrame) -> DataFrame:  # type: ignore[override]  # reason: a processor may be async
        result: Any = self._call()
        if result is not None:
            await result
        return self.passed(df)


class FailsWithCommands(FailsTwice):
    """Spawns with its own commands too."""

    def process(self, df: DataFrame, commands: Commands) -> DataFrame:  # type: ignore[override]  # reason: a processor takes what it names
        commands.spawn(Velocity())
        return super().process(df)


async def acts(world: RuntimeWorld) -> None:
    """Stage one entity and submit another."""
    await world.spawn(Velocity())
    await world.submit_spawn(Velocity())


async def as_tasks(world: RuntimeWorld) -> None:
    """Do the same in tasks."""
    await asyncio.gather(
        *[asyncio.create_task(one) for one in (world.spawn(Velocity()), world.submit_spawn(Velocity()))]
    )


async def in_threads(world: RuntimeWorld) -> None:
    """Do the same in a thread with a loop of its own."""
    await asyncio.to_thread(lambda: asyncio.run(acts(world)))


@pytest.mark.parametrize("act", [acts, as_tasks, in_threads])
@pytest.mark.parametrize("as_hook", [False, True])
def test_an_async_handle_finds_its_attempt(
    act: Callable[[RuntimeWorld], Coroutine[Any, Any, None]], as_hook: bool
) -> None:
    """In processors and pre-tick hooks, their tasks and threads, only what the last attempt did is left (T7)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        async def call() -> None:
            if not as_hook:
                await act(world)

        async def hook(event: PreTick) -> None:
            if as_hook:
                await act(event.world)

        world = runtime.world("demo")
        await world.spawn(Position())
        await world.step()
        await world.add_hook(PreTick, hook, fail_fast=True)
        await world.add_processor(FailsTwiceOnLoop(call))
        for _ in range(2):
            with pytest.raises(ProcessorError):
                await world.step()
            info = await world.info()
            assert (info.pending, info.queued, info.entities) == (0, 0, 1)
        await world.step()
        info = await world.info()
        # What a pre-tick hook stages is part of its own tick.
        assert (info.pending, info.queued, info.entities) == ((0, 1, 2) if as_hook else (1, 1, 1))
        rows = (await world.history(type="spawn")).to_pydict()
        assert len(rows["status"]) == 3

    with_runtime(main)


@pytest.mark.parametrize("kind", [FailsTwice, FailsTwiceOnLoop])
@pytest.mark.parametrize("as_hook", [False, True])
def test_a_sync_handle_finds_its_attempt(kind: type[FailsTwice], as_hook: bool) -> None:
    """A sync handle belongs to the attempt too, in a processor's thread and on the loop (T7)."""

    def act(world: SyncRuntimeWorld) -> None:
        world.spawn(Velocity())
        assert world.submit_spawn(Velocity()) == 3

    with ArchetypeRuntime.sync("memory:") as runtime:
        world = runtime.world("demo")
        world.spawn(Position())
        world.step()
        if as_hook:
            world.add_hook(PreTick, lambda event: act(event.world), fail_fast=True)
        world.add_processor(kind(lambda: None if as_hook else act(world)))
        for _ in range(2):
            with pytest.raises(ProcessorError):
                world.step()
            assert (world.info().pending, world.info().queued) == (0, 0)
        world.step()
        info = world.info()
        assert (info.pending, info.queued, info.entities) == ((0, 1, 2) if as_hook else (1, 1, 1))


def test_a_plain_thread_is_outside() -> None:
    """A handle in a thread that nobody gave the context is an outside caller, ``commands`` never are (T7)."""
    with ArchetypeRuntime.sync("memory:") as runtime:
        world = runtime.world("demo")
        world.spawn(Position())
        world.step()

        def call() -> None:
            thread = threading.Thread(target=world.spawn, args=(Velocity(),))
            thread.start()
            thread.join()

        world.add_processor(FailsWithCommands(call))
        for count in (1, 2):
            with pytest.raises(ProcessorError):
                world.step()
            assert world.info().pending == count
        world.step()
        assert (world.info().pending, world.info().entities) == (2, 3)


def test_a_handle_is_refused_after_its_attempt_failed() -> None:
    """A task that outlives a failed attempt gets ``AttemptOver`` from a handle, also if it submits (T7)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        tasks: list[asyncio.Task[Any]] = []
        go_on = asyncio.Event()

        async def later() -> None:
            await go_on.wait()
            for act in (world.spawn, world.submit_spawn):
                with pytest.raises(AttemptOver):
                    await act(Velocity())

        async def call() -> None:
            tasks.append(asyncio.create_task(later()))

        world = runtime.world("demo")
        await world.spawn(Position())
        await world.step()
        await world.add_processor(FailsTwiceOnLoop(call))
        with pytest.raises(ProcessorError):
            await world.step()
        go_on.set()
        await tasks[0]

    with_runtime(main)
