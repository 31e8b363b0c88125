"""A process that kills itself around the commit of a tick in which a processor sends commands."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from gate_opener import Service

from archetype_contracts import GateLimits
from archetype_contracts.gate.sample import Coin, Failing
from archetype_core.clock import SystemClock
from archetype_core.command import ActorCtx, AddProcessor, CreateWorld, Spawn, Step
from archetype_journal import JournalStore

ADMIN = ActorCtx("root", {"admin"})
_commit = JournalStore.commit


def die() -> None:
    """End this process at once."""
    os.kill(os.getpid(), signal.SIGKILL)


def dying_commit(moment: str) -> Any:
    """A commit of a journal in which the process dies: before it, or after it."""

    def commit(store: JournalStore, ticks: Any) -> None:
        if moment == "before":
            die()
        _commit(store, ticks)
        die()

    return commit


async def main(place: Path, moment: str) -> None:
    """Make a tick in which a processor submits to its own and to another world, and executes; die in its commit."""
    service = Service()
    async with service.open_gate(place, limits=GateLimits(), clock=SystemClock()) as gate:
        storage = service.storage(place)
        alpha = (await gate.execute(ADMIN, CreateWorld("alpha", storage))).world_id
        beta = (await gate.execute(ADMIN, CreateWorld("beta", storage))).world_id
        await gate.execute(ADMIN, Spawn((Coin(number=1),)), alpha)
        await gate.execute(ADMIN, Step(), alpha)
        sender = Failing()
        sender.is_failing = False
        await gate.execute(ADMIN, AddProcessor(sender), alpha)

        async def act() -> None:
            await gate.submit(ADMIN, Spawn((Coin(number=2),)), alpha)
            await gate.submit(ADMIN, Spawn((Coin(number=3),)), beta)
            await gate.execute(ADMIN, Spawn((Coin(number=4),)), alpha, durable=True)

        sender.act = act
        await gate.flush()
        JournalStore.commit = dying_commit(moment)  # type: ignore[method-assign]  # reason: this process dies in it
        await gate.execute(ADMIN, Step(), alpha)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
