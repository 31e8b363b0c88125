"""The difference of two ticks against reading both and joining them with pyarrow, which also checks the answer.

Two columns of every entity change in a tick. In ``same`` the entities are the same in the same order on both sides; in ``moved``
a tenth is replaced between the two ticks, so that rows are matched. ``long`` is the difference of the whole world, as JSON.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import _journal
import _measure
import pyarrow as pa
import pyarrow.compute as pc
from _movement import Position, Velocity, columns, moving

from archetype_core import World
from archetype_core.store import MemoryStore, open_store

NAMES = ("position__x", "position__y")


async def scene(store: Any, entities: int, *, replaced: bool) -> World:
    """A world with two ticks to compare: 0 and 1."""
    world = await moving(entities, store)
    if replaced:
        for entity_id in range(5, entities, 10):
            world.despawn(entity_id)
        world.spawn_table(columns(entities // 10), Position, Velocity)
    await world.step()
    return world


def joined(world: World) -> pa.Table:
    """Both ticks, joined by entity, and the rows that differ."""
    before, after = (
        world.snapshot(Position, at=tick).select("entity_id", *NAMES).to_arrow().combine_chunks() for tick in (0, 1)
    )
    both = before.join(
        after, "entity_id", join_type="full outer", left_suffix="__before", right_suffix="__after", coalesce_keys=True
    )
    differs = [
        pc.fill_null(pc.not_equal(both.column(f"{name}__before"), both.column(f"{name}__after")), True)
        for name in NAMES
    ]
    return both.filter(pc.or_(*differs))


def check(world: World) -> None:
    """The difference has the rows of the join."""
    order = ["entity_id", *(f"{name}__{side}" for name in NAMES for side in ("before", "after"))]
    found = world.diff(0, 1, Position).select(*order).to_arrow().combine_chunks()
    assert found.equals(joined(world).select(order).sort_by("entity_id").cast(found.schema).combine_chunks())
    assert world.diff(0, 1).count_rows() >= 2 * found.num_rows


def _wide(world: World) -> pa.Table:
    return world.diff(0, 1, Position).to_arrow()


def _long(world: World) -> pa.Table:
    return world.diff(0, 1).to_arrow()


async def figures(place: Path, quick: bool) -> dict[str, float]:
    """Measure all figures, by name."""
    entities, count = (10_000, 3) if quick else (100_000, 15)
    found: dict[str, float] = {}
    for kind in ("memory", "disk"):
        for name, replaced in (("same", False), ("moved", True)):
            store = MemoryStore() if kind == "memory" else open_store(str(place / name))
            world = await scene(store, entities, replaced=replaced)
            check(world)
            works: dict[str, Callable[[], Awaitable[Any]]] = {
                "join": _work(partial(joined, world)),
                "wide": _work(partial(_wide, world)),
                "long": _work(partial(_long, world)),
            }
            taken = await _measure.rounds(count, **works)
            found.update({f"{kind}_{name}_{one}_ms": 1e3 * seconds for one, seconds in taken.items()})
            for one in ("wide", "long"):
                found[f"{kind}_{name}_{one}_of_join"] = taken[one] / taken["join"]
            store.close()
    return found


def _work(ask: Callable[[], Any]) -> Callable[[], Awaitable[None]]:
    async def work() -> None:
        ask()

    return work


def bounds(quick: bool) -> dict[str, _measure.Bound]:
    """The limits of the full form."""
    if quick:
        return {}
    limits = {"same": 0.3, "moved": 1.0}
    return {
        f"{kind}_{name}_wide_of_join": ("<=", limit) for kind in ("memory", "disk") for name, limit in limits.items()
    }


if __name__ == "__main__":
    options = _measure.arguments(__doc__)
    with _journal.place(options.dir) as directory:
        _measure.report("diff", asyncio.run(figures(directory, options.quick)), bounds(options.quick), options.out)
