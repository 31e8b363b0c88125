"""The reference gate keeps the gate contract."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from reference_gate import LEDGERS, ReferenceGate

from archetype_contracts import GateContract, GateLimits
from archetype_contracts.gate.contract import Tampering
from archetype_core.clock import Clock
from archetype_core.command import CommandGate
from archetype_core.config import StorageConfig

pytestmark = pytest.mark.thorough

_: type[CommandGate] = ReferenceGate


class TestReferenceGate(GateContract):
    """A gate that keeps everything in memory."""

    examples = 40

    @asynccontextmanager
    async def open_gate(self, place: Path, *, limits: GateLimits, clock: Clock) -> AsyncIterator[CommandGate]:
        """Open a gate on the ledger of a place."""
        gate = ReferenceGate(place, limits, clock)
        try:
            yield gate
        finally:
            await gate.close()

    def storage(self, place: Path) -> StorageConfig:
        """A named memory store, which outlives its handles."""
        return StorageConfig(f"memory:{place}")

    def verify(self, place: Path) -> Sequence[str]:
        """Verify the chain."""
        return LEDGERS[place].verify()

    def tamper(self, place: Path, how: Tampering) -> None:
        """Change rows but not the chain."""
        LEDGERS[place].tamper(how)
