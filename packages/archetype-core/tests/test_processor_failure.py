"""The error of a processor that reads a column which its table does not have."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import daft
import pytest
from daft import DataFrame, col
from scene import Health, Position, Velocity

from archetype_core.engine import Processor, World
from archetype_core.errors import ProcessorError
from archetype_core.store import MemoryStore


class Act(Processor):
    components = (Position,)

    def __init__(self, act: Callable[[DataFrame], Any]) -> None:
        self.act = act

    def process(self, df: DataFrame) -> Any:
        return self.act(df)


class RowwiseAct(Act):
    rowwise = True


def reason(act: Callable[[DataFrame], Any], kind: type[Act] = Act) -> str:
    """Why a processor failed."""

    async def main() -> str:
        world = World(MemoryStore(), processors=[kind(act)])
        world.spawn(Position())
        world.spawn(Position(), Health())
        await world.step()
        with pytest.raises(ProcessorError) as caught:
            await world.step()
        return caught.value.reason

    return asyncio.run(main())


ACTS: list[Callable[[Any, str], DataFrame]] = [
    lambda df, name: df.with_columns({"position__x": col(name) + 1}),
    lambda df, name: df.with_column("position__x", col(name).cast(daft.DataType.float64()).cbrt()),
    lambda df, name: df.where(col(name).is_null()),
    lambda df, name: df.sort(name),
    lambda df, name: df.select(name),
    lambda df, name: df.groupby(name).agg(col("position__x").sum()),
    lambda df, name: df.with_columns({"position__x": df[name] + 1}),
]


@pytest.mark.parametrize("act", ACTS)
def test_a_column_of_an_undeclared_component_is_explained(act: Callable[[DataFrame, str], DataFrame]) -> None:
    """The reason says which component the column belongs to, and where to add it."""
    found = reason(lambda df: act(df, "velocity__dx"))
    assert found.startswith(
        "the table has no column velocity__dx, which belongs to Velocity; add Velocity to Act.components"
    )


@pytest.mark.parametrize("act", ACTS)
def test_a_misspelt_column_gets_a_suggestion(act: Callable[[DataFrame, str], DataFrame]) -> None:
    """The reason names the nearest column that the table has."""
    found = reason(lambda df: act(df, "positon__x"))
    assert found == "the table has no column positon__x; did you mean position__x?"


def test_an_unknown_column_like_no_other_lists_those_of_the_table() -> None:
    """Without a near name, the reason lists the columns."""
    found = reason(lambda df: df.with_columns({"position__x": col("zzz") + 1}))
    assert found.startswith("the table has no column zzz; it has ")
    assert "position__x" in found


def test_a_rowwise_processor_is_told_too() -> None:
    """A batch of tables has only the declared columns; the reason says so for a component that some tables have."""
    found = reason(lambda df: df.with_columns({"position__x": Health.c.hp + Position.c.x}), RowwiseAct)
    assert "belongs to Health; add Health to RowwiseAct.components" in found


def test_an_error_of_the_user_about_a_column_is_left_alone() -> None:
    """What a processor raises itself is passed on as it says it."""

    def act(df: DataFrame) -> DataFrame:
        raise ValueError('Column "velocity__dx" not found')

    assert reason(act) == 'ValueError: Column "velocity__dx" not found'


def test_a_missing_argument_names_it() -> None:
    """A parameter that no input fills is a ``TypeError`` that names it."""

    class Demands(Processor):
        components = (Position,)

        def process(self, df: DataFrame, wind: float) -> DataFrame:
            return df

    async def main() -> None:
        world = World(MemoryStore(), processors=[Demands()])
        world.spawn(Position())
        await world.step()
        with pytest.raises(ProcessorError, match="missing 1 required positional argument: 'wind'"):
            await world.step()
        await world.step(wind=1.0)

    asyncio.run(main())


def test_columns_are_keys_of_a_step() -> None:
    """``Position.c.x`` names a column wherever its text does (M6)."""

    def act(df: Any) -> Any:
        moved = df.with_columns({Position.c.x: Position.c.x + 1, "position__y": Position.c.y + 2})
        planned = moved.where(col("entity_id").not_null()).with_columns({Position.c.x: Position.c.x + 1})
        return planned.with_column(Position.c.y, Position.c.y + 1)

    async def main() -> None:
        world = World(MemoryStore(), processors=[Act(act)])
        entity = world.spawn(Position(), Velocity())
        await world.run(2)
        assert world.get(entity, Position) == Position(x=2.0, y=3.0)

    asyncio.run(main())


@pytest.mark.parametrize("key", [Position.c.x + 1, 3, None, daft.lit(1)])
def test_other_keys_of_a_step_are_refused(key: object) -> None:
    """A key that names no column says what to write."""
    assert "a column is named by text or by one such as Position.c.x, not" in reason(
        lambda df: df.with_columns({key: Position.c.x})  # type: ignore[dict-item]  # reason: the mistake of this test
    )


def test_a_step_takes_a_mapping() -> None:
    """A list of expressions is refused with what to write."""
    found = reason(lambda df: df.with_columns([Position.c.x]))  # type: ignore[arg-type]  # reason: the mistake
    assert "with_columns takes a mapping from columns to expressions" in found


def test_the_entity_id_cannot_be_written_by_either_name() -> None:
    """``entity_id`` is refused as text and as a column."""
    for key in ("entity_id", col("entity_id")):
        found = reason(lambda df, key=key: df.with_columns({key: Position.c.x}))  # type: ignore[misc]  # reason: bound
        assert "entity_id, which only the engine may set" in found
