"""The read side of a world: its live state between two ticks, and its tick history in the store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, overload

import pyarrow as pa
import pyarrow.compute as pc

from archetype_core.argument import checked_id, whole_number
from archetype_core.errors import EntityNotFound, TickNotFound
from archetype_core.read import history, search
from archetype_core.read.aggregate import DensityGrid, Moment, aggregate, clipped, dense
from archetype_core.read.diff import diff
from archetype_core.read.request import (
    AggregateQuery,
    DensityQuery,
    HistoryQuery,
    MessageQuery,
    SearchQuery,
    Ticks,
    asked,
    checked_bins,
)
from archetype_core.read.search import Wanted
from archetype_core.read.stored import tables_at
from archetype_core.schema.archetype import Archetype
from archetype_core.schema.component import Component
from archetype_core.schema.entity import Entity
from archetype_core.schema.message import Letters
from archetype_core.schema.snapshot import Snapshot
from archetype_core.schema.version import Missing, version_in
from archetype_core.store.digest import digest
from archetype_core.store.timeline import Segment, Timeline
from archetype_core.user_traceback import door

if TYPE_CHECKING:
    from daft import DataFrame
    from daft.expressions import Expression

    from archetype_core.engine.state import WorldState
    from archetype_core.read.diff_side import Tables
    from archetype_core.store.port import Store

A = TypeVar("A", bound=Component)
B = TypeVar("B", bound=Component)
C = TypeVar("C", bound=Component)


class WorldView:
    """Reads one world. Live reads see the last completed tick, queries every committed one; nothing sees a running tick."""

    def __init__(self, state: WorldState, store: Store) -> None:
        self._state = state
        self._store = store

    @property
    def world_id(self) -> str:
        """The world's id, a UUIDv7."""
        return self._state.segment.world_id

    @property
    def run_id(self) -> str:
        """The active run."""
        return self._state.segment.run_id

    @property
    def name(self) -> str:
        """The world's name."""
        return self._state.segment.name

    @property
    def segment(self) -> Segment:
        """The active segment of its history; the next tick belongs to it unless that begins a new run."""
        return self._state.segment

    @property
    def seed(self) -> int:
        """The seed that every ``rng`` of the world derives from."""
        return self._state.segment.seed

    @property
    def tick(self) -> int:
        """The next tick to run; the last completed one is the one before."""
        return self._state.tick

    @property
    def staging_tick(self) -> int:
        """The tick that applies what is staged now: the next one, or the one after it while that is being made."""
        state = self._state
        with state.lock:
            return state.tick + (state.frozen is not None)

    if not TYPE_CHECKING:  # with it, type checkers would accept any attribute

        @door
        def __getattr__(self, name: str) -> Any:
            if name in (
                "spawn",
                "spawn_many",
                "spawn_table",
                "despawn",
                "update",
                "add_components",
                "remove_components",
            ):
                remedy = f"a processor names commands and calls commands.{name}(…)"
                raise AttributeError(f"a WorldView reads and changes nothing: {remedy}", name=name)
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)

    def __bool__(self) -> bool:
        """Always true: a world without entities is still a world."""
        return True

    def __len__(self) -> int:
        """The number of live entities."""
        return len(self._state.index)

    def __contains__(self, entity_id: int) -> bool:
        return self._state.index.get(checked_id(entity_id)) is not None

    def archetypes(self) -> dict[str, int]:
        """The live tables and how many entities each has."""
        with self._state.lock:
            return {archetype.name: rows.num_rows for archetype, rows in self._state.live.items()}

    @door
    def entity_ids(self, *components: type[Component]) -> pa.Array:
        """The ids of live entities that have all the components, ascending."""
        with self._state.lock:
            live = dict(self._state.live)
        found = [
            rows.entity_ids
            for archetype, rows in live.items()
            if all(version_in(archetype, component) is not None for component in components)
        ]
        ids = pa.concat_arrays(found) if found else pa.array([], pa.int64())
        return ids.take(pc.sort_indices(ids))

    @overload
    def get(self, entity_id: int) -> Entity: ...

    @overload
    def get(self, entity_id: int, component: type[A], /) -> A: ...

    @overload
    def get(self, entity_id: int, first: type[A], second: type[B], /) -> tuple[A, B]: ...

    @overload
    def get(self, entity_id: int, first: type[A], second: type[B], third: type[C], /) -> tuple[A, B, C]: ...

    @overload
    def get(
        self, entity_id: int, first: type[A], second: type[B], third: type[C], /, *more: type[Component]
    ) -> tuple[Component, ...]: ...

    @door
    def get(self, entity_id: int, *components: type[Component]) -> Any:
        """A live entity as of the last completed tick: whole, or the components asked for.

        ``get(id)`` is an ``Entity``, a mapping by class; ``get(id, Position)`` a ``Position``; with several classes a tuple.
        ``EntityNotFound`` if it is not alive, ``KeyError`` for a component that it lacks.
        """
        entity_id = checked_id(entity_id)
        with self._state.lock:
            archetype = self._state.index.get(entity_id)
            if archetype is None:
                raise EntityNotFound(entity_id, self.name)
            rows = self._state.live[archetype]
        row = rows.slice(pc.index(rows.entity_ids, entity_id).as_py(), 1).to_arrow()
        return Entity(entity_id, archetype, row).pick(*components)

    @door
    def get_components(self, entity_id: int, *components: type[Component]) -> tuple[Component, ...]:
        """The given components of a live entity, or all it has; ``KeyError`` names one that it lacks."""
        entity = self.get(entity_id)
        return tuple(entity[component] for component in components or entity)

    def timeline(self) -> Timeline | None:
        """The segments of this world's history, oldest first; ``None`` before the first committed tick."""
        tip = self._state.tip
        if tip is None:
            return None
        whole = self._store.timeline(tip.world_id)
        spans = tuple(span for span in whole.between(None, tip.tick))
        return Timeline(spans, whole.tables)

    @door
    def query(
        self,
        *components: type[Component],
        ticks: Ticks = None,
        entity_ids: int | Iterable[int] | None = None,
        where: Expression | None = None,
        include_inactive: bool = False,
        lineage: bool = True,
        missing: Missing = "null",
    ) -> DataFrame:
        """History as a lazy DataFrame: base columns and those of the components, over every table that has them all.

        Default: every committed tick of this world and the ancestors it grew from, active rows. ``lineage=False`` leaves
        the ancestors out. Costs nothing until it is collected; columns, filters and limits are pushed to the store.

        Rows of all versions of the components are read (M8). A field that an older version lacks is null, or its default
        with ``missing="default"``; renamed, widened and converted fields have their new names and types.

        ``TickNotFound`` for a tick that is named and is not in the history that is read; a range is clipped to it.
        """
        return self.select(HistoryQuery(components, ticks, entity_ids, where, include_inactive, lineage, missing))

    def select(self, request: HistoryQuery) -> DataFrame:
        """What ``query`` returns, for a request that was made elsewhere."""
        timeline = self.timeline() or Timeline((), {})
        read = timeline if request.lineage else timeline.own(self.world_id)
        return history.query(self._store, read, request, self.name)

    @door
    def messages(
        self,
        *,
        ticks: Ticks = None,
        recipient: int | None = None,
        sender: int | None = None,
        kind: str | None = None,
    ) -> Letters:
        """The messages that were sent in some ticks, by default in all, in the order of sending.

        ``query(Message)`` is the same as a lazy DataFrame, with the bodies as JSON.
        """
        return self.letters(MessageQuery(ticks, recipient, sender, kind))

    def letters(self, request: MessageQuery) -> Letters:
        """What ``messages`` returns, for a request that was made elsewhere."""
        return history.letters(self._store, self.timeline() or Timeline((), {}), request, self.name)

    @door
    def search(
        self,
        column: Any,
        query: str | Iterable[float] | Iterable[Iterable[float]],
        *,
        k: int = 10,
        at: int | None = None,
        where: Expression | None = None,
        metric: str = "cosine",
        exact: bool = True,
    ) -> DataFrame:
        """The ``k`` entities whose ``column`` is most like ``query`` at a tick, by default the last completed one.

        A vector column such as ``Memory.c.embedding`` takes a vector and ranks by ``metric``: ``cosine``, ``dot`` or ``l2``.
        Several vectors, such as an array of two dimensions, are ranked in one pass over the data: ``k`` rows for each, and
        a first column ``query`` with its number. A ``str`` column takes words and ranks by BM25. The frame has the
        component's columns and a ``score``, best first.
        ``TickNotFound`` if ``at`` is outside the history.

        Exact by default, on every store: it reads that column of that tick. With ``exact=False`` a store that claims
        ``SEARCH`` may answer a past tick from an index: some of the best may be missing, and every row found has its exact
        score.
        """
        return self.find(SearchQuery(column, asked(query), k, at, where, metric, exact))

    def find(self, request: SearchQuery) -> DataFrame:
        """What ``search`` returns, for a request that was made elsewhere."""
        at = checked_tick(request.at)
        wanted, named = Wanted.of(request), self._state.named
        if at is None or (at == self.tick - 1 and self._state.has_history):
            with self._state.lock:
                live = dict(self._state.live if at is None else self._state.last)
                segment, tick = self._state.segment, self._state.tick - 1
            return search.among(live, wanted, segment, tick, named)
        timeline = self._known(at)
        span = timeline.at(at)
        assert span is not None
        return search.in_history(self._store, timeline.tables, span, wanted, named)

    @door
    def snapshot(
        self,
        *components: type[Component],
        at: int | None = None,
        where: Expression | None = None,
        missing: Missing = "null",
    ) -> DataFrame:
        """One tick as a DataFrame with the columns of ``query``; by default the last completed tick, from memory.

        ``TickNotFound`` if ``at`` is outside the history; ``where`` and ``missing`` are those of ``query``.
        """
        from archetype_core.read.condition import filtered

        at = checked_tick(at)
        if at is None:
            with self._state.lock:
                live = dict(self._state.live)
            frame = history.live(live, components, self.segment, self.tick - 1, missing)
            return filtered(frame, where, live)
        self._known(at)
        return self.query(*components, ticks=at, where=where, missing=missing)

    def tables(self, at: int | None = None) -> dict[Archetype, Snapshot]:
        """The live rows of every archetype at a tick; by default the last completed one, from memory."""
        at = checked_tick(at)
        if at is None or (at == self.tick - 1 and self._state.has_history):
            with self._state.lock:
                return dict(self._state.live if at is None else self._state.last)
        timeline = self._known(at)
        return history.load(self._store, timeline, self._store.head(timeline.spans[-1].segment.world_id, at=at))[0]

    @door
    def diff(
        self,
        before: int | tuple[WorldView, int] | WorldView,
        after: int | tuple[WorldView, int] | WorldView,
        *columns: Any,
        where: Expression | None = None,
    ) -> DataFrame:
        """What differs between two ticks of this world, or of branches given as ``(world, tick)`` or ``world`` (latest).

        ``diff(a, b, Position.c.x)`` has ``before`` and ``after`` of the column's type; several columns or a component give
        ``x__before`` and ``x__after`` for each column, one row per entity that differs. Without ``columns`` there is one row
        per entity and column of the whole world, with values as JSON. Lazy: the ticks are read when the frame is collected.
        ``where`` is a condition on the frame's own columns, such as ``col("after") > col("before")``.

        Rows of components that the worlds name are compared as their classes have them, as in ``query``.
        ``TickNotFound`` for a tick outside the history, ``UnknownColumn`` for a column that no table or class has.
        """
        classes: dict[type[Component], None] = {}
        for one in (self, before, after):
            view = one[0] if isinstance(one, tuple) else one
            if isinstance(view, WorldView):
                classes.update(dict.fromkeys(view._state.named))  # noqa: SLF001  # reason: of the same class
        return diff(self._moment(before), self._moment(after), classes, columns, where)

    @door
    def aggregate(
        self,
        *columns: Any,
        at: int | range | None = None,
        others: Iterable[WorldView] = (),
        by_archetype: bool = False,
        quantiles: Iterable[float] = (0.25, 0.5, 0.75),
        bins: int | Iterable[float] | None = None,
    ) -> DataFrame:
        """Numbers about columns at a tick, by default the last completed one, or at every tick of a range.

        One row for each world, tick and column: ``count`` of finite values, ``nulls``, ``nans``, ``infinite``, ``mean``, ``min``,
        ``max`` and ``quantiles``, and with ``bins`` a histogram: ``edges``, ``histogram``, ``outside``. A number of bins divides
        the range of all values of the answer, so all its rows have the same edges; edges may be given. ``by_archetype`` gives
        every table rows of its own. ``others`` are worlds to read at the same ticks, each clipped to its history.

        Reads the columns that are named and no others. ``TickNotFound`` for a tick outside the history, ``UnknownColumn``,
        ``TypeError`` for a column that has no numbers.
        """
        return self.numbers(AggregateQuery(columns, at, by_archetype, tuple(quantiles), checked_bins(bins)), *others)

    def numbers(self, request: AggregateQuery, *others: WorldView) -> DataFrame:
        """What ``aggregate`` returns, for a request that was made elsewhere."""
        worlds = (self, *others)
        moments = [moment for one in worlds for moment in one._moments(request.at)]  # noqa: SLF001  # reason: the same class
        classes = dict.fromkeys(kind for one in worlds for kind in one._state.named)  # noqa: SLF001  # reason: as above
        return aggregate(moments, classes, request)

    @door
    def density(
        self,
        x: Any,
        y: Any,
        *,
        at: int | None = None,
        bins: tuple[int, int] = (100, 100),
        x_range: tuple[float, float] | None = None,
        y_range: tuple[float, float] | None = None,
    ) -> DensityGrid:
        """How many entities are in each bin of the plane of two columns, at a tick, by default the last completed one.

        ``bins`` are those of ``x`` and of ``y``; a range is that of the values unless it is given. Raises as ``aggregate``.
        """
        return self.grid(DensityQuery(x, y, at, bins, x_range, y_range))

    def grid(self, request: DensityQuery) -> DensityGrid:
        """What ``density`` returns, for a request that was made elsewhere."""
        (moment,) = self._moments(checked_tick(request.at))
        return dense(moment, self._state.named, request)

    def _moments(self, at: int | range | None) -> list[Moment]:
        """The rows of one tick, or of those of a range that are in the history."""
        if isinstance(at, range):
            timeline = self.timeline()
            if timeline is None or not timeline.spans:
                return []
            ticks = clipped(at, timeline.first, timeline.last)
            return [Moment(self.world_id, one, self.readers(one)) for one in ticks if timeline.at(one) is not None]
        if at is not None:
            return [Moment(self.world_id, whole_number(at, "a tick"), self.readers(at))]
        with self._state.lock:
            live, tick = dict(self._state.live), self._state.tick - 1
        return [Moment(self.world_id, tick, {one: partial(_of_snapshot, rows) for one, rows in live.items()})]

    @door
    def digest(self, at: int | None = None) -> str:
        """The canonical digest of a committed tick, by default the last: equal for equal contents, in any store."""
        at = checked_tick(at)
        tick = self.tick - 1 if at is None else at
        timeline = self._known(tick)
        span = timeline.at(tick)
        assert span is not None
        archetypes = [Archetype.from_schema(schema) for schema in timeline.tables.values()]
        return digest((one.name, history.rows_at(self._store, one, span)) for one in archetypes)

    def _moment(self, moment: int | tuple[WorldView, int] | WorldView) -> Tables:
        if isinstance(moment, WorldView):
            return moment.readers()
        if isinstance(moment, tuple):
            world, tick = moment
            return world.readers(tick)
        return self.readers(moment)

    def readers(self, at: int | None = None) -> Tables:
        """What reads columns of each live table at a tick, by default the last completed one, which is in memory."""
        at = checked_tick(at)
        if at is None or (at == self.tick - 1 and self._state.has_history):
            return {one: partial(_of_snapshot, rows) for one, rows in self.tables(at).items()}
        return tables_at(self._store, self._known(at), at)

    def _known(self, tick: int) -> Timeline:
        timeline = self.timeline()
        if timeline is None:
            raise TickNotFound(self.name, tick, None, None)
        if timeline.at(tick) is None:
            raise TickNotFound(self.name, tick, timeline.first, timeline.last)
        return timeline


def _of_snapshot(rows: Snapshot, names: Sequence[str]) -> pa.Table:
    return rows.to_arrow().select(names)


def checked_tick(at: int | None) -> int | None:
    """A tick as a plain int, or none."""
    return None if at is None else whole_number(at, "a tick")
