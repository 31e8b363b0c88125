"""How worlds, forks and runtimes end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from runtime_scene import AwaitsCall, Calls, Movement, Position, Velocity, with_runtime, xs

from archetype import (
    PLAYER,
    ActorCtx,
    ArchetypeRuntime,
    OnDestroy,
    PendingMutations,
    PermissionDenied,
    PostTick,
    RuntimeClosed,
    RuntimeWorld,
    WorldClosed,
    WorldExists,
)
from archetype_core import MemoryStore


async def moving(runtime: ArchetypeRuntime, name: str, **options: Any) -> RuntimeWorld:
    """Return a world with one moving entity, after one tick."""
    world = runtime.world(name, processors=[Movement()], **options)
    await world.spawn(Position(), Velocity(dx=1))
    await world.step()
    return world


def test_world_shutdown_is_its_own() -> None:
    """Shutting a world down does not affect other worlds of its storage, and is idempotent (L1, L2)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        one, other = await moving(runtime, "one"), await moving(runtime, "other")
        await one.shutdown()
        await one.shutdown()
        with pytest.raises(WorldClosed):
            await one.step()
        assert "shut down" in repr(one)
        await other.step()
        assert xs(await other.query(Position)) == [0.0, 1.0]

    with_runtime(main, storage="memory:")


def test_world_resumes_after_its_shutdown(tmp_path: Path) -> None:
    """Declared again after its shutdown, a world resumes at its last tick (L2, R5)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        world = await moving(runtime, "demo")
        await world.shutdown()
        again = runtime.world("demo", processors=[Movement()])
        await again.step()
        assert again.world_id == world.world_id
        assert xs(await again.query(Position)) == [0.0, 1.0]
        # The earlier handle stays closed.
        with pytest.raises(WorldClosed):
            await world.info()

    with_runtime(main, storage=f"journal:{tmp_path}/data")


def test_destroy_keeps_history() -> None:
    """After `destroy` all handles of the world are closed and its name is free; audit rows stay (RT13, G8)."""
    ticks: list[float] = []

    def goodbye(event: OnDestroy) -> None:
        ticks.append(event.tick)

    async def main(runtime: ArchetypeRuntime) -> None:
        world = await moving(runtime, "demo", hooks=[(OnDestroy, goodbye)])
        sibling = runtime.world("demo")
        await sibling.info()
        await world.destroy()
        for handle in (world, sibling):
            with pytest.raises(WorldClosed):
                await handle.spawn(Position())
        assert ticks == [1]
        rows = (await runtime.history(1000)).where("type = 'spawn'").to_pydict()
        assert rows["world_id"] == [world.world_id]
        fresh = runtime.world("demo")
        assert await fresh.activate() != world.world_id

    with_runtime(main)


def test_refused_shutdown_leaves_the_handle_valid() -> None:
    """An actor who may not close a world gets PermissionDenied, and the world stays up (SC5)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        world = await moving(runtime, "demo")
        player = world.as_actor(ActorCtx("p", {PLAYER}))
        with pytest.raises(PermissionDenied):
            await player.shutdown()
        with pytest.raises(PermissionDenied):
            await player.destroy()
        await player.spawn(Position())
        await world.step()

    with_runtime(main)


@pytest.mark.parametrize("is_fork_first", [True, False])
def test_fork_and_source_end_in_either_order(is_fork_first: bool) -> None:
    """Source and fork may end in either order, and the other one still steps (L4, RT13)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        source = await moving(runtime, "source")
        fork = await source.fork("fork")
        assert fork.world_id != source.world_id
        assert fork.name == "fork"
        assert fork.actor is source.actor
        first, second = (fork, source) if is_fork_first else (source, fork)
        await first.shutdown()
        await second.run(2)
        assert xs(await second.query(Position)) == [0.0, 1.0, 2.0]

    with_runtime(main)


def test_forks_diverge() -> None:
    """Changes in a fork do not appear in its source, and the diff of both shows them (R3)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        source = await moving(runtime, "source")
        fork = await source.fork()
        await fork.update(1, Velocity(dx=-1.0))
        await asyncio.gather(source.run(3), fork.run(3))
        assert await source.get(1, Position) == Position(x=3.0)
        diff = (await source.diff(source, fork)).to_pydict()
        assert diff["column"] == ["position__x", "velocity__dx"]
        assert (await source.diff((source, 0), (fork, 0))).count_rows() == 0
        assert (await fork.diff(0, 1)).to_pydict()["after"] == ["1.0", "-1.0"]
        past = await source.fork(at_tick=1, rng="fresh")
        assert (await past.info()).tick == 2
        await source.spawn(Position())
        with pytest.raises(PendingMutations):
            await source.fork()
        assert (await (await source.fork(pending="copy")).info()).pending == 1
        with pytest.raises(WorldExists):
            await source.fork("source", pending="copy")

    with_runtime(main)


def test_runtime_shutdown_is_last_in_first_out(tmp_path: Path) -> None:
    """A runtime closes its worlds in the reverse order of their activation, forks included, once (RT5)."""
    storage = f"journal:{tmp_path}/data"

    async def main() -> list[str]:
        runtime = ArchetypeRuntime(storage)
        async with runtime:
            worlds = [await moving(runtime, name) for name in ("a", "b")]
            worlds.append(await worlds[0].fork("c"))
            runtime.world("never used")
        await runtime.shutdown()
        for handle in worlds:
            with pytest.raises(RuntimeClosed):
                await handle.info()
        with pytest.raises(RuntimeClosed):
            runtime.world("d")
        with pytest.raises(RuntimeClosed):
            await runtime.worlds()
        with pytest.raises(RuntimeClosed):
            await runtime.__aenter__()
        assert "shut down" in repr(runtime)
        assert "shut down" in repr(worlds[0])
        names = {world.world_id: world.name for world in worlds}

        async with ArchetypeRuntime(storage) as later:
            # The audit log of a storage can be read when one of its worlds is up.
            await later.open("a").activate()
            rows = (await later.history(type="close_world", oldest_first=True)).to_pydict()
        return [names[one] for one in rows["world_id"]]

    assert asyncio.run(main()) == ["c", "b", "a"]


def test_shutdown_errors_come_together(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A shutdown closes everything before it raises errors as one group; a second one succeeds (RT5)."""
    # The metadata that an installed package with a store has.
    installed = tmp_path / "stubborn-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: stubborn\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[archetype.stores]\nstubborn = test_lifecycle:Stubborn\n")
    monkeypatch.syspath_prepend(tmp_path)

    async def main() -> None:
        runtime = ArchetypeRuntime("memory:")
        good = await moving(runtime, "good")
        await moving(runtime, "bad", storage=f"stubborn:{tmp_path}/x")
        with pytest.raises(ExceptionGroup) as raised:
            await runtime.shutdown()
        assert raised.group_contains(OSError, match="no")
        assert not good.is_active
        await runtime.shutdown()

    asyncio.run(main())


class Stubborn(MemoryStore):
    """A store whose `close` fails."""

    def __init__(self, uri: str) -> None:
        super().__init__()

    def close(self) -> None:
        raise OSError("no")


def test_shutdown_ends_a_run_at_a_tick() -> None:
    """A run whose world is shut down ends with WorldClosed after a whole tick, which is stored (C4)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        loop, stepped = asyncio.get_running_loop(), asyncio.Event()
        world = runtime.world("demo", processors=[Calls(lambda: loop.call_soon_threadsafe(stepped.set))])
        await world.spawn(Position())
        run = asyncio.create_task(world.run(1_000_000))
        await stepped.wait()
        await world.shutdown()
        with pytest.raises(WorldClosed):
            await run
        again = runtime.open(world.world_id)
        info = await again.info()
        assert 0 < info.tick < 1_000_000
        assert (await again.query(Position)).count_rows() == info.tick

    with_runtime(main, storage="memory:ends-a-run")
    MemoryStore.forget("ends-a-run")


def test_runtime_shutdown_ends_runs_and_forks() -> None:
    """A runtime that is shut down during a run and forks leaves no usable world and no task (C4)."""

    async def main() -> None:
        runtime = ArchetypeRuntime("memory:")
        stepped = asyncio.Event()

        async def mark() -> None:
            stepped.set()

        world = runtime.world("demo", processors=[AwaitsCall(mark)])
        await world.spawn(Position())
        run = asyncio.create_task(world.run(1_000_000))
        await stepped.wait()
        forks = [asyncio.create_task(world.fork(at_tick=0)) for _ in range(5)]
        await asyncio.sleep(0)
        await runtime.shutdown()
        outcomes = await asyncio.gather(run, *forks, return_exceptions=True)
        assert isinstance(outcomes[0], WorldClosed | RuntimeClosed)
        for one in outcomes[1:]:
            if isinstance(one, RuntimeWorld):
                with pytest.raises(RuntimeClosed):
                    await one.info()
            else:
                assert isinstance(one, WorldClosed | RuntimeClosed)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())


def test_shutdown_races_with_forks() -> None:
    """A fork at the time of its source's shutdown either works or is WorldClosed (C4)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        for number in range(5):
            source = await moving(runtime, f"source-{number}")
            forks = [asyncio.create_task(source.fork()) for _ in range(3)]
            for _ in range(number):
                await asyncio.sleep(0)
            await source.shutdown()
            for one in await asyncio.gather(*forks, return_exceptions=True):
                if isinstance(one, RuntimeWorld):
                    await one.step()
                else:
                    assert isinstance(one, WorldClosed)

    with_runtime(main)


def test_fork_activates_its_source() -> None:
    """A fork as the first use activates its source (C4)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        source = runtime.world("source", processors=[Movement()])
        fork = await source.fork()
        assert len(await fork.list_processors()) == 1
        assert source.is_active

    with_runtime(main)


def test_runtimes_share_nothing(tmp_path: Path) -> None:
    """Runtimes of one process share no worlds, and each is shut down alone (RT9, L5)."""

    async def main() -> None:
        async with ArchetypeRuntime("memory:") as one:
            mine = await moving(one, "demo")
            async with ArchetypeRuntime("memory:") as other:
                theirs = await moving(other, "demo")
                assert mine.world_id != theirs.world_id
                assert len(await one.worlds()) == 1
            await mine.step()
            with pytest.raises(RuntimeClosed):
                await theirs.step()

    asyncio.run(main())


def test_run_all() -> None:
    """`run_all` runs every world of the runtime, declared ones and forks too, and raises errors as one group."""

    async def main(runtime: ArchetypeRuntime) -> None:
        one = await moving(runtime, "one")
        await one.fork("fork")
        runtime.world("declared")
        results = await runtime.run_all(2)
        assert [result.steps for result in results] == [2, 2, 2]
        assert {result.world_id for result in results} == {info.world_id for info in await runtime.worlds()}
        assert (await one.info()).tick == 3

        def fail() -> None:
            raise ArithmeticError

        await one.add_processor(Calls(fail))
        with pytest.raises(ExceptionGroup) as raised:
            await runtime.run_all(1)
        assert len(raised.value.exceptions) == 1
        assert sorted(info.tick for info in await runtime.worlds()) == [3, 3, 4]

    with_runtime(main)


def test_history_is_the_gates() -> None:
    """`history` reads the gate's audit log, filtered and limited; an empty frame has the same columns (RT10)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        world = await moving(runtime, "demo")
        rows = (await world.history(oldest_first=True)).to_pydict()
        assert rows["type"][0] == "create_world"
        assert set(rows["world_id"]) == {world.world_id}
        assert rows["roles"][0] == ["admin"]
        spawned = (await world.history(type="spawn")).to_pydict()
        assert (spawned["status"], spawned["tick"]) == (["applied"], [0])
        assert (await world.history(2)).count_rows() == 2
        empty = await world.history(actor="nobody")
        assert empty.count_rows() == 0
        assert empty.column_names == list(rows)

    with_runtime(main)


def test_hooks_of_a_fork_get_a_handle_of_the_fork() -> None:
    """A hook that a fork inherited is called with a handle of the fork (R3)."""
    called: list[tuple[str, str]] = []

    async def note(event: PostTick) -> None:
        called.append((event.world.name, (await event.world.info()).world_id))

    async def main(runtime: ArchetypeRuntime) -> None:
        source = await moving(runtime, "source", hooks=[(PostTick, note)])
        fork = await source.fork("fork")
        await fork.step()
        assert called == [("source", source.world_id), ("fork", fork.world_id)]

    with_runtime(main)
