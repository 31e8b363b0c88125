"""Creating, opening, forking, closing and destroying worlds, also at the same time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from stage import (
    ADMIN,
    PLAYER,
    Move,
    Position,
    Velocity,
    audit_rows,
    create_world,
    journal_at,
    open_gate,
    open_world,
    position_of,
    run_scenario,
    run_steps,
    step,
)

from archetype_core import PreTick, RunConfig, StorageConfig
from archetype_core.command import (
    AddHook,
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
from archetype_core.errors import (
    PendingMutations,
    ReentrantStep,
    WorldClosed,
    WorldExists,
    WorldNotFound,
)

MEMORY = StorageConfig("memory:")


def test_creating_is_idempotent_by_id(tmp_path: Path) -> None:
    """Creating is idempotent by id, refuses a taken name, and leaves nothing behind when refused (G8)."""

    async def scenario() -> None:
        storage = journal_at(tmp_path)
        async with open_gate() as gate:
            one = await gate.execute(ADMIN, CreateWorld("w", storage, world_id="mine"))
            assert await gate.execute(ADMIN, CreateWorld("w", storage, world_id="mine")) == one
            with pytest.raises(WorldExists):
                await gate.execute(ADMIN, CreateWorld("w", storage))
            with pytest.raises(ValueError, match="seed"):
                await gate.execute(ADMIN, CreateWorld("bad", storage, seed=-1))
            assert [info.name for info in await gate.execute(ADMIN, ListWorlds(storage))] == ["w"]
        async with open_gate() as gate:
            again = await gate.execute(ADMIN, CreateWorld("w", storage, world_id="mine"))
            assert (again.world_id, again.run_id, again.seed) == (one.world_id, one.run_id, one.seed)
            assert await gate.execute(ADMIN, DestroyWorld(), "mine")
            assert not await gate.execute(ADMIN, DestroyWorld(), "mine")
            assert not await gate.execute(ADMIN, CloseWorld(), "never")
            other = await gate.execute(ADMIN, CreateWorld("w", storage))
            assert other.world_id != "mine"
            with pytest.raises(WorldExists):
                await open_world(gate, storage, "mine")

    run_scenario(scenario)


def test_destroying_keeps_history(tmp_path: Path) -> None:
    """A destroyed world keeps its rows and audit rows, and its waiting commands are recorded as failed (G8)."""

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await create_world(gate, journal_at(tmp_path))
            await gate.execute(ADMIN, Spawn((Position(x=1.0),)), world_id)
            await step(gate, world_id)
            await gate.submit_spawn(PLAYER, world_id, Position())
            await gate.execute(ADMIN, DestroyWorld(), world_id)
            assert [row.status for row in await audit_rows(gate, world_id, type="spawn")] == ["applied", "failed"]
            back = await open_world(gate, journal_at(tmp_path), world_id)
            assert (back.tick, back.queued, back.entities) == (1, 0, 1)

    run_scenario(scenario)


def test_destroyed_worlds_are_not_listed(tmp_path: Path) -> None:
    """A destroyed world is not listed, and is still opened by its id (G8)."""

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await create_world(gate, journal_at(tmp_path))
            await step(gate, world_id)
            fork = await gate.execute(ADMIN, ForkWorld("gone"), world_id)
            await step(gate, fork.world_id)
            await gate.execute(ADMIN, DestroyWorld(), fork.world_id)
            assert [one.name for one in await gate.execute(ADMIN, ListWorlds(journal_at(tmp_path)))] == ["w"]
            assert (await open_world(gate, journal_at(tmp_path), fork.world_id)).tick == 2

    run_scenario(scenario)


def test_a_fork_copies_staged_commands(tmp_path: Path) -> None:
    """With pending="copy" the staged commands are applied once in each of the two worlds (R3, G5)."""

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await create_world(gate, journal_at(tmp_path))
            await step(gate, world_id)
            entity = await gate.execute(ADMIN, Spawn((Position(x=5.0),)), world_id)
            with pytest.raises(PendingMutations):
                await gate.execute(ADMIN, ForkWorld("refused"), world_id)
            fork = await gate.execute(ADMIN, ForkWorld("copy", pending="copy"), world_id)
            await step(gate, world_id)
        async with open_gate() as gate:
            for name in ("w", "copy"):
                info = await open_world(gate, journal_at(tmp_path), name)
                await step(gate, info.world_id)
                assert await position_of(gate, info.world_id, entity) == 5.0
                assert info.entities + info.pending == 1
            assert [row.status for row in await audit_rows(gate, fork.world_id, type="copied")] == ["applied"]

    run_scenario(scenario)


def test_worlds_run_side_by_side(tmp_path: Path) -> None:
    """Worlds of one gate run at the same time (T14)."""

    async def scenario() -> None:
        async with open_gate() as gate:
            ids = [await create_world(gate, journal_at(tmp_path), f"w{n}", Move()) for n in range(4)]
            for world_id in ids:
                await gate.execute(ADMIN, Spawn((Position(), Velocity(dx=1.0))), world_id)
            await asyncio.gather(*(gate.execute(ADMIN, Run(RunConfig(steps=50)), one) for one in ids))
            assert [await position_of(gate, one, 1) for one in ids] == [49.0] * 4
            runs = await gate.execute(ADMIN, GetHistory())
            assert sum(row.type == "run" for row in runs) == 4

    run_scenario(scenario)


def test_concurrent_creation_with_one_id_creates_one_world(tmp_path: Path) -> None:
    """A hundred concurrent callers who create one world id get one world (C2, G8, S5)."""

    async def scenario() -> None:
        async with open_gate() as gate:
            command = CreateWorld("w", journal_at(tmp_path), world_id="mine", seed=1)
            infos = await asyncio.gather(*(gate.execute(ADMIN, command) for _ in range(100)))
            assert {info.run_id for info in infos} == {infos[0].run_id}
            worlds = await gate.execute(ADMIN, ListWorlds(journal_at(tmp_path)))
            assert len(worlds) == 1

    run_scenario(scenario)


def test_concurrent_creation_with_one_name_creates_one_world(tmp_path: Path) -> None:
    """Of a hundred concurrent callers who create one name, one succeeds and the others get WorldExists (G8)."""

    async def scenario() -> None:
        async with open_gate() as gate:
            outcomes = await asyncio.gather(
                *(gate.execute(ADMIN, CreateWorld("w", journal_at(tmp_path))) for _ in range(100)),
                return_exceptions=True,
            )
            assert sum(isinstance(one, WorldExists) for one in outcomes) == 99

    run_scenario(scenario)


def test_opening_waits_for_closing(tmp_path: Path) -> None:
    """A world that is closed and opened at the same time is never open twice (C4, S3)."""

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await create_world(gate, journal_at(tmp_path))
            for _ in range(20):
                await gate.execute(ADMIN, Spawn((Position(),)), world_id)
                await asyncio.gather(
                    gate.execute(ADMIN, CloseWorld(), world_id),
                    gate.execute(ADMIN, OpenWorld("w", journal_at(tmp_path))),
                )
                await open_world(gate, journal_at(tmp_path))
                await step(gate, world_id)
            info = await gate.execute(ADMIN, GetWorldInfo(), world_id)
            assert (info.tick, info.entities) == (20, 20)

    run_scenario(scenario)


def test_commands_accepted_while_closing_are_kept(tmp_path: Path) -> None:
    """Commands accepted while their world closes are applied once, when it is open again (G5)."""

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await create_world(gate, journal_at(tmp_path))
            accepted = 0

            async def send() -> None:
                nonlocal accepted
                for _ in range(20):
                    try:
                        await gate.submit_spawn(ADMIN, world_id, Position())
                        accepted += 1
                    except (WorldNotFound, WorldClosed):
                        await asyncio.sleep(0)

            async def toggle() -> None:
                for _ in range(10):
                    await gate.execute(ADMIN, CloseWorld(), world_id)
                    await open_world(gate, journal_at(tmp_path))

            await asyncio.gather(send(), send(), toggle())
            await gate.execute(ADMIN, CloseWorld(), world_id)
            await open_world(gate, journal_at(tmp_path))
            await step(gate, world_id)
            assert (await gate.execute(ADMIN, GetWorldInfo(), world_id)).entities == accepted
            assert {row.status for row in await audit_rows(gate, world_id, type="spawn")} <= {"applied", "rejected"}

    run_scenario(scenario)


def test_closing_from_inside_a_tick_is_refused() -> None:
    """A hook that closes or destroys its own world gets ReentrantStep, and the world stays (T15, C4)."""

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await create_world(gate, MEMORY)
            refused: list[str] = []

            async def end(event: PreTick) -> None:
                for command in (CloseWorld(), DestroyWorld()):
                    try:
                        await gate.execute(ADMIN, command, world_id)
                    except ReentrantStep:
                        refused.append(command.kind)

            await gate.execute(ADMIN, AddHook(PreTick, end), world_id)
            await step(gate, world_id)
            assert refused == ["close_world", "destroy_world"]
            assert await step(gate, world_id) == 1

    run_scenario(scenario)


def test_closing_ends_a_run_between_ticks(tmp_path: Path) -> None:
    """A run whose world is closed raises WorldClosed between two ticks, and its ticks are kept (C4, L2)."""

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await create_world(gate, journal_at(tmp_path), "w", Move())
            sibling = await create_world(gate, journal_at(tmp_path), "sibling", Move())
            await gate.execute(ADMIN, Spawn((Position(), Velocity(dx=1.0))), world_id)
            started = asyncio.Event()
            loop = asyncio.get_running_loop()

            def on_progress(done: int, steps: int) -> None:
                loop.call_soon_threadsafe(started.set)

            endless = Run(RunConfig(steps=10**9), progress=on_progress)
            going = asyncio.create_task(gate.execute(ADMIN, endless, world_id))
            await started.wait()
            assert await gate.execute(ADMIN, CloseWorld(), world_id)
            with pytest.raises(WorldClosed):
                await going
            with pytest.raises(WorldNotFound):
                await gate.execute(ADMIN, Step(), world_id)
            await run_steps(gate, sibling, 2)
            info = await open_world(gate, journal_at(tmp_path))
            assert info.tick > 0
            assert await step(gate, world_id) == info.tick

    run_scenario(scenario)
