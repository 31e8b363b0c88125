"""What a request asks beside its command: the tick that it is for, and to be done once."""

from __future__ import annotations

from dataclasses import dataclass

from archetype_core.command import IdempotencyKey


@dataclass(frozen=True, slots=True)
class Terms:
    """Under which terms a command is executed; the gate checks them."""

    expected_tick: int | None = None
    """What the client takes for the world's next tick."""
    key: IdempotencyKey | None = None
    """With it the request is done once, however often it is sent."""


FREE = Terms()
"""No terms."""
