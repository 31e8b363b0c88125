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
    """Memory of this process."""

    examples = 40

    @asynccontextmanager
    async def open_gate(self, place: Path, *, limits: GateLimits, clock: Clock) -> AsyncIterator[CommandGate]:
        """A gate over the ledger of a place."""
        gate = ReferenceGate(place, limits, clock)
        try:
            yield gate
        finally:
            await gate.close()

    def storage(self, place: Path) -> StorageConfig:
        """Memory that outlives its handles."""
        return StorageConfig(f"memory:{place}")

    def verify(self, place: Path) -> Sequence[str]:
        """Look along the chain."""
        return LEDGERS[place].verify()

    def tamper(self, place: Path, how: Tampering) -> None:
        """Change rows without the chain."""
        LEDGERS[place].tamper(how)
