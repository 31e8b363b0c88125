"""What a processor may return."""

from __future__ import annotations

import asyncio
from typing import Any

import daft
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from daft import DataFrame, DataType, col, lit
from scene import (
    Calls,
    FaultyStore,
    Health,
    Position,
    SkippedCalls,
    drive,
    history,
    world,
    xs,
)

from archetype_core.engine import Arrays, Processor, World
from archetype_core.engine.daft.frame import PLAN_LIMIT, Frame
from archetype_core.errors import ArchetypeError, PlanTooDeep, ProcessorError
from archetype_core.schema import Component, Mailbox


def through_the_runner(df: DataFrame) -> DataFrame:
    """The same frame, no longer only a record of column steps."""
    return df.where(lit(True))


def returned(*acts: Any, rows: int = 3) -> World:
    """A world of positions 1.0, 2.0, … after a tick of some processors."""

    async def scenario() -> World:
        there = world(*map(Calls, acts))
        there.spawn_many([Position(x=float(n)) for n in range(1, rows + 1)])
        await there.run(2)
        return there

    return drive(scenario)


def refused(act: Any) -> ProcessorError:
    """The error of a tick whose processor returns a wrong frame; the tick is not committed."""

    async def scenario() -> ProcessorError:
        there = world(Calls(act))
        there.spawn_many([Position(x=1.0), Position(x=2.0), Position(x=3.0)])
        await there.step()
        before = there.digest()
        with pytest.raises(ProcessorError) as caught:
            await there.step()
        assert (there.tick, there.digest()) == (1, before)
        assert caught.value.__cause__ is not None
        return caught.value

    return drive(scenario)


ENTITY = col("entity_id")


def with_ids(df: DataFrame, ids: Any) -> DataFrame:
    """The frame with other ids, written by a select."""
    return df.select(ids.alias("entity_id"), *(col(name) for name in df.column_names if name != "entity_id"))


WRONG = {
    "lost": (lambda df, **_: df.where(lit(2) != ENTITY), "lost 1"),
    "lost all": (lambda df, **_: df.where(lit(False)), "lost 3"),
    "duplicated": (lambda df, **_: df.concat(df.where(lit(2) == ENTITY)), "repeated 1"),
    "duplicated and lost": (lambda df, **_: df.where(lit(3) > ENTITY).concat(df.where(lit(2) == ENTITY)), "lost 1"),
    "invented": (
        lambda df, **_: df.concat(with_ids(df.where(lit(2) == ENTITY), lit(9).cast(DataType.int64()))),
        "invented 1",
    ),
    "renamed": (
        lambda df, **_: with_ids(df, (ENTITY + lit(10)).cast(DataType.int64())),
        "invented 3",
    ),
    "rewritten ids": (lambda df, **_: df.with_column("entity_id", ENTITY + lit(1)), "entity_id"),
    "ids of another type": (lambda df, **_: through_the_runner(df).with_column("entity_id", lit("x")), "entity_id"),
    "no entity_id": (lambda df, **_: df.exclude("entity_id"), "has no entity_id"),
    "text for a number": (lambda df, **_: df.with_column("position__x", lit("x")), "position__x"),
    "text for a number, by runner": (
        lambda df, **_: through_the_runner(df).with_column("position__x", lit("x")),
        "position__x",
    ),
    "bool for a number": (lambda df, **_: df.with_column("position__x", Position.c.x > lit(1.0)), "position__x"),
    "nulls": (lambda df, **_: df.with_column("position__x", lit(None)), "null"),
    "some nulls": (
        lambda df, **_: df.with_column(
            "position__x", daft.functions.when(Position.c.x > lit(1.0), Position.c.x).otherwise(lit(None))
        ),
        "null",
    ),
    "unknown column": (lambda df, **_: df.with_column("position__x", col("position__z")), "position__z"),
    "unknown column, by runner": (lambda df, **_: df.where(col("position__z") > lit(1)), "position__z"),
    "nothing": (lambda df, **_: None, "forget to return"),
    "a number": (lambda df, **_: 7, "process returned int"),
    "a coroutine of nothing": (lambda df, **_: asyncio.sleep(0), "forget to return"),
    "another frame": (lambda df, **_: daft.from_pydict({"a": [1]}), "no such column"),
    "a failing udf": (
        lambda df, **_: df.with_column("position__x", Position.c.x.apply(lambda x: 1 / 0, DataType.float64())),
        "",
    ),
    "aggregate": (lambda df, **_: df.agg(Position.c.x.sum()), "has no entity_id"),
}


@pytest.mark.parametrize(("act", "observed"), WRONG.values(), ids=WRONG)
def test_wrong_frames_are_errors(act: Any, observed: str) -> None:
    """A frame with other entities or columns than the table's fails the tick and says what is wrong (T8)."""
    assert observed in str(refused(act))


def test_ids_that_change_places_are_errors() -> None:
    """A processor that exchanges the ids of rows is an error (T8)."""
    refused(lambda df, **_: through_the_runner(df).with_column("entity_id", lit(4) - ENTITY))


def test_helper_columns_are_dropped() -> None:
    """Columns whose names begin with an underscore are dropped after the processor (T8)."""
    seen: list[list[str]] = []

    def act(df: DataFrame, **_: Any) -> DataFrame:
        seen.append(df.column_names)
        return df.with_column("_helper", Position.c.x * lit(2.0)).with_columns(
            {"position__y": col("_helper"), "_tick": lit(99)}
        )

    there = returned(act, lambda df, **_: through_the_runner(act(df)))
    assert [there.get(n)[Position] for n in (1, 2, 3)] == [Position(x=float(n), y=2.0 * n) for n in (1, 2, 3)]
    names = {"entity_id", "position__x", "position__y", "world_id", "run_id", "tick", "is_active"}
    assert [set(names_seen) for names_seen in seen] == [names] * 2
    rows = there.query(Position, ticks=1).to_pydict()
    assert (set(rows["tick"]), set(rows["is_active"]), set(rows["world_id"])) == ({1}, {True}, {there.world_id})


def test_order_of_returned_rows_does_not_matter() -> None:
    """Rows keep their order, however a processor sorts them (T4, T8)."""
    there = returned(lambda df, **_: df.sort(Position.c.x, desc=True).with_column("position__y", Position.c.x))
    (rows,) = there.tables().values()
    assert rows.to_arrow().to_pydict() == {
        "entity_id": [1, 2, 3],
        "position__x": [1.0, 2.0, 3.0],
        "position__y": [1.0, 2.0, 3.0],
    }


def test_numbers_of_other_width_are_cast_and_overflow_is_refused() -> None:
    """A result of the same kind becomes the column's type if every value fits; an int does not take a float (T8)."""

    async def scenario() -> None:
        def give(expression: Any) -> Any:
            async def go() -> Any:
                there = world(Calls(lambda df, **_: df.with_column("health__hp", expression)))
                there.spawn(Position(), Health(hp=3))
                await there.run(2)
                return there.get(1)[Health].hp

            return go()

        assert await give(Health.c.hp.cast(DataType.int8()) + lit(1).cast(DataType.int8())) == 4
        for wrong in (Health.c.hp / lit(2), lit(2**63).cast(DataType.uint64()), lit(1.0)):
            with pytest.raises(ProcessorError) as caught:
                await give(wrong)
            assert (caught.value.column, caught.value.entity_id) == ("health__hp", 1)

    drive(scenario)


def test_base_columns_are_readable() -> None:
    """A processor sees world, run and tick of the rows it is given: those of the tick before (M5)."""
    there = returned(lambda df, tick, **_: df.with_column("position__x", col("tick").cast(DataType.float64())))
    assert xs(there) == {1: 0.0, 2: 0.0, 3: 0.0}
    there = returned(lambda df, **_: df.where(col("is_active") & (col("tick") == lit(0)) & col("world_id").not_null()))
    assert len(there) == 3


def test_later_steps_see_what_earlier_ones_wrote() -> None:
    """Within a processor a step sees what an earlier one wrote, and base columns (T12)."""
    double = daft.func(lambda tick: tick * 2.0, return_dtype=DataType.float64())
    there = returned(
        lambda df, **_: df.with_column("_tick", col("tick") + lit(21)).with_column("position__x", double(col("_tick")))
    )
    assert xs(there) == {1: 42.0, 2: 42.0, 3: 42.0}


def test_deep_plans_are_refused() -> None:
    """A plan with too many steps is PlanTooDeep; recorded column steps do not count."""

    def deep(df: DataFrame, **_: Any) -> DataFrame:
        for _step in range(PLAN_LIMIT * 2):
            df = df.where(Position.c.x > lit(0.0))
        return df

    def recorded(df: DataFrame, **_: Any) -> DataFrame:
        for _step in range(PLAN_LIMIT * 2):
            df = df.with_column("position__x", Position.c.x + lit(1.0))
        return df

    cause = refused(deep).__cause__
    assert isinstance(cause, PlanTooDeep)
    assert cause.limit == PLAN_LIMIT
    assert cause.depth > PLAN_LIMIT
    assert isinstance(refused(lambda df, **_: recorded(df).where(lit(True))).__cause__, PlanTooDeep)
    assert xs(returned(recorded)) == {n: n + PLAN_LIMIT * 2.0 for n in (1, 2, 3)}


def test_frame_can_be_looked_at_like_any_other() -> None:
    """A processor may collect, count, show, iterate and index its frame before it returns it (T13)."""

    def act(df: DataFrame, **_: Any) -> DataFrame:
        assert isinstance(df, Frame)
        changed = df.with_column("position__y", Position.c.x * lit(2.0))
        assert changed.count_rows() == len(changed.to_pydict()["entity_id"]) == 3
        assert sorted(row["position__y"] for row in changed.iter_rows()) == [2.0, 4.0, 6.0]
        assert "position__y" in repr(changed)
        assert changed.schema()["position__y"].dtype == DataType.float64()
        assert changed["position__x"].name() == "position__x"
        assert [one.name() for one in changed.columns] == changed.column_names
        changed.collect()
        return changed.with_column("position__x", col("position__y") + lit(1.0))

    assert xs(returned(act)) == {1: 3.0, 2: 5.0, 3: 7.0}


def test_constants_fill_every_row() -> None:
    """A literal is a value for each row, alone and beside columns (T8)."""
    there = returned(lambda df, **_: df.with_column("position__x", lit(5.0)).with_column("position__y", lit(6)))
    assert xs(there) == {1: 5.0, 2: 5.0, 3: 5.0}
    assert {there.get(n)[Position].y for n in (1, 2, 3)} == {6.0}


def test_skip_covers_whatever_goes_wrong() -> None:
    """on_error="skip" drops a frame that is wrong just as one that never came (T7, T8)."""

    async def scenario() -> None:
        for act, _ in WRONG.values():
            there = world(SkippedCalls(act), Calls(lambda df, **_: df.with_column("position__y", lit(7.0))))
            there.spawn_many([Position(x=1.0), Position(x=2.0), Position(x=3.0)])
            await there.run(2)
            assert xs(there) == {1: 1.0, 2: 2.0, 3: 3.0}
            assert there.get(1)[Position].y == 7.0

    drive(scenario)


def test_untouched_tables_are_not_written_again() -> None:
    """An unchanged table is not written again, and is read at every tick (T11, Q2)."""

    async def scenario() -> None:
        store = FaultyStore()
        there = world(Calls(lambda df, **_: df), store=store)
        there.spawn_many([Position(), Health()])
        await there.run(4)
        assert [len(commit.written) for commit in store.commits] == [2, 0, 0, 0]
        assert [row["tick"] for row in history(there, Health)] == [0, 1, 2, 3]

    drive(scenario)


def test_errors_of_the_engine_keep_their_words() -> None:
    """The reason in a ProcessorError is the engine's own message, or the type and text of what was raised (T7)."""
    assert refused(lambda df, **_: 1 / 0).reason == "ZeroDivisionError: division by zero"
    assert issubclass(ProcessorError, ArchetypeError)


@pytest.mark.parametrize(
    "raised", [ValueError("v"), KeyError("k"), StopIteration(), AssertionError(), RecursionError()]
)
def test_whatever_is_raised_is_told_as_one_type(raised: Exception) -> None:
    """The caller gets a ProcessorError with the exception as its cause (T7)."""

    def act(df: DataFrame, **_: Any) -> DataFrame:
        raise raised

    assert refused(act).__cause__ is raised


def test_each_processor_sees_the_result_of_the_one_before() -> None:
    """The frame of one processor is what the next one is given (T12)."""

    def plus(amount: float) -> Any:
        return lambda df, **_: df.with_column("position__x", Position.c.x + lit(amount))

    def times(amount: float) -> Any:
        return lambda df, **_: through_the_runner(df).with_column("position__x", Position.c.x * lit(amount))

    assert xs(returned(plus(1.0), times(10.0), plus(5.0))) == {1: 25.0, 2: 35.0, 3: 45.0}


def test_columns_that_are_not_returned_stand() -> None:
    """A frame, a table or a mapping with some columns leaves the others as they are, by reference (T8, T11)."""
    doubled: dict[str, Any] = {"position__x": Position.c.x * lit(2.0)}
    acts = [
        lambda df, **_: df.with_columns(doubled).select("entity_id", "position__x"),
        lambda df, **_: (
            through_the_runner(df).with_columns(doubled).exclude("position__y", "tick").sort(ENTITY, desc=True)
        ),
        lambda df, **_: pa.table({"position__x": pc.multiply(df.to_arrow()["position__x"], 2.0)}),
        lambda df, **_: df.with_columns(doubled).to_arrow().take([2, 0, 1]),
        lambda df, **_: doubled,
    ]

    async def scenario() -> None:
        for act in acts:
            there = world(Calls(act))
            there.spawn_many([Position(x=float(n), y=7.0) for n in (1, 2, 3)])
            await there.step()
            (before,) = there.tables().values()
            await there.step()
            (rows,) = there.tables().values()
            assert xs(there) == {1: 2.0, 2: 4.0, 3: 6.0}
            assert rows.columns["position__y"].arrow.to_pylist() == [7.0] * 3
            assert rows.columns["entity_id"] is before.columns["entity_id"]

    drive(scenario)


def test_expressions_of_a_mapping_see_the_frame_as_it_was_given() -> None:
    """Expressions, arrays and scalars of one mapping do not see one another (T8)."""
    there = returned(lambda df, **_: {"position__x": Position.c.y + lit(1.0), "position__y": Position.c.x})
    assert [there.get(n)[Position] for n in (1, 2)] == [Position(x=1.0, y=1.0), Position(x=1.0, y=2.0)]
    double = daft.func(lambda x: x * 2.0, return_dtype=DataType.float64())
    there = returned(lambda df, **_: {"position__x": [9.0, 9.0, 9.0], Position.c.y: double(Position.c.x)})
    assert [there.get(n)[Position] for n in (1, 3)] == [Position(x=9.0, y=2.0), Position(x=9.0, y=6.0)]


WRONG_TABLES: dict[str, tuple[Any, str, str | None, int | None]] = {
    "lost": (lambda table: table.slice(1), "lost 1", "entity_id", 1),
    "invented": (lambda table: table.set_column(0, "entity_id", pa.array([1, 2, 7])), "invented 1", "entity_id", 3),
    "repeated": (lambda table: table.take([0, 1, 2, 1]), "repeated 1", "entity_id", 2),
    "null id": (lambda table: table.set_column(0, "entity_id", pa.array([1, 2, None])), "lost 1", "entity_id", 3),
    "id as text": (lambda table: table.set_column(0, "entity_id", pa.array(["1", "2", "3"])), "string", "entity_id", None),
    "short": (lambda table: table.drop_columns(["entity_id"]).slice(1), "2 rows for 3 entities", None, None),
    "written tick": (
        lambda table: table.set_column(table.column_names.index("tick"), "tick", pa.array([0, 5, 0])), "only the engine",
        "tick", 2,
    ),
    "misspelt": (lambda table: table.append_column("position__xx", table["position__x"]), "did you mean", "position__xx", None),
    "twice": (lambda table: table.append_column("position__x", table["position__x"]), "twice", "position__x", None),
}  # fmt: skip


@pytest.mark.parametrize(("change", "says", "column", "entity"), WRONG_TABLES.values(), ids=WRONG_TABLES)
def test_wrong_tables_name_column_and_entity(change: Any, says: str, column: str | None, entity: int | None) -> None:
    """An Arrow table with other entities or columns names the first that is wrong (T8)."""
    failure = refused(lambda df, **_: change(df.to_arrow()))
    assert says in str(failure)
    assert (failure.column, failure.entity_id) == (column, entity)


@pytest.mark.parametrize("through", [lambda df: df, through_the_runner], ids=["record", "plan"])
@pytest.mark.parametrize("name", ["tick", "world_id", "run_id", "is_active"])
def test_written_base_columns_are_errors(name: str, through: Any) -> None:
    """A processor that writes a base column is told so, with another value or another type (T8)."""
    for value in (lit("other"), lit(77)):
        failure = refused(lambda df, value=value, **_: through(df).with_column(name, value))
        assert (failure.column, "only the engine" in failure.reason) == (name, True)


@pytest.mark.parametrize("through", [lambda df: df, through_the_runner], ids=["record", "plan"])
def test_misspelt_columns_are_errors(through: Any) -> None:
    """A column that the table does not have is an error with the nearest name, unless it begins with an underscore (T8)."""
    failure = refused(lambda df, **_: through(df).with_column("position_x", lit(1.0)))
    assert "did you mean position__x?" in failure.reason
    assert failure.column == "position_x"
    assert xs(returned(lambda df, **_: through(df).with_column("_position_x", lit(1.0)))) == {1: 1.0, 2: 2.0, 3: 3.0}


def test_nothing_may_be_returned_by_who_can_have_an_effect() -> None:
    """None changes nothing if process names messages, and is an error otherwise (T8)."""

    class Speaks(Processor):
        components = (Position,)

        async def process(self, *, messages: Mailbox) -> None:
            messages.send(1, "hello")

    class Forgets(Processor):
        components = (Position,)

        def process(self, **given: Any) -> None:
            given["messages"].send(1, "hello")

    async def scenario() -> None:
        there = world(Speaks())
        there.spawn(Position(x=1.0))
        await there.run(3)
        assert xs(there) == {1: 1.0}
        there.add_processor(Forgets())
        with pytest.raises(ProcessorError, match="forget to return"):
            await there.step()

    drive(scenario)


def test_every_path_of_the_executor_gives_the_same_rows() -> None:
    """Frames, expressions and arrays give the same rows alone, crowded and batched as rowwise (T8, T13)."""
    tags = [type(f"Crowd{number}", (Component,), {"__module__": __name__}) for number in range(6)]
    asked: list[int] = []

    def arrays_of(arrays: Arrays) -> dict[Any, Any]:
        return {Position.c.x: arrays[Position.c.x] + arrays[Position.c.y]}

    class Base(Processor):
        components = (Position,)

    class ByFrame(Base):
        def process(self, df: DataFrame) -> DataFrame:
            return df.with_column("position__x", Position.c.x + Position.c.y)

    class ByExpression(Base):
        def process(self) -> dict[Any, Any]:
            return {Position.c.x: Position.c.x + Position.c.y}

    class ByRunner(Base):
        def process(self, df: DataFrame) -> DataFrame:
            return through_the_runner(df).with_column("position__x", Position.c.x + Position.c.y)

    class ByArrays(Base):
        def process(self, arrays: Arrays) -> dict[Any, Any]:
            asked.append(len(arrays))
            return arrays_of(arrays)

    class ByCoroutine(Base):
        async def process(self, tick: int, *, arrays: Arrays) -> dict[Any, Any]:
            await asyncio.sleep(0)
            assert tick
            return arrays_of(arrays)

    async def scenario() -> None:
        digests = set()
        for kind in (ByFrame, ByExpression, ByRunner, ByArrays, ByCoroutine):
            for rowwise in (False, True):
                made = type(kind.__name__, (kind,), {"rowwise": rowwise})()
                there = world(made, seed=1)
                for number, tag in enumerate(tags):
                    there.spawn_many([(Position(x=float(number), y=float(n)), tag()) for n in range(3)])
                await there.run(3)
                digests.add(there.digest())
        assert len(digests) == 1
        assert asked == [3] * 12 + [18] * 2

    drive(scenario)
