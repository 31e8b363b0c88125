"""Numbers about a world's columns: what a chart needs, without the rows."""

from __future__ import annotations

import math
from asyncio import to_thread
from typing import Annotated, Any

from litestar import Controller, Response
from litestar.params import QueryParameter

from archetype_core.command import Aggregate, Density
from archetype_server import aggregates, bulk, rows
from archetype_server.answer import AggregateAnswer, DensityAnswer
from archetype_server.problem import BadRequest, Unprocessable
from archetype_server.routes.base import (
    Anyone,
    Bounds,
    Flag,
    Host,
    SomeTick,
    WorldName,
    component_kinds,
    get,
    split,
)
from archetype_server.world_host import WorldHost

MAX_MOMENTS = 10_000
"""Ticks of one answer, over all its worlds."""
MAX_CELLS = 1 << 22
"""Bins of one answer, over all its rows."""
_MAX = 2**63 - 1
Every = Annotated[int, QueryParameter(ge=1, le=_MAX, description="Only every so many ticks of the range.")]
Bins = Annotated[int, QueryParameter(ge=1, le=4096)]
SomeNumber = Annotated[float | None, QueryParameter()]
Numbers = Annotated[str | None, QueryParameter(description="Numbers, separated by commas.")]


class AggregateRoutes(Controller):
    """The routes of aggregates."""

    path = "/v1/worlds/{world:str}"
    tags = ("reads",)

    @get("/aggregate")
    async def aggregate(
        self,
        *,
        request: Anyone,
        host: Host,
        limits: Bounds,
        world: WorldName,
        columns: Annotated[str | None, QueryParameter(description="Columns, and components for all of theirs.")] = None,
        tick: SomeTick = None,
        first_tick: SomeTick = None,
        last_tick: SomeTick = None,
        every: Every = 1,
        others: Annotated[str | None, QueryParameter(description="More worlds, read at the same ticks.")] = None,
        by_archetype: Flag = False,
        quantiles: Numbers = None,
        bins: Annotated[int | None, QueryParameter(ge=1, le=4096, description="Bins of equal width.")] = None,
        edges: Annotated[str | None, QueryParameter(description="Edges of bins, in place of their number.")] = None,
    ) -> Response[AggregateAnswer]:
        """Compute count, mean, extremes, quantiles and histogram of columns at a tick, by default the last, or a range."""
        form = rows.wanted_format(request.headers.get("accept"))
        at = _ticks(tick, first_tick, last_tick, every)
        if bins is not None and edges is not None:
            raise Unprocessable("give bins or edges, not both")
        named = tuple(one if "__" in one else component_kinds(one)[0] for one in split(columns))
        if not named:
            raise Unprocessable("name the columns: ?columns=position__x,Velocity")
        ids = tuple(host.id_of(request.user, one) for one in split(others))
        wanted = (0.25, 0.5, 0.75) if quantiles is None else _numbers("quantiles", quantiles)
        cuts = bins if edges is None else _numbers("edges", edges)
        command = Aggregate(named, at, by_archetype, wanted, cuts, others=ids)
        _check_size(command, host, request, world, limits.rows)
        frame = await host.ask(request.user, command, world)
        table = await to_thread(rows.collected, frame, limits.rows, is_ordered=True)
        if form != rows.JSON:
            other_form: Any = await bulk.whole(table, form)
            return other_form  # type: ignore[no-any-return]  # reason: the same in another format
        body: Any = await to_thread(aggregates.numbers, table, wanted)
        return Response(body, media_type=rows.JSON)

    @get("/density")
    async def density(
        self,
        *,
        request: Anyone,
        host: Host,
        world: WorldName,
        x: Annotated[str, QueryParameter(description="A column, such as position__x.")],
        y: Annotated[str, QueryParameter(description="A column, such as position__y.")],
        tick: SomeTick = None,
        x_bins: Bins = 100,
        y_bins: Bins = 100,
        x_min: SomeNumber = None,
        x_max: SomeNumber = None,
        y_min: SomeNumber = None,
        y_max: SomeNumber = None,
    ) -> Response[DensityAnswer]:
        """Count the entities in each bin of the plane of two columns at a tick, by default the last."""
        form = rows.wanted_format(request.headers.get("accept"), (rows.JSON, rows.ARROW))
        if x_bins * y_bins > MAX_CELLS:
            raise Unprocessable(f"{x_bins} by {y_bins} bins are more than {MAX_CELLS}: ask for fewer")
        command = Density(x, y, tick, (x_bins, y_bins), _range("x", x_min, x_max), _range("y", y_min, y_max))
        found = await host.ask(request.user, command, world)
        body: Any = await to_thread(aggregates.grid if form == rows.JSON else aggregates.arrow_grid, found)
        return Response(body, media_type=form)


def _ticks(tick: int | None, first: int | None, last: int | None, every: int) -> int | range | None:
    if first is None and last is None:
        if every != 1:
            raise Unprocessable("every is of a range: give first_tick and last_tick, too")
        return tick
    if tick is not None:
        raise Unprocessable("give tick, or first_tick and last_tick, not both")
    return range(first or 0, _MAX if last is None else min(last + 1, _MAX), every)


def _check_size(command: Aggregate, host: WorldHost, request: Anyone, world: str, limit: int) -> None:
    """Refuse an answer that is too large before anything is read."""
    at, moments = command.at, 1
    if isinstance(at, range):
        # Who may not look is refused by the gate.
        seen = [host.gate.peek(request.user, one) for one in (host.id_of(request.user, world), *command.others)]
        stop = min(at.stop, max((one.tick for one in seen if one is not None), default=0))
        moments = len(range(at.start, stop, at.step))
    moments *= 1 + len(command.others)
    if moments > min(MAX_MOMENTS, limit):
        raise Unprocessable(
            f"{moments} ticks are more than the {MAX_MOMENTS} of one answer: ask for fewer, or for every=10"
        )
    bins = command.bins if isinstance(command.bins, int) else len(command.bins or ())
    if moments * bins > MAX_CELLS:
        raise Unprocessable(f"{moments} ticks with {bins} bins are more than {MAX_CELLS} bins: ask for fewer of them")


def _numbers(name: str, text: str) -> tuple[float, ...]:
    try:
        found = tuple(float(one) for one in split(text))
    except ValueError:
        raise BadRequest(f"{name} are numbers, separated by commas, not {text[:100]!r}") from None
    if len(found) > 4097:
        raise Unprocessable(f"there are more than 4097 {name}")
    return found


def _range(name: str, low: float | None, high: float | None) -> tuple[float, float] | None:
    if low is None and high is None:
        return None
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise Unprocessable(f"give {name}_min and {name}_max, two ascending numbers, or neither")
    return low, high
