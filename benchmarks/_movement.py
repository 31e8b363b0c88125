"""The movement world: the work that every tick benchmark does, here and at peers."""

from __future__ import annotations

import numpy as np
from daft import DataFrame, col

from archetype_core import AsyncProcessor, Component, MemoryStore, Store, World


class Position(Component):
    """Where an entity is."""

    x: float = 0.0
    y: float = 0.0


class Velocity(Component):
    """How far an entity moves in a tick."""

    dx: float = 0.0
    dy: float = 0.0


class Movement(AsyncProcessor):
    """Adds the velocity to the position."""

    components = (Position, Velocity)

    async def process(self, df: DataFrame) -> DataFrame:
        """The moved frame."""
        return df.with_columns(
            {
                "position__x": col("position__x") + col("velocity__dx"),
                "position__y": col("position__y") + col("velocity__dy"),
            }
        )


def columns(entities: int) -> dict[str, np.ndarray]:
    """Start positions and velocities that sum exactly."""
    steps = np.arange(entities) % 7
    return {
        "position__x": np.zeros(entities),
        "position__y": np.ones(entities),
        "velocity__dx": steps + 1.0,
        "velocity__dy": steps + 0.5,
    }


async def moving(entities: int, store: Store | None = None, processor: AsyncProcessor | None = None) -> World:
    """A world whose entities are there and have made their first tick."""
    world = World(store or MemoryStore(), seed=1, processors=[processor or Movement()])
    if entities:
        world.spawn_table(columns(entities), Position, Velocity)
    await world.step()
    return world


def check(world: World, entities: int) -> None:
    """Every entity is where its velocity brought it in the ticks since its first."""
    if not entities:
        return
    (rows,) = world.tables().values()
    got = rows.columns["position__x"].arrow.to_numpy().sum()
    expected = columns(entities)["velocity__dx"].sum() * (world.tick - 1)
    assert got == expected, f"positions sum to {got}, not {expected}"
