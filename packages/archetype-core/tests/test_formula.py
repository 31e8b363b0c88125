"""Formulas: processors that write the same expressions for every table are called once, and nobody can tell."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping
from typing import Any, ClassVar

import daft
import daft.functions
import pytest
from daft import DataFrame, DataType, Expression, Window, col, lit
from daft.functions import monotonically_increasing_id, sqrt
from scene import Position, Velocity, drive, world

from archetype_core.engine import Processor, World
from archetype_core.engine.call import Call
from archetype_core.errors import ProcessorError
from archetype_core.schema import Component

TAGS = [type(f"Crowded{number}", (Component,), {"__module__": __name__}) for number in range(6)]
RATE = 2.0
MOVES = {Position.c.x: Position.c.x + Velocity.c.dx}


class Steps(Processor):
    components = (Position, Velocity)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the processors that were called, in order."""
    made: list[str] = []
    run = Call.run

    def counted(self: Call, *arguments: Any) -> Any:
        made.append(self.slot.name)
        return run(self, *arguments)

    monkeypatch.setattr(Call, "run", counted)
    return made


def crowd(*processors: Processor) -> World:
    """A world of six tables with two moving entities each."""
    there = world(*processors, seed=1)
    for number, tag in enumerate(TAGS):
        there.spawn_many([(Position(x=4.0, y=float(number)), Velocity(dx=number + 1.0), tag())] * 2)
    return there


def positions(there: World) -> dict[int, tuple[float, float]]:
    """Where every entity is."""
    found: dict[int, tuple[float, float]] = {}
    for rows in there.tables().values():
        table = rows.to_arrow()
        pairs = zip(table["position__x"].to_pylist(), table["position__y"].to_pylist(), strict=True)
        found.update(zip(table["entity_id"].to_pylist(), pairs, strict=True))
    return dict(sorted(found.items()))


def blind_processors() -> list[type[Steps]]:
    """Processors in the styles that people write, none of which can tell two tables apart."""
    here = 3.0
    named = Velocity

    class ByFrame(Steps):
        async def process(self, df: DataFrame) -> DataFrame:
            return df.with_columns({"position__x": col("position__x") + col("velocity__dx")})

    class ByChain(Steps):
        def process(self, df: DataFrame) -> DataFrame:
            df = df.with_column("_half", df["velocity__dx"] / 2)
            return df.with_column("position__x", Position.c.x + df["_half"])

    class ByMapping(Steps):
        def process(self) -> Mapping[Any, Any]:
            return {Position.c.x: Position.c.x + named.c.dx * here, "position__y": Position.c.y - 1}

    class ByAttribute(Steps):
        moves: ClassVar[dict[Any, Any]] = MOVES

        def process(self, **_: Any) -> Mapping[Any, Any]:
            return self.moves

    class ByParameter(Steps):
        def __init__(self) -> None:
            self.rate = 0.5

        def process(self, rows: DataFrame) -> DataFrame:
            step = Velocity.c.dx * self.rate
            return rows.with_column("position__x", (Position.c.x + step).clip(lit(0.0), lit(100.0)))

    class ByFunction(Steps):
        def process(self, df: DataFrame, tick: int) -> DataFrame:
            return df.with_column(
                "position__x", sqrt(Position.c.x.abs()) * RATE + daft.lit(1.5) * daft.col("tick") + tick
            )

    class ByTest(Steps):
        def process(self) -> Mapping[Any, Any]:
            return {Position.c.x: (Position.c.x.is_in([4.0, 5.0]) & ~Position.c.y.is_nan()).cast("double")}

    return [ByFrame, ByChain, ByMapping, ByAttribute, ByParameter, ByFunction, ByTest]


@pytest.mark.parametrize("kind", blind_processors(), ids=lambda kind: kind.__name__)
def test_processor_that_cannot_tell_tables_apart_is_called_once(kind: type[Steps], calls: list[str]) -> None:
    """One call a tick serves all tables, with the rows that a call for each of them makes."""

    @functools.wraps(kind.process)
    def process(self: Any, *frame: Any, **given: Any) -> Any:
        return kind.process(self, *frame, **given)

    watched_kind = type("Watched", (kind,), {"process": process})

    async def scenario() -> None:
        there, watched = crowd(kind()), crowd(watched_kind())
        await there.run(4)
        assert calls == [kind.__qualname__] * 3
        calls.clear()
        await watched.run(4)
        assert len(calls) == 3 * len(TAGS)
        assert positions(there) == positions(watched)
        assert there.digest() == watched.digest()

    drive(scenario)


def seeing_processors() -> list[type[Steps]]:
    """Processors whose calls may differ, have an effect, or are not understood; each writes x."""
    count = 0

    @functools.wraps(sqrt)
    def own_sqrt(value: Expression) -> Expression:
        nonlocal count
        count += 1
        return sqrt(value) + count

    class Counts(Steps):
        calls = 0

        def process(self) -> Mapping[Any, Any]:
            self.calls += 1
            return {Position.c.x: Position.c.x + self.calls}

    class Changes(Steps):
        def __init__(self) -> None:
            self.moves = dict(MOVES)

        def process(self) -> Mapping[Any, Any]:
            self.moves.update({Position.c.y: Position.c.y + 1})
            return self.moves

    class ChangesInPlace(Steps):
        def __init__(self) -> None:
            self.moves: dict[Any, Any] = dict(MOVES)

        def process(self) -> Mapping[Any, Any]:
            moves = self.moves
            moves |= {Position.c.y: Position.c.y + 1}
            return moves

    class Looks(Steps):
        def process(self, df: DataFrame) -> DataFrame:
            return df.with_column("position__x", Position.c.x + len(df.column_names))

    class LooksByPosition(Steps):
        def process(self, df: DataFrame) -> DataFrame:
            return df.with_column("position__x", df.with_column("_one", lit(1))[1] + 1)

    class Measures(Steps):
        def process(self, df: DataFrame) -> DataFrame:
            return df.with_column("position__x", Position.c.x + df.count_rows())

    class Asks(Steps):
        @property
        def rate(self) -> float:
            self.asked = getattr(self, "asked", 0) + 1
            return float(self.asked)

        def process(self) -> Mapping[Any, Any]:
            return {Position.c.x: Position.c.x + self.rate}

    class AsksAnyName(Steps):
        asked = 0

        def __getattr__(self, name: str) -> float:
            type(self).asked += 1
            return float(self.asked)

        def process(self) -> Mapping[Any, Any]:
            return {Position.c.x: Position.c.x + self.anything}

    class Wraps(Steps):
        def process(self) -> Mapping[Any, Any]:
            return {Position.c.x: own_sqrt(Position.c.x)}

    class Branches(Steps):
        def process(self, tick: int) -> Mapping[Any, Any]:
            return {Position.c.x: Position.c.x + (1 if tick % 2 else 2)}

    class Catches(Steps):
        def process(self) -> Mapping[Any, Any]:
            try:
                return {Position.c.x: Position.c.x + Velocity.c.dx}
            except ValueError:
                return {}

    class Draws(Steps):
        def process(self, rng: Any) -> Mapping[Any, Any]:
            return {Position.c.x: Position.c.x + float(rng.random())}

    class Keeps(Steps):
        def process(self, df: DataFrame) -> DataFrame:
            return df

    class Drops(Steps):
        def process(self, df: DataFrame) -> DataFrame:
            return df.with_column("_one", lit(1)).exclude("_one").with_column("position__x", Position.c.x + 1)

    return [
        Counts, Changes, ChangesInPlace, Looks, LooksByPosition, Measures, Asks, AsksAnyName, Wraps, Branches, Catches, Draws,
        Keeps, Drops,
    ]  # fmt: skip


@pytest.mark.parametrize("kind", seeing_processors(), ids=lambda kind: kind.__name__)
def test_any_other_processor_is_called_for_each_table(kind: type[Steps], calls: list[str]) -> None:
    """Code that may see its table, have an effect or differ from call to call runs for every table."""

    async def scenario() -> None:
        there = crowd(kind())
        await there.run(3)
        assert len(calls) == 2 * len(TAGS)

    drive(scenario)


def test_values_are_made_for_each_table(calls: list[str]) -> None:
    """A processor that cannot tell tables apart, but gives values and not expressions, gives them for each table."""

    class Gives(Steps):
        def process(self) -> Mapping[Any, Any]:
            return {Position.c.x: 7.0}

    async def scenario() -> None:
        there = crowd(Gives())
        await there.run(2)
        assert len(calls) > len(TAGS)
        assert {x for x, _ in positions(there).values()} == {7.0}

    drive(scenario)


IDENTITY = daft.func(lambda x: x, return_dtype=DataType.float64())


@pytest.mark.parametrize(
    "expression",
    [
        IDENTITY(Position.c.x),
        Position.c.x.sum().over(Window().partition_by("velocity__dx")),
        monotonically_increasing_id().cast(DataType.float64()),
    ],
    ids=["code", "window", "row number"],
)
def test_rows_of_two_tables_never_meet(expression: Expression, calls: list[str]) -> None:
    """An expression that looks beyond its row is evaluated over one table, although its processor writes it for all."""

    class Looks(Steps):
        what = expression

        def process(self, df: DataFrame) -> DataFrame:
            return df.with_column("position__x", self.what)

    async def played(*tags: type[Component]) -> list[float]:
        there = world(Looks(), seed=1)
        for tag in tags:
            there.spawn_many([(Position(x=float(n)), Velocity(dx=1.0), tag()) for n in range(3)])
        await there.run(2)
        return [x for x, _ in positions(there).values()]

    async def scenario() -> None:
        alone = [await played(tag) for tag in TAGS]
        calls.clear()
        assert await played(*TAGS) == list(itertools.chain(*alone))
        assert len(calls) >= len(TAGS)

    drive(scenario)


def test_value_that_an_earlier_processor_changes_is_seen() -> None:
    """A processor reads its attributes when its turn comes, also if another processor just changed them."""

    class Scales(Steps):
        priority = 1
        rate = 0.0

        def process(self) -> Mapping[Any, Any]:
            return {Position.c.x: Position.c.x * 0 + self.rate}

    class ScalesByTable(Scales):
        factors: ClassVar[dict[str, float]] = {"rate": 0.0}
        moves: ClassVar[dict[Any, Any]] = {}

        def process(self) -> Mapping[Any, Any]:
            return self.moves

    async def scenario() -> None:
        scales, by_table = Scales(), ScalesByTable()

        class Sets(Steps):
            def process(self, arrays: Any, tick: int) -> Mapping[Any, Any]:
                scales.rate = float(arrays[Velocity.c.dx][0])
                by_table.moves[Position.c.y] = Position.c.y * 0 + tick
                return {}

        there = crowd(Sets(), scales, by_table)
        await there.run(3)
        got = positions(there)
        dx = {n: (n - 1) // 2 + 1.0 for n in got}
        assert got == {n: (dx[n], 2.0) for n in got}

    drive(scenario)


def test_processors_see_what_earlier_ones_wrote_in_the_same_tick() -> None:
    """Shared steps keep to each table's order of processors, with others between them (T12)."""

    class Doubles(Steps):
        def process(self) -> Mapping[Any, Any]:
            return {Position.c.x: Position.c.x * 2}

    class AddsByArrays(Steps):
        priority = 1

        def process(self, arrays: Any) -> Mapping[Any, Any]:
            return {Position.c.x: arrays[Position.c.x] + 1}

    class Copies(Steps):
        priority = 2

        def process(self, df: DataFrame) -> DataFrame:
            return df.with_column("position__y", Position.c.x)

    class Squares(Processor):
        components = (Position,)
        priority = 3

        def process(self, df: DataFrame) -> DataFrame:
            return df.with_column("position__x", Position.c.y * Position.c.y)

    async def scenario() -> None:
        there = crowd(Squares(), Copies(), AddsByArrays(), Doubles())
        await there.run(2)
        assert set(positions(there).values()) == {(81.0, 9.0)}
        await there.step()
        assert set(positions(there).values()) == {(163.0**2, 163.0)}

    drive(scenario)


def test_column_that_the_processor_does_not_declare_is_looked_up_in_each_table() -> None:
    """Tables that have it use it; the first that lacks it fails the tick."""

    class Reads(Processor):
        components = (Position,)

        def process(self, df: DataFrame) -> DataFrame:
            return df.with_column("position__x", df["velocity__dx"] + 1)

    async def scenario() -> None:
        there = crowd(Reads())
        await there.run(2)
        assert [x for x, _ in positions(there).values()] == [n + 2.0 for n in range(6) for _ in range(2)]
        there.spawn(Position(), TAGS[0]())
        await there.step()
        with pytest.raises(ProcessorError, match="velocity__dx"):
            await there.step()

    drive(scenario)
