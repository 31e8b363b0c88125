"""The gate contract for the command service over a journal."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

from archetype_contracts import GateContract, GateLimits
from archetype_contracts.gate import Tampering
from archetype_core.clock import Clock
from archetype_core.command import CommandGate
from archetype_core.config import StorageConfig
from archetype_gate import CommandService, Quotas, ServiceContainer, verify

_: type[CommandGate] = CommandService


class TestCommandService(GateContract):
    """Worlds in a journal, with the ledger beside it."""

    examples = 30

    @asynccontextmanager
    async def open_gate(self, place: Path, *, limits: GateLimits, clock: Clock) -> AsyncIterator[CommandGate]:
        """Open the gate of a container."""
        quotas = Quotas(commands=limits.commands, credits=limits.credits, costs=limits.costs)
        container = ServiceContainer(quotas=quotas, clock=clock, ledger=place)
        try:
            yield container.gate
        finally:
            await container.shutdown()

    def storage(self, place: Path) -> StorageConfig:
        """A journal in a directory."""
        return StorageConfig(f"journal:{place / 'store'}")

    def verify(self, place: Path) -> Sequence[str]:
        """Check the hash chain of the ledger."""
        return [str(damage) for damage in verify(self.storage(place), ledger=place)]

    def tamper(self, place: Path, how: Tampering) -> None:
        """Change audit rows in the ledger's file."""
        with closing(sqlite3.connect(place / "store" / "ledger.sqlite")) as connection, connection:
            numbers = [seq for (seq,) in connection.execute("SELECT seq FROM audit ORDER BY seq")]
            one, two = numbers[len(numbers) // 2 - 1 : len(numbers) // 2 + 1]
            if how == "edit":
                connection.execute("UPDATE audit SET actor = 'somebody else' WHERE seq = ?", (one,))
            elif how == "remove":
                connection.execute("DELETE FROM audit WHERE seq = ?", (one,))
            else:
                for seq, to in ((one, -1), (two, one), (-1, two)):
                    connection.execute("UPDATE audit SET seq = ? WHERE seq = ?", (to, seq))
