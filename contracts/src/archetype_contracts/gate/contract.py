"""The gate contract: a subclass with four hooks runs every clause on a command gate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import ClassVar

from archetype_contracts.contract import Contract

# Importing each of these registers its clauses.
from archetype_contracts.gate import (  # noqa: F401  # reason: importing them registers their clauses
    attempt,
    audit,
    failing_step,
    fork,
    handler,
    key,
    lifetime,
    many,
    permission,
    precondition,
    program,
    queue,
    quota,
    sight,
)
from archetype_contracts.gate.limits import GateLimits, ManualClock
from archetype_contracts.gate.registry import REGISTRY
from archetype_contracts.gate.subject import GateSubject, Tampering
from archetype_core.clock import Clock
from archetype_core.command import CommandGate
from archetype_core.config import StorageConfig


class GateContract(Contract):
    """The promises of the ``CommandGate`` port, as tests of the gate that a subclass opens.

        class TestMyGate(GateContract):
            @asynccontextmanager
            async def open_gate(self, place: Path, *, limits: GateLimits, clock: Clock) -> AsyncIterator[CommandGate]:
                gate = MyGate(place, limits.commands, limits.credits, limits.costs, clock)
                yield gate
                await gate.close()

            def storage(self, place: Path) -> StorageConfig: ...
            def verify(self, place: Path) -> Sequence[str]: ...
            def tamper(self, place: Path, how: Tampering) -> None: ...

    A place is opened several times, with one gate at a time. ``known_failures`` maps clause ids to reasons; such a clause
    must fail. ``examples`` is the number of programs that G-901 tries; ``None`` takes it from the active Hypothesis profile.
    """

    registry = REGISTRY
    hook = "open_gate, storage, verify and tamper"
    evidence = "the calls above, and the audit rows and worlds of the gate in {place}"
    examples: ClassVar[int | None] = None

    def open_gate(self, place: Path, *, limits: GateLimits, clock: Clock) -> AbstractAsyncContextManager[CommandGate]:
        """Open the gate of a directory, which is empty the first time, and close it on leaving the context."""
        raise NotImplementedError(f"{type(self).__name__} must define open_gate")

    def storage(self, place: Path) -> StorageConfig:
        """The storage of the gate's worlds: a store that persists."""
        raise NotImplementedError(f"{type(self).__name__} must define storage")

    def verify(self, place: Path) -> Sequence[str]:
        """The defects in the audit chain of a closed gate; empty if there are none."""
        raise NotImplementedError(f"{type(self).__name__} must define verify")

    def tamper(self, place: Path, how: Tampering) -> None:
        """Change audit rows of a closed gate directly, so that ``verify`` must find it.

        ``"edit"`` changes the actor of a row, ``"remove"`` deletes a row in the middle, ``"reorder"`` swaps two rows.
        """
        raise NotImplementedError(f"{type(self).__name__} must define tamper")

    @contextmanager
    def subject(self, place: Path) -> Iterator[GateSubject]:
        """Make a place in which the gate opens on first use."""
        with GateSubject(self, place / "place", self.examples) as subject:
            try:
                yield subject
            finally:
                type(self).adapter = subject.adapter


__all__ = ["GateContract", "GateLimits", "ManualClock", "Tampering"]
