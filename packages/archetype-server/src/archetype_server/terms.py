"""What a request asks beside its command: the tick that it is for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Terms:
    """Under which terms a command is executed; the gate checks them."""

    expected_tick: int | None = None
    """What the client takes for the world's next tick."""


FREE = Terms()
"""No terms."""
