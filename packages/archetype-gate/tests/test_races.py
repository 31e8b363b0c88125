"""What happens at the same time: first uses, closing, forking and running."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest
from stage import ADMIN, Move, Position, Velocity, at, drive, gate, made, opened, rows, run, step

from archetype_core import CacheConfig, RunConfig, StorageConfig
from archetype_core.command import (
    CloseWorld,
    CreateWorld,
    DestroyWorld,
    ForkWorld,
    GetHistory,
    GetWorldInfo,
    ListWorlds,
    OpenWorld,
    Run,
    Spawn,
    Step,
)
from archetype_core.errors import GateClosed, ReentrantStep, UnknownScheme, WorldClosed, WorldExists, WorldNotFound
from archetype_gate import Quotas, ServiceContainer, verify
from archetype_gate.storage import Backend, StorageService

MEMORY = StorageConfig("memory:")


def test_a_hundred_first_uses_make_one_world(tmp_path: Path) -> None:
    """A hundred callers who create one id at the same time get one world, and one backend (C2, G8, S5)."""

    async def scenario() -> None:
        async with gate() as there:
            command = CreateWorld("w", at(tmp_path), world_id="mine", seed=1)
            infos = await asyncio.gather(*(there.execute(ADMIN, command) for _ in range(100)))
            assert {info.run_id for info in infos} == {infos[0].run_id}
            assert len(await there.execute(ADMIN, ListWorlds(at(tmp_path)))) == 1

    drive(scenario)


def test_a_hundred_names_at_once_make_one_world(tmp_path: Path) -> None:
    """Of a hundred callers who take one name, one gets it and the others are told (G8)."""

    async def scenario() -> None:
        async with gate() as there:
            outcomes = await asyncio.gather(
                *(there.execute(ADMIN, CreateWorld("w", at(tmp_path))) for _ in range(100)), return_exceptions=True
            )
            assert sum(isinstance(one, WorldExists) for one in outcomes) == 99

    drive(scenario)


def test_backends_are_built_once_and_closed_once(tmp_path: Path) -> None:
    """Concurrent users of one storage share one backend; a different cache or namespace of options is another (S5)."""

    async def scenario() -> None:
        told: list[Backend] = []
        service = StorageService(None, told.append)
        found = await asyncio.gather(*(service.backend(at(tmp_path)) for _ in range(50)))
        assert len({id(one) for one in found}) == 1
        assert told == [found[0]]
        relative = await service.backend(StorageConfig(f"journal:{tmp_path}/x/../data"))
        assert relative.ledger is not None
        await service.close()
        await service.close()
        with pytest.raises(GateClosed):
            await service.backend(MEMORY)

    drive(scenario)


def test_a_backend_that_cannot_be_built_is_tried_again(tmp_path: Path) -> None:
    """Everybody who waited is told why, and the next one tries anew; nothing is left behind (C2)."""

    async def scenario() -> None:
        service = StorageService(None, lambda backend: None)
        missing = StorageConfig("nowhere:at-all")
        for _ in range(2):
            outcomes = await asyncio.gather(*(service.backend(missing) for _ in range(5)), return_exceptions=True)
            assert all(isinstance(one, UnknownScheme) for one in outcomes)
        blocked = tmp_path / "data"
        blocked.write_text("a file where the directory should be")
        with pytest.raises(Exception, match="data"):
            await service.backend(at(tmp_path))
        blocked.unlink()
        await service.backend(at(tmp_path))
        await service.close()

    drive(scenario)


def test_closing_a_running_world_ends_the_run_at_a_tick(tmp_path: Path) -> None:
    """A run whose world is closed ends with WorldClosed between two ticks, and every tick it made is there (C4, L2)."""

    async def scenario() -> None:
        async with gate() as there:
            world_id = await made(there, at(tmp_path), "w", Move())
            sibling = await made(there, at(tmp_path), "sibling", Move())
            await there.execute(ADMIN, Spawn((Position(), Velocity(dx=1.0))), world_id)
            started = asyncio.Event()
            loop = asyncio.get_running_loop()
            going = asyncio.create_task(
                there.execute(
                    ADMIN,
                    Run(RunConfig(steps=10**9), progress=lambda done, of: loop.call_soon_threadsafe(started.set)),
                    world_id,
                )
            )
            await started.wait()
            assert await there.execute(ADMIN, CloseWorld(), world_id)
            with pytest.raises(WorldClosed):
                await going
            with pytest.raises(WorldNotFound):
                await there.execute(ADMIN, Step(), world_id)
            await run(there, sibling, 2)
            info = await opened(there, at(tmp_path))
            assert info.tick > 0
            assert await step(there, world_id) == info.tick

    drive(scenario)


def test_shutting_down_while_everything_runs(tmp_path: Path) -> None:
    """A gate that is closed in the middle of runs, forks and first uses lets each end or refuses it, and loses nothing (C4)."""

    async def scenario() -> None:
        container = ServiceContainer(quotas=Quotas(exempt=frozenset({ADMIN.id})))
        there = container.gate
        base = await made(there, at(tmp_path), "base", Move())
        await there.execute(ADMIN, Spawn((Position(), Velocity(dx=1.0))), base)
        await step(there, base)

        async def busy(number: int) -> None:
            with contextlib.suppress(GateClosed, WorldClosed, WorldNotFound):
                if number % 3 == 0:
                    info = await there.execute(ADMIN, CreateWorld(f"w{number}", at(tmp_path)))
                else:
                    info = await there.execute(ADMIN, ForkWorld(f"w{number}"), base)
                while True:
                    await there.execute(ADMIN, Run(RunConfig(steps=5)), info.world_id)

        tasks = [asyncio.create_task(busy(number)) for number in range(12)]
        while (await there.execute(ADMIN, GetWorldInfo(), base)).tick < 2:
            await step(there, base)
        await asyncio.gather(container.shutdown(), container.shutdown())
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [one for one in outcomes if isinstance(one, Exception)] == []
        with pytest.raises(GateClosed):
            await step(there, base)
        assert verify(at(tmp_path)) == []
        async with gate() as again:
            infos = await again.execute(ADMIN, ListWorlds(at(tmp_path)))
            for info in infos:
                back = await again.execute(ADMIN, OpenWorld(info.world_id, at(tmp_path)))
                assert back.tick == info.tick
                await step(again, info.world_id)

    drive(scenario)


def test_opening_waits_for_closing(tmp_path: Path) -> None:
    """A world that is being closed and opened at the same time is never open twice (C4, S3)."""

    async def scenario() -> None:
        async with gate() as there:
            world_id = await made(there, at(tmp_path))
            for _ in range(20):
                await there.execute(ADMIN, Spawn((Position(),)), world_id)
                await asyncio.gather(
                    there.execute(ADMIN, CloseWorld(), world_id), there.execute(ADMIN, OpenWorld("w", at(tmp_path)))
                )
                await opened(there, at(tmp_path))
                await step(there, world_id)
            info = await there.execute(ADMIN, GetWorldInfo(), world_id)
            assert (info.tick, info.entities) == (20, 20)

    drive(scenario)


def test_submitting_to_a_world_that_closes_loses_nothing(tmp_path: Path) -> None:
    """What was accepted while its world was closed waits for it, and is applied once (G5)."""

    async def scenario() -> None:
        async with gate() as there:
            world_id = await made(there, at(tmp_path))
            accepted = 0

            async def send() -> None:
                nonlocal accepted
                for _ in range(20):
                    try:
                        await there.submit_spawn(ADMIN, world_id, Position())
                        accepted += 1
                    except (WorldNotFound, WorldClosed):
                        await asyncio.sleep(0)

            async def toggle() -> None:
                for _ in range(10):
                    await there.execute(ADMIN, CloseWorld(), world_id)
                    await opened(there, at(tmp_path))

            await asyncio.gather(send(), send(), toggle())
            await there.execute(ADMIN, CloseWorld(), world_id)
            await opened(there, at(tmp_path))
            await step(there, world_id)
            assert (await there.execute(ADMIN, GetWorldInfo(), world_id)).entities == accepted
            assert {row.status for row in await rows(there, world_id, type="spawn")} <= {"applied", "rejected"}

    drive(scenario)


def test_destroying_from_inside_a_tick_is_refused() -> None:
    """A hook that would close or destroy its own world is told, and the world stays (T15, C4)."""
    from archetype_core import PreTick
    from archetype_core.command import AddHook

    async def scenario() -> None:
        async with gate() as there:
            world_id = await made(there, MEMORY)
            told: list[str] = []

            async def end(event: PreTick) -> None:
                for command in (CloseWorld(), DestroyWorld()):
                    try:
                        await there.execute(ADMIN, command, world_id)
                    except ReentrantStep:
                        told.append(command.kind)

            await there.execute(ADMIN, AddHook(PreTick, end), world_id)
            await step(there, world_id)
            assert told == ["close_world", "destroy_world"]
            assert await step(there, world_id) == 1

    drive(scenario)


def test_gates_share_nothing() -> None:
    """Two gates of one process have worlds, quotas and memory of their own (R9, L5)."""

    async def scenario() -> None:
        async with gate() as one, gate() as two:
            first = await made(one, MEMORY)
            await made(two, MEMORY)
            with pytest.raises(WorldNotFound):
                await step(two, first)

    drive(scenario)


def test_what_is_under_way_is_answered_before_the_ledger_closes() -> None:
    """A command that is under way when its gate is closed gets its answer, or a refusal that says so; never a closed ledger."""

    async def scenario() -> None:
        for _ in range(30):
            container = ServiceContainer()
            there = container.gate
            ids = [await made(there, MEMORY, f"w{number}") for number in range(3)]
            tasks = [asyncio.create_task(there.execute(ADMIN, CloseWorld(), one)) for one in ids]
            more = asyncio.create_task(there.execute(ADMIN, GetHistory(), ids[0]))
            await asyncio.sleep(0)
            await container.shutdown()
            for outcome in await asyncio.gather(*tasks, more, return_exceptions=True):
                assert not isinstance(outcome, BaseException) or isinstance(outcome, GateClosed)

    drive(scenario)


def test_a_hook_cannot_shut_the_gate_down() -> None:
    """A shutdown from inside a tick is refused whole: nothing is closed under the tick's feet (T15, C4)."""
    from archetype_core import PostTick
    from archetype_core.command import AddHook

    async def scenario() -> None:
        container = ServiceContainer(quotas=Quotas(exempt=frozenset({ADMIN.id})))
        there = container.gate
        world_id = await made(there, MEMORY)
        told: list[BaseException] = []

        async def end(event: PostTick) -> None:
            try:
                await container.shutdown()
            except ReentrantStep as refusal:
                told.append(refusal)

        await there.execute(ADMIN, AddHook(PostTick, end), world_id)
        for _ in range(2):
            await step(there, world_id)
        assert len(told) == 2
        await container.shutdown()

    drive(scenario)


def test_a_storage_is_opened_once_whatever_is_said_of_its_cache(tmp_path: Path) -> None:
    """Who does not care how a journal keeps its ticks shares the one that is open (S5)."""

    async def scenario() -> None:
        service = StorageService(None, lambda backend: None)
        special = await service.backend(at(tmp_path), CacheConfig(durability="exit"))
        assert await service.backend(at(tmp_path)) is special
        assert await service.backend(at(tmp_path), CacheConfig(durability="tick")) is not special
        await service.close()

    drive(scenario)
