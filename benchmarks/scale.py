"""What a tick's cost must not depend on: ticks stored, idle archetypes, entities elsewhere; and how archetypes add up."""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import ClassVar

import _measure
import _movement
from _movement import Position, Velocity
from daft.expressions import Expression

from archetype_core import Component, MemoryStore, Processor, World

TAGS = [type(f"Tag{number}", (Component,), {"__module__": __name__}) for number in range(1_000)]


class RowwiseMovement(_movement.Movement):
    """Movement that promises to look at one row at a time."""

    rowwise = True


class FixedMovement(Processor):
    """Movement by expressions that are built once."""

    components = (Position, Velocity)
    moves: ClassVar[dict[Expression, Expression]] = {
        Position.c.x: Position.c.x + Velocity.c.dx,
        Position.c.y: Position.c.y + Velocity.c.dy,
    }

    def process(self) -> dict[Expression, Expression]:
        """The moved positions."""
        return self.moves


class Idle(Component):
    """A column that no processor looks at."""

    value: float = 0.0


async def many(processor: Processor, archetypes: int, each: int) -> World:
    """A world of so many archetypes with so many entities each, all of them moving."""
    world = World(MemoryStore(), seed=1, processors=[processor])
    for tag in TAGS[:archetypes]:
        world.spawn_many([(Position(), Velocity(dx=1.0), tag())] * each)
    await world.step()
    await world.step()
    return world


async def figures(quick: bool) -> dict[str, float]:
    """All figures by name."""
    found: dict[str, float] = {}
    count = 3 if quick else 40
    one = await _movement.moving(10_000)
    plain = await many(_movement.Movement(), 1_000, 10)
    fixed = await many(FixedMovement(), 1_000, 10)
    rowwise = await many(RowwiseMovement(), 1_000, 10)
    median = await _measure.rounds(count, one=one.step, plain=plain.step, fixed=fixed.step, rowwise=rowwise.step)
    assert plain.digest() == fixed.digest() == rowwise.digest()
    found["tick_ms_1_archetype_of_10000"] = median["one"] * 1e3
    found["tick_ms_1000_archetypes_of_10"] = median["plain"] * 1e3
    found["tick_ms_1000_archetypes_of_10_fixed"] = median["fixed"] * 1e3
    found["tick_ms_1000_archetypes_of_10_rowwise"] = median["rowwise"] * 1e3
    found["archetypes_over_one"] = median["plain"] / median["one"]
    found["archetypes_over_one_fixed"] = median["fixed"] / median["one"]
    found["archetypes_over_one_rowwise"] = median["rowwise"] / median["one"]

    alone = await _movement.moving(1_000)
    idle = await _movement.moving(1_000)
    for tag in TAGS:
        idle.spawn(tag())
    elsewhere = await _movement.moving(1_000)
    elsewhere.spawn_table({"value": [0.0] * (10_000 if quick else 1_000_000)}, Idle)
    await idle.step()
    await elsewhere.step()
    median = await _measure.rounds(5 * count, alone=alone.step, idle=idle.step, elsewhere=elsewhere.step)
    found["with_1000_idle_archetypes_over_alone"] = median["idle"] / median["alone"]
    found["with_1000000_entities_elsewhere_over_alone"] = median["elsewhere"] / median["alone"]

    ticks = 200 if quick else 10_000
    world = await _movement.moving(1_000)
    taken = []
    for _ in range(ticks):
        began = time.perf_counter()
        await world.step()
        taken.append(time.perf_counter() - began)
    _movement.check(world, 1_000)
    tenth = ticks // 10
    found["last_tenth_over_first_of_ticks"] = statistics.median(taken[-tenth:]) / statistics.median(taken[:tenth])
    return found


BOUNDS = {
    "archetypes_over_one": ("<=", 20.0),
    "archetypes_over_one_fixed": ("<=", 20.0),
    "archetypes_over_one_rowwise": ("<=", 20.0),
    "with_1000_idle_archetypes_over_alone": ("<=", 1.1),
    "with_1000000_entities_elsewhere_over_alone": ("<=", 1.1),
    "last_tenth_over_first_of_ticks": ("<=", 1.1),
}

if __name__ == "__main__":
    options = _measure.arguments(__doc__)
    _measure.report("scale", asyncio.run(figures(options.quick)), BOUNDS, options.out)
