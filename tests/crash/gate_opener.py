"""The command service over a journal, for processes that are killed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from unittest import mock

from archetype_contracts import GateLimits
from archetype_core.clock import Clock
from archetype_core.command import CommandGate
from archetype_core.config import StorageConfig
from archetype_gate import Quotas, ServiceContainer, SqliteLedger, verify
from archetype_gate.live_world import LiveWorld
from archetype_gate.recovery import CommandRecovery


class Service:
    """The gate of a container, the ledger beside the journal."""

    @asynccontextmanager
    async def open_gate(self, place: Path, *, limits: GateLimits, clock: Clock) -> AsyncIterator[CommandGate]:
        """Open it."""
        quotas = Quotas(commands=limits.commands, credits=limits.tokens, costs=limits.costs)
        container = ServiceContainer(quotas=quotas, clock=clock)
        try:
            yield container.gate
        finally:
            await container.shutdown()

    def storage(self, place: Path) -> StorageConfig:
        """A journal in a directory."""
        return StorageConfig(f"journal:{place / 'store'}")

    def verify(self, place: Path) -> Sequence[str]:
        """Walk the chain of the ledger."""
        return [str(damage) for damage in verify(self.storage(place))]


class Broken(Service):
    """A service with one part replaced, while it is open."""

    owner: type
    part: str

    @staticmethod
    def instead(*given: object, **named: object) -> object:
        """What is done instead."""
        return None

    @asynccontextmanager
    async def open_gate(self, place: Path, *, limits: GateLimits, clock: Clock) -> AsyncIterator[CommandGate]:
        """Open it, broken."""
        with mock.patch.object(self.owner, self.part, self.instead):
            async with super().open_gate(place, limits=limits, clock=clock) as gate:
                yield gate


class Forgetful(Broken):
    """Does not look which commands the ticks before the crash have applied."""

    owner, part = CommandRecovery, "applied_commands"

    @staticmethod
    def instead(*given: object, **named: object) -> object:
        """Nothing was applied."""
        return {}


class Hasty(Broken):
    """Gives ids out before it is on disk that they were."""

    owner, part = LiveWorld, "ensure_ids"


class Careless(Broken):
    """Answers before what it answered is on disk."""

    owner, part = SqliteLedger, "sync"
