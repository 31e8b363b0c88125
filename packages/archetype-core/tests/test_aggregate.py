"""Numbers about columns, and densities, against numpy."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scene import Frozen, Health, Move, Name, Position, Velocity, drive, world

from archetype_core.errors import TickNotFound, UnknownColumn
from archetype_core.read.binning import density, even_edges, histogram
from archetype_core.schema import Component

FINITE = st.floats(allow_nan=False, allow_infinity=False)
SMALL = st.floats(-10, 10) | st.integers(-10, 10).map(float)


class Reading(Component):
    value: float | None = 0.0
    level: int = 0
    is_on: bool = False


def expected(values: list[float | None], quantiles: tuple[float, ...] = (0.25, 0.5, 0.75)) -> dict[str, Any]:
    """What numpy says about the finite ones of some values."""
    numbers = np.array([one for one in values if one is not None], np.float64)
    finite = numbers[np.isfinite(numbers)]
    return {
        "count": len(finite),
        "nulls": values.count(None),
        "nans": int(np.isnan(numbers).sum()),
        "infinite": int(np.isinf(numbers).sum()),
        "mean": pytest.approx(finite.mean()) if len(finite) else None,
        "min": finite.min() if len(finite) else None,
        "max": finite.max() if len(finite) else None,
        "quantiles": pytest.approx(np.quantile(finite, quantiles).tolist()) if len(finite) else [],
    }


def rows(frame: Any) -> list[dict[str, Any]]:
    """The rows of an answer."""
    found: list[dict[str, Any]] = frame.to_arrow().to_pylist()
    return found


def numbers(row: dict[str, Any]) -> dict[str, Any]:
    """The part of a row that ``expected`` gives."""
    return {name: row[name] for name in expected([])}


@given(values=st.lists(FINITE, min_size=1, max_size=50), bins=st.integers(1, 20))
@example(values=[1e308, -1e308, 0.0], bins=3)
@example(values=[0.0, sys.float_info.max], bins=3)
@example(values=[1e308, -5e-324], bins=1)
@example(values=[5e-324, 0.0, 1e-323], bins=7)
@example(values=[1e300], bins=4)
@example(values=[1.0, math.nextafter(1.0, 2.0)], bins=10)
@example(values=[float(2**53), float(2**53) + 2], bins=5)
def test_every_value_is_in_the_bin_of_its_edges(values: list[float], bins: int) -> None:
    """Whatever the values are, every one is counted once, between the edges of its bin."""
    given_values = np.array(values)
    edges = even_edges(float(given_values.min()), float(given_values.max()), bins)
    assert len(edges) == bins + 1
    assert np.all(edges[1:] >= edges[:-1])
    assert (edges[0] <= given_values.min(), edges[-1] >= given_values.max()) == (True, True)
    counts, outside = histogram(given_values, edges, is_even=True)
    assert (outside, counts.sum()) == (0, len(values))
    assert counts.tolist() == np.histogram(given_values, edges)[0].tolist()


@given(
    values=st.lists(SMALL, max_size=50),
    low=st.integers(-12, 8),
    width=st.integers(1, 10) | st.floats(0.001, 20),
    bins=st.integers(1, 100),
)
def test_histograms_are_those_of_numpy(values: list[float], low: int, width: float, bins: int) -> None:
    """Values on edges, and those outside of all bins, are where numpy has them."""
    array, edges = np.array(values), even_edges(low, low + width, bins)
    expected_counts, _ = np.histogram(array, edges)
    for is_even in (True, False):
        counts, outside = histogram(array, edges, is_even=is_even)
        assert counts.tolist() == expected_counts.tolist()
        assert outside == len(values) - expected_counts.sum()


@given(
    points=st.lists(st.tuples(SMALL, SMALL), max_size=50),
    x_bins=st.integers(1, 30),
    y_bins=st.integers(1, 30),
    high=st.integers(0, 10),
)
def test_densities_are_those_of_numpy(points: list[tuple[float, float]], x_bins: int, y_bins: int, high: int) -> None:
    """A density has a row for each bin of y, and counts what numpy counts."""
    x, y = np.array(points).reshape(-1, 2).T
    x_edges, y_edges = even_edges(-5, high, x_bins), even_edges(-10, 10, y_bins)
    counts, outside = density(x, y, x_edges, y_edges)
    found, _, _ = np.histogram2d(x, y, [x_edges, y_edges])
    assert counts.tolist() == found.T.tolist()
    assert outside == len(points) - counts.sum()


ODD = st.none() | SMALL | st.sampled_from([math.nan, math.inf, -math.inf])


@given(
    first=st.lists(st.tuples(ODD, st.integers(-(2**40), 2**40), st.booleans()), max_size=8),
    second=st.lists(st.tuples(ODD, st.integers(-9, 9), st.booleans()), max_size=8),
)
def test_numbers_are_those_of_numpy(first: list[Any], second: list[Any]) -> None:
    """Over all tables or table by table; nulls, NaN and infinities are counted apart, in memory and in the store (Q1, Q2)."""

    async def main() -> None:
        there = world()
        for value, level, is_on in first:
            there.spawn(Reading(value=value, level=level, is_on=is_on))
        for value, level, is_on in second:
            there.spawn(Reading(value=value, level=level, is_on=is_on), Frozen())
        await there.run(2)
        for at in (None, 0):
            found = rows(there.aggregate(Reading, at=at))
            assert [one["column"] for one in found] == ["reading__value", "reading__level", "reading__is_on"]
            assert {(one["world_id"], one["tick"], one["archetype"]) for one in found} == {
                (there.world_id, 1 if at is None else 0, None)
            }
            for place, row in enumerate(found):
                assert numbers(row) == expected([one[place] for one in (*first, *second)])
            split = {one["archetype"]: one for one in rows(there.aggregate(Reading.c.value, at=at, by_archetype=True))}
            if first:
                assert numbers(split["Reading"]) == expected([one[0] for one in first])
            if second:
                assert numbers(split["Frozen + Reading"]) == expected([one[0] for one in second])

    drive(main)


def test_a_range_of_ticks_has_one_set_of_edges() -> None:
    """The bins of a range cover all its ticks and worlds, so its histograms can be compared; the range is clipped (Q2)."""

    async def main() -> None:
        there = world(Move())
        there.spawn(Position(), Velocity(dx=1.0))
        there.spawn(Position(), Velocity(dx=3.0))
        await there.run(4)
        fork = await there.fork("fork")
        fork.update(1, Velocity(dx=10.0))
        await fork.run(3)
        found = rows(there.aggregate(Position.c.x, at=range(1, 100, 2), others=[fork], bins=4, quantiles=[1.0]))
        assert [(one["world_id"], one["tick"]) for one in found] == [
            (there.world_id, 1),
            (there.world_id, 3),
            (fork.world_id, 1),
            (fork.world_id, 3),
            (fork.world_id, 5),
        ]
        assert len({tuple(one["edges"]) for one in found}) == 1
        most = found[-1]["max"]
        assert found[0]["edges"] == np.linspace(1.0, most, 5).tolist()
        assert [sum(one["histogram"]) for one in found] == [2] * 5
        assert [one["quantiles"] for one in found] == [[one["max"]] for one in found]
        (row,) = rows(there.aggregate("position__x", at=3, bins=[0.0, 3.0, 5.0]))
        assert (row["edges"], row["histogram"], row["outside"]) == ([0.0, 3.0, 5.0], [0, 1], 1)
        assert rows(there.aggregate(Position.c.x, at=range(50, 60))) == []

    drive(main)


def test_a_density_is_of_entities_with_both_columns() -> None:
    """Over every table that has both; what is null, NaN or infinite is missing, what is beyond a given range outside."""

    async def main() -> None:
        there = world()
        assert there.density(Position.c.x, Position.c.y).counts.sum() == 0
        for x, y in ((0.0, 0.0), (1.0, 1.0), (1.0, 0.0)):
            there.spawn(Position(x=x, y=y))
        there.spawn(Position(x=math.nan), Frozen())
        there.spawn(Position(x=9.0, y=1.0), Frozen())
        there.spawn(Reading(value=None))
        await there.run(2)
        for at in (None, 0):
            grid = there.density(Position.c.x, "position__y", at=at, bins=(3, 2), x_range=(0, 3), y_range=(0, 2))
            assert grid.counts.tolist() == [[1, 1, 0], [0, 1, 0]]
            assert (grid.outside, grid.missing, grid.tick) == (1, 1, 1 if at is None else at)
            assert (grid.x_edges.tolist(), grid.y_edges.tolist()) == ([0, 1, 2, 3], [0, 1, 2])
            whole = there.density(Position.c.x, Position.c.y, at=at, bins=(2, 1))
            assert (whole.counts.tolist(), whole.x_edges.tolist()) == ([[3, 1]], [0, 4.5, 9])

    drive(main)


def test_what_has_no_numbers_is_refused() -> None:
    """Columns that are misspelt or no numbers, wrong bins, quantiles, ranges and ticks are refused with what is wrong (Q2)."""

    async def main() -> None:
        there = world()
        there.spawn(Position(), Name(label="a"))
        await there.run(2)
        with pytest.raises(UnknownColumn, match="did you mean position__x"):
            there.aggregate("position__xx")
        with pytest.raises(TypeError, match="name__label is"):
            there.aggregate(Name.c.label)
        with pytest.raises(TypeError, match="such as Position"):
            there.aggregate(Health())
        with pytest.raises(ValueError, match="name one with numbers"):
            there.aggregate(Frozen)
        with pytest.raises(ValueError, match="from 0 to 1"):
            there.aggregate(Position, quantiles=[1.5])
        for bins in (0, [1.0], [2.0, 1.0], [math.nan, 1.0], 2**30):
            with pytest.raises(ValueError, match="bins"):
                there.aggregate(Position, bins=bins)
        with pytest.raises(TypeError):
            there.aggregate(Position, bins=1.5)  # type: ignore[arg-type]  # reason: the mistake under test
        with pytest.raises(ValueError, match="ascending"):
            there.aggregate(Position, at=range(9, 0, -1))
        with pytest.raises(TickNotFound):
            there.aggregate(Position, at=9)
        with pytest.raises(TickNotFound):
            there.density(Position.c.x, Position.c.y, at=9)
        with pytest.raises(ValueError, match="ask for fewer"):
            there.density(Position.c.x, Position.c.y, bins=(1 << 13, 1 << 13))
        with pytest.raises(ValueError, match="ascending"):
            there.density(Position.c.x, Position.c.y, x_range=(1, 0))
        # A class's column that no table has yet is empty, not wrong.
        (row, _) = rows(there.aggregate(Health))
        assert (row["count"], row["mean"], row["quantiles"]) == (0, None, [])

    drive(main)
