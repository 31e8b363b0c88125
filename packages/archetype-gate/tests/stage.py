"""What the gate's tests share: actors, components, a processor, and gates that are shut down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from daft import DataFrame

from archetype_core import AsyncProcessor, Component, RunConfig, StorageConfig
from archetype_core.command import (
    ActorCtx,
    AddProcessor,
    AuditFilter,
    AuditRow,
    CommandGate,
    CreateWorld,
    GetComponents,
    GetHistory,
    OpenWorld,
    Query,
    Run,
    Step,
    WorldInfo,
)
from archetype_gate import Quotas, ServiceContainer

ADMIN = ActorCtx("ada", {"admin"})
PLAYER = ActorCtx("pat", {"player"})
VIEWER = ActorCtx("vic", {"viewer"})
PATIENCE_S = 60


class Position(Component):
    """Where an entity is."""

    x: float = 0.0


class Velocity(Component):
    """How far it moves in a tick."""

    dx: float = 0.0


class Done(Component):
    """A mark that ends episodes."""


class Move(AsyncProcessor):
    """Adds the one to the other."""

    components = (Position, Velocity)

    def process(self, df: DataFrame) -> DataFrame:
        """The moved frame."""
        return df.with_column("position__x", Position.x + Velocity.dx)


class Fails(AsyncProcessor):
    """Raises as long as it is told to."""

    components = (Position,)

    def __init__(self) -> None:
        self.is_failing = True

    def process(self, df: DataFrame) -> DataFrame:
        """The same frame, or an error."""
        if self.is_failing:
            raise RuntimeError("no tick today")
        return df


class SetClock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 1, 1, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment

    def turn_day(self) -> None:
        self.moment += timedelta(days=1)


@asynccontextmanager
async def gate(**given: Any) -> AsyncIterator[CommandGate]:
    """A gate whose admin is not counted, shut down at the end."""
    given.setdefault("quotas", Quotas(exempt=frozenset({ADMIN.id})))
    container = ServiceContainer(**given)
    try:
        yield container.gate
    finally:
        await container.shutdown()


def at(path: Path) -> StorageConfig:
    """A storage on disk."""
    return StorageConfig(f"journal:{path / 'data'}")


async def made(there: CommandGate, storage: StorageConfig, name: str = "w", *processors: AsyncProcessor) -> str:
    """The id of a new world."""
    info = await there.execute(ADMIN, CreateWorld(name, storage, seed=1))
    for processor in processors:
        await there.execute(ADMIN, AddProcessor(processor), info.world_id)
    return info.world_id


async def opened(there: CommandGate, storage: StorageConfig, name: str = "w") -> WorldInfo:
    """A world that was there before."""
    return await there.execute(ADMIN, OpenWorld(name, storage))


async def step(there: CommandGate, world_id: str) -> int:
    """Make a tick and say which."""
    return (await there.execute(ADMIN, Step(), world_id)).tick


async def run(there: CommandGate, world_id: str, steps: int) -> None:
    """Make some ticks."""
    await there.execute(ADMIN, Run(RunConfig(steps=steps)), world_id)


async def xs(there: CommandGate, world_id: str) -> dict[tuple[int, int], float]:
    """The whole history of x by entity and tick."""
    frame = await there.execute(ADMIN, Query((Position,)), world_id)
    rows = (await asyncio.to_thread(frame.to_arrow)).to_pylist()
    return {(row["entity_id"], row["tick"]): row["position__x"] for row in rows}


async def position(there: CommandGate, world_id: str, entity_id: int) -> float:
    """Where a live entity is."""
    (found,) = await there.execute(ADMIN, GetComponents(entity_id, (Position,)), world_id)
    return found.x


async def rows(there: CommandGate, world_id: str | None = None, **which: Any) -> list[AuditRow]:
    """Audit rows, oldest first, without those of the reading itself."""
    found = await there.execute(ADMIN, GetHistory(AuditFilter(limit=10_000, oldest_first=True, **which)), world_id)
    return [row for row in found if row.type not in ("get_audit_history", "query_world")]


def drive(scenario: Callable[[], Awaitable[None]]) -> None:
    """Run a scenario to its end, or fail for having waited too long."""

    async def patient() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await scenario()

    asyncio.run(patient())
