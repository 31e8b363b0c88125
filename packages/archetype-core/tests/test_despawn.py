"""Entities that end in large tables: their rows go, whatever their share, and become tombstones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scene import drive

from archetype_core.engine import Arrays, Commands, Processor, World
from archetype_core.schema import Component, Vector
from archetype_core.store import MemoryStore

ROWS = 300
START = datetime(2026, 1, 1, tzinfo=UTC)


class Sheep(Component):
    """Columns of several layouts."""

    weight: float = 0.0
    name: str | None = None
    is_black: bool = False
    born: datetime = START
    where: Annotated[list[float], Vector(2)] = [0.0, 0.0]
    tags: list[str] = []


class Bell(Component):
    """What some sheep have."""

    tone: int = 0


class Watch(Processor):
    """Keeps who leaves, and asks for the end of some."""

    components = (Sheep,)

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.ending: np.ndarray[Any, np.dtype[np.int64]] = np.empty(0, np.int64)

    def process(self, arrays: Arrays, commands: Commands) -> None:
        """Record and end."""
        self.seen += arrays.entity_id[arrays.leaving].tolist()
        commands.despawn(np.intersect1d(arrays.entity_id, self.ending))


def sheep(number: int) -> Sheep:
    """One of the flock, told apart by every column."""
    return Sheep(
        weight=number / 2,
        name=None if number % 3 == 0 else f"sheep {number}",
        is_black=number % 5 == 0,
        born=START + timedelta(hours=number),
        where=[float(number), 0.5],
        tags=["tag"] * (number % 4),
    )


def by_id(frame: Any) -> dict[int, tuple[Any, ...]]:
    """The component's values of a frame by entity."""
    names = [name for name in frame.column_names if name.startswith("sheep__")]
    rows = frame.select("entity_id", *names).to_pydict()
    return {eid: tuple(row) for eid, *row in zip(rows["entity_id"], *(rows[name] for name in names), strict=True)}


@settings(max_examples=40)
@given(
    ended=st.one_of(st.sets(st.integers(1, ROWS), max_size=4), st.sets(st.integers(1, ROWS), min_size=20)),
    belled=st.sets(st.integers(1, ROWS), max_size=3),
)
def test_despawned_rows_go_and_the_others_keep_their_values(ended: set[int], belled: set[int]) -> None:
    """Few or many may end, in tables whose ids ascend or not: the others keep every value, and processors are told (T2, T9)."""

    async def scenario() -> None:
        watch = Watch()
        world = World(MemoryStore(), processors=[watch])
        world.spawn_many([sheep(number) for number in range(1, ROWS + 1)])
        await world.step()
        # Those that went and came back are the last rows of their table.
        for change in (lambda: world.add_components(belled, Bell()), lambda: world.remove_components(belled, Bell)):
            change()
            await world.step()
        before = by_id(world.snapshot(Sheep))
        watch.ending = np.array(sorted(ended), np.int64)
        await world.step()
        watch.ending = np.empty(0, np.int64)
        await world.step()
        assert sorted(watch.seen) == sorted(ended)
        assert by_id(world.snapshot(Sheep)) == {eid: row for eid, row in before.items() if eid not in ended}
        last = world.query(Sheep, ticks=world.tick - 1, include_inactive=True)
        assert by_id(last) == before

    drive(scenario)
