"""The gate contract as a class: one subclass holds a command gate to every clause."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import ClassVar

from archetype_contracts.contract import Contract

# Each of these enters its clauses in the book.
from archetype_contracts.gate import (  # noqa: F401  # reason: importing them fills the book
    audit,
    failing_step,
    fork,
    handler,
    lifetime,
    matrix,
    program,
    queue,
    quota,
)
from archetype_contracts.gate.book import BOOK
from archetype_contracts.gate.limits import GateLimits, HandClock
from archetype_contracts.gate.subject import GateSubject, Tampering
from archetype_core.clock import Clock
from archetype_core.command import CommandGate
from archetype_core.config import StorageConfig


class GateContract(Contract):
    """Every promise of the ``CommandGate`` port, as tests of the gate that a subclass opens.

        class TestMyGate(GateContract):
            @asynccontextmanager
            async def open_gate(self, place: Path, *, limits: GateLimits, clock: Clock) -> AsyncIterator[CommandGate]:
                gate = MyGate(place, limits.commands, limits.tokens, limits.costs, clock)
                yield gate
                await gate.close()

            def storage(self, place: Path) -> StorageConfig: ...
            def verify(self, place: Path) -> Sequence[str]: ...
            def tamper(self, place: Path, how: Tampering) -> None: ...

    A place is opened several times, one gate at a time. ``known_failures`` maps clause ids to a reason; such a clause must
    fail. ``examples`` is how many programs the state machine tries, ``None`` for the number in the active Hypothesis
    profile.
    """

    book = BOOK
    hook = "open_gate, storage, verify and tamper"
    examples: ClassVar[int | None] = None

    def open_gate(self, place: Path, *, limits: GateLimits, clock: Clock) -> AbstractAsyncContextManager[CommandGate]:
        """Open the gate of a directory, which is empty the first time; an async context manager that closes it again."""
        raise NotImplementedError(f"{type(self).__name__} defines no open_gate")  # reason: the adopter's to write

    def storage(self, place: Path) -> StorageConfig:
        """Where worlds of that gate are kept: a store that persists."""
        raise NotImplementedError(f"{type(self).__name__} defines no storage")  # reason: the adopter's to write

    def verify(self, place: Path) -> Sequence[str]:
        """What is wrong with the chain of audit rows of a gate that is closed; empty if nothing is."""
        raise NotImplementedError(f"{type(self).__name__} defines no verify")  # reason: the adopter's to write

    def tamper(self, place: Path, how: Tampering) -> None:
        """Do to audit rows of a closed gate, behind its back, what ``verify`` must find.

        ``"edit"`` changes the actor of one, ``"remove"`` takes one out of the middle, ``"reorder"`` lets two change places.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no tamper")  # reason: the adopter's to write

    @contextmanager
    def subject(self, place: Path) -> Iterator[GateSubject]:
        """A place in which a gate opens on first use."""
        with GateSubject(self, place / "place", self.examples) as subject:
            try:
                yield subject
            finally:
                type(self).adapter = subject.adapter


__all__ = ["GateContract", "GateLimits", "HandClock", "Tampering"]
