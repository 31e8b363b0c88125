"""Hooks and processors that call their own world."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from runtime_scene import AwaitsCall, Calls, Movement, Position, Velocity, with_runtime, xs

from archetype import (
    ArchetypeRuntime,
    EpisodeConfig,
    LoopBusy,
    OnSpawn,
    PostTick,
    PreTick,
    ReentrantStep,
    RolloutConfig,
    RuntimeWorld,
    SyncArchetypeRuntime,
    SyncRuntimeWorld,
    WorldClosed,
)
from archetype_core import World


def test_events_bring_handles_and_no_world() -> None:
    """The world of an event is a handle for the actor who registered the hook, never the engine's world (RT2)."""
    events: list[Any] = []

    async def main(runtime: ArchetypeRuntime) -> None:
        world = runtime.world("demo", hooks=[(PreTick, events.append), (OnSpawn, events.append)])
        await world.spawn(Position())
        handle = await world.add_hook(PostTick, events.append)
        await world.step()
        assert [type(event) for event in events] == [PreTick, OnSpawn, PostTick]
        for event in events:
            assert isinstance(event.world, RuntimeWorld)
            assert event.world.world_id == world.world_id
            assert event.world.actor is world.actor
        assert [one.handler_qualname for one in await world.list_hooks()] == ["list.append"] * 3
        assert not isinstance(handle.handler, World)
        assert await world.remove_hook(handle)
        assert not await world.remove_hook(handle)

    with_runtime(main)


def test_async_hook_calls_its_world() -> None:
    """A hook's mutations apply at the next tick, its reads see the last one, and a step is ReentrantStep (T15)."""
    seen: list[list[float]] = []
    refused: list[str] = []

    async def main(runtime: ArchetypeRuntime) -> None:
        world = runtime.world("demo", processors=[Movement()])

        async def hook(event: PreTick) -> None:
            await world.spawn(Position(x=100.0 + event.tick))
            seen.append(xs(await world.query(Position, entity_ids=1)))
            assert await event.world.get(1, Position) == Position(x=float(event.tick - 1))
            for forbidden in (world.step, event.world.run, world.run_episode, world.shutdown, world.destroy):
                try:
                    await forbidden()
                except ReentrantStep as refusal:
                    refused.append(refusal.world)
            if event.tick == 2:
                await event.world.fork("branch", pending="copy")

        await world.spawn(Position(), Velocity(dx=1))
        await world.step()
        await world.add_hook(PreTick, hook, fail_fast=True)
        await world.run(2)
        assert seen == [[0.0], [0.0, 1.0]]
        assert refused == ["demo"] * 10
        assert xs(await world.query(Position, ticks=1)) == [1.0, 101.0]
        assert sorted(one.name for one in await runtime.worlds()) == ["branch", "demo"]

    with_runtime(main)


def test_spawned_hook_outlives_its_tick() -> None:
    """A hook in the background may mutate and read its world after its tick has ended (T15)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        world = runtime.world("demo")
        go_on, done = asyncio.Event(), asyncio.Event()

        async def hook(event: PostTick) -> None:
            await go_on.wait()
            await event.world.spawn(Position())
            assert (await event.world.info()).tick == 1
            done.set()

        await world.activate()
        await world.add_hook(PostTick, hook, mode="spawn")
        await world.step()
        go_on.set()
        await done.wait()
        assert (await world.info()).pending == 1

    with_runtime(main)


def test_async_processor_calls_its_world() -> None:
    """A processor that awaits its own handle stages for the next tick, and a step is ReentrantStep (T15)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        async def call() -> None:
            await world.spawn(Velocity())
            assert (await world.query(Position)).count_rows() == (await world.info()).tick
            with pytest.raises(ReentrantStep):
                await world.step()

        world = runtime.world("demo", processors=[AwaitsCall(call)])
        await world.spawn(Position())
        await world.run(3)
        # It ran in two of the three ticks; what it staged in the last one is pending.
        info = await world.info()
        assert (info.entities, info.pending) == (2, 1)

    with_runtime(main)


def hooked(world: SyncRuntimeWorld, event: Any) -> list[str]:
    """Do what a sync hook may do with its world, and return how the rest is refused."""
    refused = []
    world.spawn(Position(x=float(event.tick)))
    world.update(1, Velocity(dx=2.0))
    world.send(1, {"tick": event.tick})
    assert len(world.spawn_many([Position()] * 2)) == 2
    assert world.get(1)[Position] == Position(x=world.query(Position, entity_ids=1).to_pydict()["position__x"][-1])
    assert world.snapshot(Position).count_rows() == world.info().entities
    assert world.digest() == world.digest(event.tick - 1)
    assert world.history(type="spawn").count_rows() > 0
    assert world.submit_spawn(Position()) > 0
    for name in ("step", "run", "run_episode", "shutdown", "destroy", "fork", "run_rollout"):
        try:
            getattr(world, name)()
        except (ReentrantStep, LoopBusy) as refusal:
            refused.append(f"{name}: {type(refusal).__name__}")
    return refused


def test_sync_hook_calls_its_world() -> None:
    """A hook of a sync runtime reads and mutates its world; what would wait for the loop is refused (T15)."""
    refused: list[str] = []

    def hook(event: PreTick) -> None:
        assert isinstance(event.world, SyncRuntimeWorld)
        refused.extend(hooked(event.world, event))

    with ArchetypeRuntime.sync("memory:") as runtime:
        world = runtime.world("demo", processors=[Movement()])
        world.spawn(Position(), Velocity(dx=1))
        world.step()
        world.add_hook(PreTick, hook, fail_fast=True)
        world.step()
        inside = ("step", "run", "run_episode", "shutdown", "destroy")
        assert refused == [*(f"{name}: ReentrantStep" for name in inside), "fork: LoopBusy", "run_rollout: LoopBusy"]
        # What it staged is part of its tick; what it submitted was held until the commit.
        assert (world.info().entities, world.info().queued) == (4, 1)
        assert world.get(1, Velocity) == Velocity(dx=2.0)


def test_sync_processor_calls_its_world() -> None:
    """A processor in a worker thread may call a sync handle of its world; a step is ReentrantStep (T15)."""
    threads: set[int] = set()

    def call() -> None:
        threads.add(threading.get_ident())
        world.spawn(Velocity())
        assert world.query(Position).count_rows() == world.info().tick
        with pytest.raises(ReentrantStep):
            world.step()
        with pytest.raises(ReentrantStep):
            world.shutdown()

    with ArchetypeRuntime.sync("memory:") as runtime:
        world = runtime.world("demo", processors=[Calls(call)])
        world.spawn(Position())
        world.run(3)
        assert (world.info().entities, world.info().pending) == (2, 1)
        assert threading.get_ident() not in threads


def test_sync_processor_on_the_loop() -> None:
    """A processor on the loop may make sync calls; those that would wait for the loop are refused (T15)."""

    async def call() -> None:
        await asyncio.sleep(0)
        world.spawn(Velocity())
        assert world.query(Position).count_rows() == world.info().tick
        with pytest.raises(ReentrantStep):
            world.step()
        with pytest.raises(LoopBusy):
            other.step()
        with pytest.raises(LoopBusy):
            runtime.world("not active yet").spawn(Position())
        with pytest.raises(LoopBusy):
            runtime.shutdown()
        assert other.spawn(Position()) > 0

    with ArchetypeRuntime.sync("memory:") as runtime:
        other = runtime.world("other")
        other.activate()
        world = runtime.world("demo", processors=[AwaitsCall(call)])
        world.spawn(Position())
        world.run(3)
        assert (world.info().entities, world.info().pending, other.info().pending) == (2, 1, 2)


def test_hooks_of_episodes_step_no_world() -> None:
    """In an episode, a hook gets a handle of the episode's world, whose step is ReentrantStep (T15, RT2)."""
    refused: list[str] = []

    def hook(event: PreTick) -> None:
        event.world.spawn(Position())
        try:
            event.world.step()
        except ReentrantStep as refusal:
            refused.append(refusal.world)

    def run(runtime: SyncArchetypeRuntime) -> None:
        world = runtime.world("demo", hooks=[(PreTick, hook)])
        config = RolloutConfig(num_episodes=2, episode_config=EpisodeConfig(max_steps=2))
        rollout = world.run_rollout(config)
        assert rollout.failed == ()
        assert refused == [one.name for one in rollout.episodes for _ in range(2)]

    with ArchetypeRuntime.sync("memory:") as runtime:
        run(runtime)


def test_custom_commands_are_applied_by_handlers() -> None:
    """A handler stages mutations through its scope, and gets no world (G5)."""

    def burst(scope: Any, data: dict[str, int]) -> None:
        assert not isinstance(scope, World)
        scope.spawn_many([Position()] * data["count"])

    async def main(runtime: ArchetypeRuntime) -> None:
        world = runtime.world("demo", handlers={"burst": burst})
        await world.custom("burst", {"count": 3})
        await world.step()
        assert (await world.info()).entities == 3
        with pytest.raises(LookupError):
            await world.custom("unknown")
        await world.add_handler("unknown", burst)
        await world.custom("unknown", {"count": 1})

    with_runtime(main)


def test_hook_may_end_another_world() -> None:
    """A hook may shut another, idle world down; its own world still steps (L2)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        other = runtime.world("other")
        await other.step()

        async def hook(event: PostTick) -> None:
            await other.shutdown()

        world = runtime.world("demo", hooks=[(PostTick, hook)])
        await world.run(2)
        with pytest.raises(WorldClosed):
            await other.step()

    with_runtime(main)


def test_hook_must_be_callable() -> None:
    """A hook that is not callable is a TypeError when it is declared or registered."""

    async def main(runtime: ArchetypeRuntime) -> None:
        with pytest.raises(TypeError, match="cannot be called"):
            runtime.world("demo", hooks=[(PreTick, 3)])  # type: ignore[list-item]  # reason: what is refused
        world = runtime.world("demo")
        await world.activate()
        with pytest.raises(TypeError, match="cannot be called"):
            await world.add_hook(PreTick, 3)  # type: ignore[arg-type]  # reason: what is refused
        with pytest.raises(TypeError, match="cannot be called"):
            ArchetypeRuntime.sync().world(hooks=[(PreTick, 3)])  # type: ignore[list-item]  # reason: what is refused

    with_runtime(main)
