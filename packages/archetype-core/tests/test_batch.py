"""Small tables that are evaluated together: each has what it would have alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from daft import DataFrame
from daft.functions import sqrt
from hypothesis import given, settings
from hypothesis import strategies as st
from scene import Move, Position, Velocity, drive, world

from archetype_core.engine import Processor, World
from archetype_core.errors import ProcessorError
from archetype_core.schema import Component
from archetype_core.store import digest_table
from archetype_core.store.commit import Rows

TAGS = [type(f"Batched{number}", (Component,), {"__module__": __name__}) for number in range(6)]


class Level(Component):
    value: int = 0
    next: int | None = None


class Climbs(Processor):
    """Writes null to a column that is not optional wherever there is no next level."""

    components = (Level,)

    def process(self, df: DataFrame) -> DataFrame:
        return df.with_column("level__value", Level.c.next)


class SkippedClimbs(Climbs):
    on_error = "skip"


def leveled(processor: Processor, bad: int) -> World:
    """A world of six tables with three levels each; one table has no next level from its second entity on."""
    there = world(processor, seed=1)
    for number, tag in enumerate(TAGS):
        there.spawn_many([(Level(value=1, next=2 if number != bad or n == 0 else None), tag()) for n in range(3)])
    return there


def test_failure_names_the_table_the_column_and_the_first_entity() -> None:
    """A value that does not fit is told as for a table alone, with the user's line (T8)."""

    async def scenario() -> None:
        there = leveled(Climbs(), 4)
        await there.step()
        with pytest.raises(ProcessorError) as caught:
            await there.step()
        (table,) = [one.name for one in there.tables() if TAGS[4] in one]
        failure = caught.value
        assert (failure.processor, failure.table, failure.tick) == ("Climbs", table, 1)
        assert (failure.column, failure.entity_id) == ("level__value", 4 * 3 + 2)
        lines = []
        trace = failure.__traceback__
        while trace is not None:
            lines.append(trace.tb_frame.f_code.co_name)
            trace = trace.tb_next
        assert "process" in lines
        assert there.tick == 1

    drive(scenario)


def test_skipped_failure_drops_the_frame_of_its_table_only() -> None:
    """With ``on_error="skip"`` the other tables have their results (T7)."""

    async def scenario() -> None:
        there = leveled(SkippedClimbs(), 2)
        await there.run(2)
        got = {
            number: rows.columns["level__value"].arrow.to_pylist()
            for archetype, rows in there.tables().items()
            for number, tag in enumerate(TAGS)
            if tag in archetype
        }
        assert got == {number: [1, 1, 1] if number == 2 else [2, 2, 2] for number in range(6)}

    drive(scenario)


class Drifts(Processor):
    """Moves by a rate."""

    components = (Position, Velocity)
    priority = 1

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def process(self, df: DataFrame) -> DataFrame:
        return df.with_column("position__y", Position.c.y + Position.c.x * self.rate)


class Brakes(Processor):
    """Slows down, by arrays."""

    components = (Position, Velocity)
    priority = 2

    def process(self, arrays: Any) -> Mapping[Any, Any]:
        return {Velocity.c.dx: arrays[Velocity.c.dx] * 0.5}


class Roots(Processor):
    """Makes NaN of what is below zero."""

    components = (Position,)
    priority = 4

    def process(self) -> Mapping[Any, Any]:
        return {Position.c.x: sqrt(Position.c.x)}


MAKERS: list[Callable[[], Processor]] = [
    Move, lambda: Drifts(0.5), lambda: Drifts(math.inf), Brakes, Roots, SkippedClimbs,
]  # fmt: skip
FLOATS = st.floats(width=64, allow_nan=True, allow_infinity=True)
ROWS = st.lists(st.tuples(FLOATS, FLOATS, st.booleans(), st.none() | st.integers(0, 9)), min_size=1, max_size=3)
TABLES = st.lists(ROWS, min_size=5, max_size=len(TAGS))
CHANGES = st.lists(
    st.one_of(
        st.just(("step", 0, 0.0)),
        st.tuples(st.just("update"), st.integers(1, 18), FLOATS),
        st.tuples(st.just("despawn"), st.integers(1, 18), st.just(0.0)),
        st.tuples(st.just("spawn"), st.integers(0, 5), FLOATS),
    ),
    max_size=6,
)


@settings(max_examples=40)
@given(tables=TABLES, makers=st.lists(st.sampled_from(MAKERS), min_size=1, max_size=4), changes=CHANGES)
def test_many_small_tables_have_the_digests_of_the_same_tables_alone(
    tables: list[list[tuple[float, float, bool, int | None]]],
    makers: list[Callable[[], Processor]],
    changes: list[tuple[str, int, float]],
) -> None:
    """Whatever the rows, processors and changes: each table is bit by bit what it is in a world without the others."""

    async def played(shown: int | None) -> list[dict[str, bytes]]:
        """The digests of all tables after each step; with ``shown``, of a world that has only one tag's entities."""
        there = world(*(make() for make in makers), seed=1)
        tables_of: dict[int, int] = {}

        def spawn(table: int, *parts: Component) -> None:
            entity = there.spawn(*parts, TAGS[table]())
            if shown in (None, table):
                tables_of[entity] = table
            else:
                # Before its first tick, so that it uses its id and is never there.
                there.despawn(entity)

        for table, rows in enumerate(tables):
            for x, dx, has_level, level in rows:
                spawn(table, Position(x=x, y=1.0), Level(next=level) if has_level else Velocity(dx=dx))
        found = []
        for what, number, value in [*changes, ("step", 0, 0.0), ("step", 0, 0.0)]:
            if what == "step":
                await there.step()
                found.append({one.name: digest_table(Rows(rows).to_arrow()) for one, rows in there.tables().items()})
            elif what == "spawn":
                spawn(number % len(tables), Position(x=value), Velocity())
            elif number in tables_of and what == "despawn":
                there.despawn(number)
                del tables_of[number]
            elif number in tables_of:
                there.update(number, Position(x=value))
        return found

    async def scenario() -> None:
        alone = [await played(number) for number in range(len(tables))]
        together = await played(None)
        for tick, digests in enumerate(together):
            assert digests == {name: one for parts in alone for name, one in parts[tick].items()}

    drive(scenario)
