"""What the worlds of the tests' server are made of: loaded with ``archetype serve --load``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from daft import DataFrame

from archetype_core import Component, Processor, Vector
from archetype_server import WorldTemplate


class Spot(Component):
    """Where a racer is."""

    x: float = 0.0
    note: str = ""


class Pace(Component):
    """How far a racer goes in a tick."""

    dx: float = 1.0


class Mind(Component):
    """Values of many types."""

    text: str = ""
    place: Annotated[list[float], Vector(2)] = [0.0, 0.0]
    raw: bytes = b"\x00\xff"
    seen: datetime = datetime(2026, 5, 1, 12, 30, 0, 250, UTC)
    laps: int = 0
    tags: list[str] = []
    best: float | None = None


class Go(Processor):
    """Moves racers."""

    components = (Spot, Pace)

    def process(self, df: DataFrame) -> DataFrame:
        return df.with_columns({"spot__x": Spot.c.x + Pace.c.dx})


RACING = WorldTemplate("racing", components=[Mind], processors=[Go])
