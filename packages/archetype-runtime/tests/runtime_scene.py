"""Components, processors and helpers that several tests share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from daft import DataFrame

from archetype import ArchetypeRuntime, Component, Processor

T = TypeVar("T")


class Position(Component):
    x: float = 0.0
    y: float = 0.0


class Velocity(Component):
    dx: float = 0.0
    dy: float = 0.0


class Done(Component):
    pass


class Movement(Processor):
    components = (Position, Velocity)
    priority = 10

    def process(self, df: DataFrame) -> DataFrame:
        return df.with_columns(
            {"position__x": Position.c.x + Velocity.c.dx, "position__y": Position.c.y + Velocity.c.dy}
        )


class Wander(Processor):
    components = (Position,)

    def process(self, df: DataFrame, rng: np.random.Generator) -> DataFrame:
        return df.with_columns({"position__x": Position.c.x + float(rng.normal())})


class Calls(Processor):
    """Calls a function once a tick, in a worker thread."""

    components = (Position,)

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call

    def process(self, df: DataFrame) -> DataFrame:
        self._call()
        return df


class AwaitsCall(Processor):
    """Awaits a coroutine function once a tick, on the loop that steps the world."""

    components = (Position,)

    def __init__(self, call: Callable[[], Coroutine[Any, Any, object]]) -> None:
        self._call = call

    async def process(self, df: DataFrame) -> DataFrame:
        await self._call()
        return df


def with_runtime(main: Callable[[ArchetypeRuntime], Coroutine[Any, Any, T]], **options: Any) -> T:
    """Run a scenario with a runtime of its own, by default in memory."""

    async def run() -> T:
        async with ArchetypeRuntime(options.pop("storage", "memory:"), **options) as runtime:
            return await main(runtime)

    return asyncio.run(run())


def xs(frame: DataFrame) -> list[float]:
    """Return the values of x, sorted by tick and entity."""
    column: list[float] = frame.sort(["tick", "entity_id"]).to_pydict()["position__x"]
    return column


def in_thread(call: Callable[[], T]) -> Future[T]:
    """Start a call in another thread and return its future."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(call)
    pool.shutdown(wait=False)
    return future
