"""The command service over a journal, and broken variants of it, for ``GateCrash``."""

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
from archetype_gate.live import LiveWorld
from archetype_gate.worlds import WorldService


class Service:
    """The gate of a service container, with its ledger beside the journal."""

    @asynccontextmanager
    async def open_gate(self, place: Path, *, limits: GateLimits, clock: Clock) -> AsyncIterator[CommandGate]:
        """Open the gate of a directory."""
        quotas = Quotas(commands=limits.commands, tokens=limits.tokens, costs=limits.costs)
        container = ServiceContainer(quotas=quotas, clock=clock)
        try:
            yield container.gate
        finally:
            await container.shutdown()

    def storage(self, place: Path) -> StorageConfig:
        """A journal in the directory."""
        return StorageConfig(f"journal:{place / 'store'}")

    def verify(self, place: Path) -> Sequence[str]:
        """Verify the audit chain of the ledger."""
        return [str(damage) for damage in verify(self.storage(place))]


class PatchedService(Service):
    """A service with one method replaced while it is open."""

    owner: type
    method: str

    @staticmethod
    def replacement(*given: object, **named: object) -> object:
        """Do nothing."""
        return None

    @asynccontextmanager
    async def open_gate(self, place: Path, *, limits: GateLimits, clock: Clock) -> AsyncIterator[CommandGate]:
        """Open the gate with the replaced method."""
        with mock.patch.object(self.owner, self.method, self.replacement):
            async with super().open_gate(place, limits=limits, clock=clock) as gate:
                yield gate


class ForgetsAppliedCommands(PatchedService):
    """Ignores which commands the ticks before the crash applied."""

    owner, method = WorldService, "_applied"

    @staticmethod
    def replacement(*given: object, **named: object) -> object:
        """Return no applied commands."""
        return {}


class IssuesIdsTooEarly(PatchedService):
    """Issues entity ids before their reservation is durable."""

    owner, method = LiveWorld, "provide"


class AnswersTooEarly(PatchedService):
    """Answers before the ledger is synced."""

    owner, method = SqliteLedger, "sync"
