"""Processors, each naming what it wants to be called with."""

from __future__ import annotations

from collections.abc import Iterable

import daft
import numpy as np
import pyarrow as pa
from components import Agent, Memory, Position, Velocity
from daft import DataFrame, DataType
from daft.expressions import Expression
from numpy.random import Generator

from archetype import Arrays, AsyncProcessor, Mailbox, Processor, ProcessorResult, Resources, Rng, WorldView


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

    components = (Agent,)

    def __init__(self, name: str) -> None:
        self.name = name

    def process(self, frame: DataFrame, **rest: object) -> DataFrame:
        return frame.with_column("agent__name", daft.lit(self.name)) if rest else frame


class Drift(Processor):
    components = (Position, Velocity)

    def process(self, arrays: Arrays) -> dict[Expression, np.ndarray]:
        return {Position.c.x: arrays[Position.c.x] + arrays["velocity__dx"]}


class Walk(AsyncProcessor):
    components = (Position,)

    async def process(self, *, arrays: Arrays, rng: Rng) -> dict[Expression, object]:
        steps = rng.by_entity.normal(0.0, 1.0)
        return {Position.c.x: arrays[Position.c.x] + np.where(arrays.leaving, 0.0, steps), Position.c.y: 0.0}


class Halve(Processor):
    components = (Position,)
    half = {Position.c.x: Position.c.x / 2}

    def process(self) -> ProcessorResult:
        return self.half


class Mixed(Processor):
    components = (Position,)

    def process(self, arrays: Arrays) -> ProcessorResult:
        return {Position.c.x: Position.c.x * 2, "position__y": [0.0] * len(arrays)}


class Table(Processor):
    components = (Position,)

    def process(self, arrays: Arrays) -> pa.Table:
        return pa.Table.from_arrays([arrays.arrow(Position.c.x)], names=["position__x"])


class Tell(Processor):
    components = (Position,)

    async def process(self, arrays: Arrays, messages: Mailbox) -> None:
        for entity in arrays.entity_id[arrays.leaving]:
            messages.send(int(entity), "bye")


everyone: list[Processor] = [Move(), Gust(), Think(), Listen(), Rename("bo")]
everyone += [Drift(), Walk(), Halve(), Mixed(), Table(), Tell()]
