"""The template of a server that loads nothing: things that move."""

from __future__ import annotations

from typing import Any

from archetype_core.engine import Processor
from archetype_core.schema import Component


class Position(Component):
    """Where a thing is."""

    x: float = 0.0
    y: float = 0.0


class Velocity(Component):
    """How far it moves in a tick."""

    dx: float = 0.0
    dy: float = 0.0


class Health(Component):
    """How well it is."""

    hp: int = 100
    max_hp: int = 100


class Movement(Processor):
    """Moves everything by its velocity."""

    components = (Position, Velocity)
    priority = 10

    def process(self, df: Any) -> Any:
        return df.with_columns(
            {
                "position__x": Position.c.x + Velocity.c.dx,
                "position__y": Position.c.y + Velocity.c.dy,
            }
        )
