"""``archetype aggregate`` and ``archetype density``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import click

from archetype_cli.answer import Answer, Facts
from archetype_cli.connection import Connection
from archetype_cli.exit_code import ExitCode
from archetype_cli.failure import Failure
from archetype_cli.options import OUTPUT, SOME, TICK, TickRange, at_place, with_format
from archetype_cli.output import write
from archetype_cli.source import Axis, Grid, Plane, Summary

_CELLS = ("x_from", "x_to", "y_from", "y_to", "count")


class Numbers(click.ParamType[tuple[float, ...]]):
    """Numbers, separated by commas."""

    name = "numbers"

    def __init__(self, separator: str = ",", count: int | None = None) -> None:
        self._separator, self._count = separator, count

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]  # reason: a default that is converted already
        example = f"0{self._separator}1" + ("" if self._count else f"{self._separator}2.5")
        try:
            found = tuple(float(one) for one in value.split(self._separator))
        except ValueError:
            self.fail(f"{value!r} are not numbers such as {example}", param, ctx)
        if not all(map(math.isfinite, found)) or len(found) != (self._count or len(found)):
            self.fail(f"{value!r} are not numbers such as {example}", param, ctx)
        return found


class Bins(click.ParamType[tuple[int, int]]):
    """A number of bins for both columns, or one for each, such as ``20x10``."""

    name = "bins"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]  # reason: a default that is converted already
        width, _, height = value.partition("x")
        return SOME.convert(width, param, ctx), SOME.convert(height or width, param, ctx)


@click.command()
@click.argument("words", nargs=-1, metavar="[PLACE] WORLD COLUMN...")
@click.option("--ticks", "-t", type=TickRange(), default="last", help="Such as 5, 0:10, 3:, last or all. [last]")
@click.option("--every", type=SOME, default=1, metavar="N", help="Only every so many ticks of a range. [1]")
@click.option("--other", "others", multiple=True, metavar="WORLD", help="Another world, at the same ticks.")
@click.option("--by-archetype", is_flag=True, help="A row for each set of components.")
@click.option("--quantiles", type=Numbers(), default="0.25,0.5,0.75", metavar="Q,…", help="[0.25,0.5,0.75]")
@click.option("--bins", type=SOME, metavar="N", help="Also a histogram with so many bins of equal width.")
@click.option("--edges", type=Numbers(), metavar="A,B,…", help="Also a histogram, with these edges of its bins.")
@with_format()
@OUTPUT
@at_place
def aggregate(
    *,
    words: tuple[str, ...],
    ticks: tuple[int | None, int | None] | None,
    every: int,
    others: tuple[str, ...],
    by_archetype: bool,
    quantiles: tuple[float, ...],
    bins: int | None,
    edges: tuple[float, ...] | None,
    form: str,
    output: str | None,
    connection: Connection,
) -> None:
    """Count, mean, extremes and quantiles of columns, tick by tick.

    COLUMN is one such as position__x, or a component for all of its numbers. All numbers are about the finite values, of
    which there are as many as the count.

    \b
    archetype aggregate ./data race position__x
    archetype aggregate ./data race Position --ticks all --every 10 --other what-if -f csv
    """
    place, (world, *columns) = connection.split(words, ["WORLD", "COLUMN"], has_more=True)
    if bins is not None and edges is not None:
        raise Failure("--bins and --edges contradict each other", "give one of them", ExitCode.USAGE)
    wanted = Summary(tuple(columns), ticks, every, others, by_archetype, quantiles, edges if bins is None else bins)
    with connection.open(place) as source:
        answer = source.summary(world, wanted)
        hidden = {"world_id"} if not others else set()
        answer.hidden = frozenset(hidden if by_archetype else {*hidden, "archetype"})
        write(answer, form, output)


@click.command()
@click.argument("words", nargs=-1, metavar="[PLACE] WORLD X Y")
@click.option("--tick", type=TICK, metavar="N", help="At this tick. [the last one]")
@click.option("--bins", type=Bins(), default="10", metavar="N", help="How many of equal width; 20x10 for X and Y. [10]")
@click.option("--x-range", type=Numbers(":", 2), metavar="A:B", help="First and last edge of X. [its extremes]")
@click.option("--y-range", type=Numbers(":", 2), metavar="A:B", help="First and last edge of Y. [its extremes]")
@with_format()
@OUTPUT
@at_place
def density(
    *,
    words: tuple[str, ...],
    tick: int | None,
    bins: tuple[int, int],
    x_range: tuple[float, float] | None,
    y_range: tuple[float, float] | None,
    form: str,
    output: str | None,
    connection: Connection,
) -> None:
    """Count the entities in each bin of the plane of two columns.

    There is a row for each bin that has some. With --json the answer is one object, with the counts of all bins.

    \b
    archetype density ./data race position__x position__y --bins 20x10
    """
    place, (world, x, y) = connection.split(words, ["WORLD", "X", "Y"])
    for given in (x_range, y_range):
        if given is not None and given[0] >= given[1]:
            raise Failure(f"the range {given[0]}:{given[1]} is empty", "write the lesser one first", ExitCode.USAGE)
    with connection.open(place) as source:
        grid = source.grid(world, Plane(x, y, tick, bins, x_range, y_range))
    if form == "json":
        write(Facts("density", asdict(grid)), form, output)
        return
    write(Answer("cells", _CELLS, list(_cells(grid))), form, output)
    if grid.outside or grid.missing:
        click.echo(f"not counted: {grid.outside} outside, {grid.missing} without two finite numbers", err=True)


def _cells(grid: Grid) -> Iterator[Mapping[str, Any]]:
    """The bins that have entities, the least first."""
    for row, counts in enumerate(grid.counts):
        for column, count in enumerate(counts):
            if count:
                yield dict(zip(_CELLS, (*_edges(grid.x, column), *_edges(grid.y, row), count), strict=True))


def _edges(axis: Axis, number: int) -> tuple[float, float]:
    return axis.edge(number), axis.edge(number + 1)
