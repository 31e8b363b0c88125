"""Actors, components, processors and helpers that the gate's tests share."""

from __future__ import annotations

import asyncio
import sqlite3
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
from archetype_gate import Ledger, Quotas, ServiceContainer, SqliteLedger
from archetype_gate.database import connect

ADMIN = ActorCtx("ada", {"admin"})
PLAYER = ActorCtx("pat", {"player"})
VIEWER = ActorCtx("vic", {"viewer"})
TIMEOUT_S = 60


class Position(Component):
    """A coordinate."""

    x: float = 0.0


class Velocity(Component):
    """The distance moved in a tick."""

    dx: float = 0.0


class Done(Component):
    """Ends episodes."""


class Move(AsyncProcessor):
    """Adds the velocity to the position."""

    components = (Position, Velocity)

    def process(self, df: DataFrame) -> DataFrame:
        """Return the moved rows."""
        return df.with_column("position__x", Position.c.x + Velocity.c.dx)


class Fails(AsyncProcessor):
    """Raises while ``is_failing``."""

    components = (Position,)

    def __init__(self) -> None:
        self.is_failing = True

    def process(self, df: DataFrame) -> DataFrame:
        """Return the rows unchanged, or raise."""
        if self.is_failing:
            raise RuntimeError("the processor fails")
        return df


class SetClock:
    """A clock that moves only when set."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 1, 1, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment

    def turn_day(self) -> None:
        self.moment += timedelta(days=1)


class LimitedDisk:
    """Opens ledgers whose file cannot grow while the disk is full."""

    def __init__(self) -> None:
        self._connections: list[sqlite3.Connection] = []

    def connect(self, path: str) -> sqlite3.Connection:
        """Connect to a ledger, for ``SqliteLedger(connect=…)``."""
        connection = connect(path)
        self._connections.append(connection)
        return connection

    def open_ledger(self, path: Path | None) -> Ledger:
        """Open a ledger on this disk, for ``ServiceContainer(open_ledger=…)``."""
        return SqliteLedger(path, connect=self.connect)

    def fill(self) -> None:
        """Let no file grow any more."""
        for connection in self._connections:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            connection.execute(f"PRAGMA max_page_count = {pages}")

    def free(self) -> None:
        """Let files grow again."""
        for connection in self._connections:
            connection.execute("PRAGMA max_page_count = 1000000")


@asynccontextmanager
async def open_gate(**given: Any) -> AsyncIterator[CommandGate]:
    """Open a gate that exempts the admin from quotas, and shut it down."""
    given.setdefault("quotas", Quotas(exempt=frozenset({ADMIN.id})))
    container = ServiceContainer(**given)
    try:
        yield container.gate
    finally:
        await container.shutdown()


def journal_at(path: Path) -> StorageConfig:
    """A journal in a directory."""
    return StorageConfig(f"journal:{path / 'data'}")


async def create_world(gate: CommandGate, storage: StorageConfig, name: str = "w", *processors: AsyncProcessor) -> str:
    """Create a world and return its id."""
    info = await gate.execute(ADMIN, CreateWorld(name, storage, seed=1))
    for processor in processors:
        await gate.execute(ADMIN, AddProcessor(processor), info.world_id)
    return info.world_id


async def open_world(gate: CommandGate, storage: StorageConfig, name: str = "w") -> WorldInfo:
    """Open a stored world."""
    return await gate.execute(ADMIN, OpenWorld(name, storage))


async def step(gate: CommandGate, world_id: str) -> int:
    """Make a tick and return its number."""
    return (await gate.execute(ADMIN, Step(), world_id)).tick


async def run_steps(gate: CommandGate, world_id: str, steps: int) -> None:
    """Make several ticks."""
    await gate.execute(ADMIN, Run(RunConfig(steps=steps)), world_id)


async def x_history(gate: CommandGate, world_id: str) -> dict[tuple[int, int], float]:
    """Return every stored x by entity and tick."""
    frame = await gate.execute(ADMIN, Query((Position,)), world_id)
    rows = (await asyncio.to_thread(frame.to_arrow)).to_pylist()
    return {(row["entity_id"], row["tick"]): row["position__x"] for row in rows}


async def position_of(gate: CommandGate, world_id: str, entity_id: int) -> float:
    """Return the x of a live entity."""
    (found,) = await gate.execute(ADMIN, GetComponents(entity_id, (Position,)), world_id)
    assert isinstance(found, Position)
    return found.x


async def audit_rows(gate: CommandGate, world_id: str | None = None, **which: Any) -> list[AuditRow]:
    """Return audit rows, oldest first, without those of reads."""
    found = await gate.execute(ADMIN, GetHistory(AuditFilter(limit=10_000, oldest_first=True, **which)), world_id)
    return [row for row in found if row.type not in ("get_audit_history", "query_world")]


def run_scenario(scenario: Callable[[], Awaitable[None]]) -> None:
    """Run a scenario; fail if it takes more than a minute."""

    async def with_timeout() -> None:
        async with asyncio.timeout(TIMEOUT_S):
            await scenario()

    asyncio.run(with_timeout())
