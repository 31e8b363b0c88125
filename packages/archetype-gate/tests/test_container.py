"""Constructing and shutting down a gate."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest
from stage import (
    ADMIN,
    Move,
    Position,
    Velocity,
    create_world,
    journal_at,
    open_gate,
    run_scenario,
    step,
)

from archetype_core import PostTick, RunConfig, StorageConfig
from archetype_core.command import (
    AddHook,
    CloseWorld,
    CreateWorld,
    ForkWorld,
    GetHistory,
    GetWorldInfo,
    ListWorlds,
    OpenWorld,
    Run,
    Spawn,
)
from archetype_core.errors import (
    GateClosed,
    ReentrantStep,
    WorldClosed,
    WorldNotFound,
)
from archetype_gate import Quotas, ServiceContainer, verify

MEMORY = StorageConfig("memory:")


def test_constructing_a_gate_does_no_io(tmp_path: Path) -> None:
    """A container that was only constructed has no files and nothing to shut down (C1)."""

    async def scenario() -> None:
        container = ServiceContainer(ledger=tmp_path / "ledgers")
        assert list(tmp_path.iterdir()) == []
        await container.shutdown()
        assert list(tmp_path.iterdir()) == []
        with pytest.raises(GateClosed):
            await container.gate.execute(ADMIN, ListWorlds())

    run_scenario(scenario)


def test_gates_share_nothing() -> None:
    """Two gates of one process have their own worlds and memory (R9, L5)."""

    async def scenario() -> None:
        async with open_gate() as one, open_gate() as two:
            first = await create_world(one, MEMORY)
            await create_world(two, MEMORY)
            with pytest.raises(WorldNotFound):
                await step(two, first)

    run_scenario(scenario)


def test_shutdown_during_runs_forks_and_creations(tmp_path: Path) -> None:
    """A shutdown during runs, forks and creations ends or refuses each, and loses no tick (C4)."""

    async def scenario() -> None:
        container = ServiceContainer(quotas=Quotas(exempt=frozenset({ADMIN.id})))
        gate = container.gate
        base = await create_world(gate, journal_at(tmp_path), "base", Move())
        await gate.execute(ADMIN, Spawn((Position(), Velocity(dx=1.0))), base)
        await step(gate, base)

        async def busy(number: int) -> None:
            with contextlib.suppress(GateClosed, WorldClosed, WorldNotFound):
                if number % 3 == 0:
                    info = await gate.execute(ADMIN, CreateWorld(f"w{number}", journal_at(tmp_path)))
                else:
                    info = await gate.execute(ADMIN, ForkWorld(f"w{number}"), base)
                while True:
                    await gate.execute(ADMIN, Run(RunConfig(steps=5)), info.world_id)

        tasks = [asyncio.create_task(busy(number)) for number in range(12)]
        while (await gate.execute(ADMIN, GetWorldInfo(), base)).tick < 2:
            await step(gate, base)
        await asyncio.gather(container.shutdown(), container.shutdown())
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [one for one in outcomes if isinstance(one, Exception)] == []
        with pytest.raises(GateClosed):
            await step(gate, base)
        assert verify(journal_at(tmp_path)) == []
        async with open_gate() as again:
            infos = await again.execute(ADMIN, ListWorlds(journal_at(tmp_path)))
            for info in infos:
                back = await again.execute(ADMIN, OpenWorld(info.world_id, journal_at(tmp_path)))
                assert back.tick == info.tick
                await step(again, info.world_id)

    run_scenario(scenario)


def test_calls_in_flight_finish_before_the_ledger_closes() -> None:
    """A call in flight at shutdown returns its result or raises GateClosed, never a closed ledger."""

    async def scenario() -> None:
        for _ in range(30):
            container = ServiceContainer()
            gate = container.gate
            ids = [await create_world(gate, MEMORY, f"w{number}") for number in range(3)]
            tasks = [asyncio.create_task(gate.execute(ADMIN, CloseWorld(), one)) for one in ids]
            more = asyncio.create_task(gate.execute(ADMIN, GetHistory(), ids[0]))
            await asyncio.sleep(0)
            await container.shutdown()
            for outcome in await asyncio.gather(*tasks, more, return_exceptions=True):
                assert not isinstance(outcome, BaseException) or isinstance(outcome, GateClosed)

    run_scenario(scenario)


def test_shutdown_from_a_hook_is_refused() -> None:
    """A shutdown from inside a tick raises ReentrantStep and closes nothing (T15, C4)."""

    async def scenario() -> None:
        container = ServiceContainer(quotas=Quotas(exempt=frozenset({ADMIN.id})))
        gate = container.gate
        world_id = await create_world(gate, MEMORY)
        refused: list[BaseException] = []

        async def end(event: PostTick) -> None:
            try:
                await container.shutdown()
            except ReentrantStep as refusal:
                refused.append(refusal)

        await gate.execute(ADMIN, AddHook(PostTick, end), world_id)
        for _ in range(2):
            await step(gate, world_id)
        assert len(refused) == 2
        await container.shutdown()

    run_scenario(scenario)
