"""The command service over a journal, and broken variants of it, for ``GateCrash``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from archetype_contracts import GateLimits
from archetype_core.clock import Clock
from archetype_core.command import CommandGate
from archetype_core.config import StorageConfig
from archetype_gate import Quotas, ServiceContainer, SqliteLedger, verify
from archetype_journal import JournalStore


class Service:
    """The gate of a service container, with its ledger beside the journal."""

    @asynccontextmanager
    async def open_gate(self, place: Path, *, limits: GateLimits, clock: Clock) -> AsyncIterator[CommandGate]:
        """Open the gate of a directory."""
        quotas = Quotas(commands=limits.commands, credits=limits.credits, costs=limits.costs)
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
    """A service with one verb of its store or its ledger replaced while it is open."""

    owner: type
    verb: str

    @staticmethod
    def replacement(*arguments: Any, **named: Any) -> Any:
        """Do nothing."""

    @asynccontextmanager
    async def open_gate(self, place: Path, *, limits: GateLimits, clock: Clock) -> AsyncIterator[CommandGate]:
        """Open the gate with the replaced verb."""
        with mock.patch.object(self.owner, self.verb, self.replacement):
            async with super().open_gate(place, limits=limits, clock=clock) as gate:
                yield gate


_head = JournalStore.head


class ForgetsAppliedCommands(PatchedService):
    """Its store does not say which commands a tick applied, so the gate applies them again after a crash."""

    owner, verb = JournalStore, "head"

    @staticmethod
    def replacement(*arguments: Any, **named: Any) -> Any:
        """Return the head without its commands."""
        return replace(_head(*arguments, **named), applied=())


class IssuesIdsTooEarly(PatchedService):
    """Its ledger does not store which entity ids are reserved, so they are issued again after a crash."""

    owner, verb = SqliteLedger, "reserve_ids"

    @staticmethod
    def replacement(*arguments: Any, **named: Any) -> Any:
        """Reserve the requested ids without storing that."""
        _ledger, _world_id, first, _count = arguments
        return first


class AnswersTooEarly(PatchedService):
    """Its ledger does not sync before the gate answers."""

    owner, verb = SqliteLedger, "sync"


class ForgetsHeldCommands(PatchedService):
    """Its store does not say which attempt committed a tick, so what that attempt sent is lost in a crash."""

    owner, verb = JournalStore, "head"

    @staticmethod
    def replacement(*arguments: Any, **named: Any) -> Any:
        """Return the head without its attempt."""
        return replace(_head(*arguments, **named), attempt="")
