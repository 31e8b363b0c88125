"""Processors, each naming what it wants to be called with."""

from __future__ import annotations

from collections.abc import Iterable

import daft
from components import Agent, Memory, Position, Velocity
from daft import DataFrame, DataType
from numpy.random import Generator

from archetype import AsyncProcessor, Mailbox, Processor, Resources, WorldView


class Wind:
    strength: float = 0.5


class Move(Processor):
    components = (Position, Velocity)

    def process(self, df: DataFrame) -> DataFrame:
        return df.with_columns(
            {"position__x": Position.c.x + Velocity.c.dx, "position__y": Position.c.y + Velocity.c.dy}
        )


class Gust(Processor):
    components = (Position,)
    priority = 10
    on_error = "skip"
    rowwise = True

    def process(self, df: DataFrame, *, tick: int, resources: Resources) -> DataFrame:
        return df.with_column("position__x", Position.c.x + resources[Wind].strength * tick)


class Think(AsyncProcessor):
    components = (Agent,)

    async def process(self, df: DataFrame, rng: Generator, world: WorldView) -> DataFrame:
        luck = float(rng.normal()) + world.tick
        return df.where(Agent.c.level > 0).with_column("agent__level", Agent.c.level + int(luck))


class Listen(AsyncProcessor):
    components = (Agent, Memory)
    priority = -1

    async def process(self, df: DataFrame, messages: Mailbox, heard: Iterable[str] = ()) -> DataFrame:
        words = [*heard, *(str(letter.body) for letter in messages)]
        messages.send(1, {"words": len(words)})
        return df.with_column("agent__level", daft.lit(len(words)).cast(DataType.int16()))


class Rename(Processor):
    """Takes the frame under a name of its own, and whatever else there is."""

    def __init__(self, name: str) -> None:
        self.name = name

    def process(self, frame: DataFrame, **rest: object) -> DataFrame:
        return frame.with_column("agent__name", daft.lit(self.name)) if rest else frame


everyone: list[Processor] = [Move(), Gust(), Think(), Listen(), Rename("bo")]
