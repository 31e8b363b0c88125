"""A process that sends commands with keys, prints each result, and dies at a given moment of writing."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from archetype_core import Component, RunConfig, StorageConfig
from archetype_core.command import (
    ActorCtx,
    CommandGate,
    CreateWorld,
    DestroyWorld,
    EntityCommand,
    EpisodeConfig,
    ForkWorld,
    IdempotencyKey,
    RolloutConfig,
    Run,
    RunEpisode,
    RunRollout,
    Spawn,
    SpawnMany,
    Step,
    Update,
)
from archetype_core.store import TickCommit
from archetype_gate import ServiceContainer
from archetype_gate.database import connect
from archetype_gate.sqlite import SqliteLedger
from archetype_journal import JournalStore

ADMIN = ActorCtx("ada", {"admin"})
EPISODE = EpisodeConfig(max_steps=2)


class Purse(Component):
    number: int = 0


class Moments:
    """Counts the moments before and after each commit of the ledger and of the store; the process dies at one of them."""

    def __init__(self, last: int) -> None:
        self.count, self._last = 0, last

    def pass_one(self) -> None:
        """Pass a moment, or die."""
        self.count += 1
        if self.count == self._last:
            os._exit(9)


class Watched(sqlite3.Connection):
    """A connection whose commits are counted."""

    moments: Moments

    def execute(self, query: str, *values: Any) -> sqlite3.Cursor:  # type: ignore[override]  # reason: called like this
        if query != "COMMIT":
            return super().execute(query, *values)
        self.moments.pass_one()
        done = super().execute(query, *values)
        self.moments.pass_one()
        return done


def container_of(moments: Moments) -> ServiceContainer:
    """A gate whose writes are counted."""
    commit = JournalStore.commit

    def counted(self: JournalStore, ticks: Sequence[TickCommit]) -> None:
        moments.pass_one()
        commit(self, ticks)
        moments.pass_one()

    JournalStore.commit = counted  # type: ignore[method-assign]  # reason: a process of its own

    def watched(path: str) -> sqlite3.Connection:
        connect(path).close()
        kind = type("Counted", (Watched,), {"moments": moments})
        made: sqlite3.Connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=kind)
        made.execute("PRAGMA synchronous = FULL")
        return made

    return ServiceContainer(open_ledger=lambda path: SqliteLedger(path, connect=watched))


Call = Callable[[dict[str, Any]], Awaitable[Any]]


def calls(gate: CommandGate, storage: StorageConfig) -> list[tuple[str, Call]]:
    """Every call by its key, in order; each takes the results of those before it."""

    def key(name: str) -> IdempotencyKey:
        return IdempotencyKey(name, name)

    def send(name: str, command: Any, to: str = "create") -> tuple[str, Call]:
        return name, lambda made: gate.execute(ADMIN, command, made[to].world_id, key=key(name))

    def create(name: str, world: str) -> tuple[str, Call]:
        return name, lambda _: gate.execute(ADMIN, CreateWorld(world, storage, seed=1), key=key(name))

    coins: list[EntityCommand[Any]] = [Spawn((Purse(number=6),)), Update(1, (Purse(number=7),))]
    return [
        create("create", "w"),
        send("spawn", Spawn((Purse(number=1),))),
        send("spawn many", SpawnMany(((Purse(number=2),), (Purse(number=3),)))),
        send("step", Step()),
        ("submit", lambda made: gate.submit_batch(ADMIN, coins, made["create"].world_id, key=key("submit"))),
        send("update", Update(2, (Purse(number=9),))),
        send("run", Run(RunConfig(steps=4))),
        send("episode", RunEpisode(EPISODE)),
        send("fork", ForkWorld("f")),
        send("rollout", RunRollout(RolloutConfig(num_episodes=2, episode_config=EPISODE))),
        create("create another", "other"),
        send("destroy", DestroyWorld(), "create another"),
        send("last step", Step()),
    ]


async def send_all(gate: CommandGate, storage: StorageConfig, told: Callable[[str, Any], None]) -> dict[str, Any]:
    """Send every call, and return the results."""
    made: dict[str, Any] = {}
    for name, call in calls(gate, storage):
        made[name] = await call(made)
        told(name, made[name])
    return made


async def main(place: Path, last: int) -> None:
    """Send every call, and die at the moment with a number; 0 is never."""
    moments = Moments(last)
    container = container_of(moments)
    storage = StorageConfig(f"journal:{place}")

    def told(name: str, result: Any) -> None:
        print(f"{name}\t{result!r}", flush=True)  # reason: what the parent reads

    await send_all(container.gate, storage, told)
    print(f"moments\t{moments.count}", flush=True)  # reason: what the parent reads
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
