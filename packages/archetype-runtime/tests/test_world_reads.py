"""Reads through handles and the gate: what they take and refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from daft import col, lit
from runtime_scene import Movement, Position, Velocity, with_runtime

from archetype import ArchetypeRuntime, TickNotFound, UnknownColumn


@pytest.mark.parametrize("storage", ["memory:", "journal:{}"])
def test_differences_of_ticks_and_branches(storage: str, tmp_path: Path) -> None:
    """A handle compares ticks and branches, typed where columns are named, with a condition (Q2)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        world = runtime.world("w", processors=[Movement()])
        first, second = await world.spawn_many([(Position(), Velocity(dx=1.0)), (Position(), Velocity(dx=2.0))])
        await world.run(3)
        found = await world.diff(0, 2, Position.c.x)
        assert found.to_pydict() == {
            "entity_id": [first, second],
            "op": ["changed", "changed"],
            "before": [0.0, 0.0],
            "after": [2.0, 4.0],
        }
        branch = await world.fork("branch")
        await branch.despawn(first)
        await branch.step()
        rows = (await world.diff(world, branch, Position, where=col("op") == lit("changed"))).to_pydict()
        assert (rows["entity_id"], rows["position__x__before"], rows["position__x__after"]) == ([second], [4.0], [6.0])
        assert (await world.diff((world, 2), (branch, 2))).count_rows() == 0
        with pytest.raises(TickNotFound):
            await world.diff(0, (branch, 9))

    with_runtime(main, storage=storage.format(tmp_path / "j"))


def test_a_misspelt_condition_is_refused_by_every_read() -> None:
    """A column of a condition that a read does not have is ``UnknownColumn`` with the nearest, through any call (Q2)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        world = runtime.world("w")
        await world.spawn(Position())
        await world.run(2)
        wrong = col("position__xx") > lit(1.0)
        reads: list[Any] = [
            lambda: world.query(Position, where=wrong),
            lambda: world.snapshot(Position, where=wrong),
            lambda: world.snapshot(Position, at=0, where=wrong),
            lambda: world.search("position__x", [1.0], where=wrong),
            lambda: world.search("position__x", [1.0], where=wrong, at=0),
            lambda: world.diff(0, 1, Position, where=wrong),
        ]
        for read in reads:
            with pytest.raises(UnknownColumn, match="did you mean position__x"):
                await read()

    with_runtime(main)


def test_numbers_of_ticks_and_branches() -> None:
    """A handle gives numbers about columns, over ticks and branches, and a density; so does its sync twin (Q2)."""
    with ArchetypeRuntime.sync("memory:") as runtime:
        world = runtime.world("w", processors=[Movement()])
        first, _ = world.spawn_many([(Position(), Velocity(dx=1.0)), (Position(y=1.0), Velocity(dx=3.0))])
        world.run(3)
        branch = world.fork("branch")
        branch.update(first, Position(x=50.0))
        branch.step()
        found = world.aggregate(Position.c.x, at=range(1, 9), others=[branch], bins=2).to_pydict()
        assert found["tick"] == [1, 2, 1, 2, 3]
        assert found["max"] == [3.0, 6.0, 3.0, 6.0, 50.0]
        assert found["histogram"][-1] == [1, 1]
        grid = world.density(Position.c.x, Position.c.y, bins=(2, 2))
        assert grid.counts.tolist() == [[1, 0], [0, 1]]
        with pytest.raises(UnknownColumn):
            world.aggregate("position__z")
