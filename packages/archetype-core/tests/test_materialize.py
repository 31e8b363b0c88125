"""What lands at a tick: mutations over what the processors made, field by field."""

from __future__ import annotations

import pytest
from daft import DataFrame, lit
from scene import Frozen, Health, Move, Position, SkippedCalls, Velocity, drive, history, world

from archetype_core.engine import Processor
from archetype_core.errors import ValueRejected
from archetype_core.schema import Entity


class Freezes(Processor):
    """Gives what is frozen the height 7."""

    components = (Position, Frozen)

    def process(self, df: DataFrame) -> DataFrame:
        return df.with_column("position__y", lit(7.0))


def test_update_lands_over_the_latest_state() -> None:
    """An update overlays the fields that it names over what the processors made of the row (T2)."""

    async def scenario() -> None:
        there = world(Move())
        first, second = there.spawn_many([(Position(), Velocity(dx=1.0, dy=1.0))] * 2)
        await there.run(3)
        there.update(first, Position(x=100.0))
        await there.step()
        assert there.get(first)[Position] == Position(x=100.0, y=3.0)
        assert there.get(second)[Position] == Position(x=3.0, y=3.0)
        await there.step()
        assert there.get(first)[Position] == Position(x=101.0, y=4.0)

    drive(scenario)


def test_a_control_loop_writes_one_field_and_the_world_goes_on() -> None:
    """An entity that is updated every tick is still moved by its processors (T2)."""

    async def scenario() -> None:
        there = world(Move())
        entity = there.spawn(Position(), Velocity(dx=1.0))
        await there.step()
        for step in range(1, 4):
            there.update(entity, Velocity(dy=float(step)))
            await there.step()
        assert there.get(entity) == Entity.of(entity, (Position(x=3.0, y=3.0), Velocity(dx=1.0, dy=3.0)))

    drive(scenario)


def test_a_component_that_was_read_names_only_what_is_assigned() -> None:
    """What `get` returns can be changed in one field and passed back; without an assignment it is refused (T2)."""

    async def scenario() -> None:
        there = world(Move())
        entity = there.spawn(Position(x=5.0), Velocity(dx=1.0, dy=2.0))
        await there.step()
        spot = there.get(entity, Position)
        with pytest.raises(ValueRejected, match="assign"):
            there.update(entity, spot)
        spot.y = 40.0
        there.update(entity, spot)
        await there.step()
        assert there.get(entity, Position) == Position(x=6.0, y=40.0)
        copied = there.spawn(spot)
        await there.step()
        assert there.get(copied, Position) == Position(x=5.0, y=40.0)

    drive(scenario)


def test_a_component_that_is_removed_and_added_again_is_whole() -> None:
    """Removing and adding a component in one tick is no move, and all its fields land as written (T2)."""

    async def scenario() -> None:
        there = world(Move())
        entity = there.spawn(Position(x=5.0), Velocity(dx=1.0, dy=2.0))
        await there.step()
        there.remove_components(entity, Position)
        there.add_components(entity, Position(y=1.0))
        await there.step()
        assert there.get(entity, Position) == Position(y=1.0)
        assert [row["is_active"] for row in history(there, include_inactive=True)] == [True, True]

    drive(scenario)


def test_an_update_overlays_a_moving_entity() -> None:
    """A moving entity has its processed values, then what it gains, then its updates; a skipped processor leaves none (T2)."""

    async def scenario() -> None:
        there = world(Move(), SkippedCalls(lambda df, **_: 1 / 0))
        entity, away = there.spawn_many([(Position(), Velocity(dx=1.0, dy=1.0))] * 2)
        await there.step()
        there.add_components(entity, Health(hp=3))
        there.update(entity, Position(y=9.0))
        there.update(entity, Health(hp=4))
        there.update(away, Position(x=9.0))
        there.despawn(away)
        await there.step()
        expected = (Position(x=1.0, y=9.0), Velocity(dx=1.0, dy=1.0), Health(hp=4))
        assert there.get(entity) == Entity.of(entity, expected)
        rows = [row for row in history(there, Position, include_inactive=True) if not row["is_active"]]
        assert [(row["position__x"], row["position__y"]) for row in rows] == [(0.0, 0.0), (0.0, 0.0)]

    drive(scenario)


def test_migrated_row_takes_its_processed_values_along() -> None:
    """A migrating row takes its processed values along; the new table's processors act from the next tick on (T2, T5)."""

    async def scenario() -> None:
        there = world(Move(), Freezes())
        entity = there.spawn(Position(), Velocity())
        await there.run(2)
        there.add_components(entity, Frozen())
        await there.step()
        assert there.get(entity)[Position] == Position(x=2.0)
        await there.step()
        assert there.get(entity)[Position] == Position(x=3.0, y=7.0)

    drive(scenario)
