"""The reads of a world handle. Each is one command through the gate; none changes anything."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar, overload

from archetype.audit import audit_frame
from archetype.handle import Handle
from archetype.waits import converts, waits_for
from archetype_core.command import (
    Aggregate,
    AuditFilter,
    Density,
    Diff,
    Digest,
    GetComponents,
    GetWorldInfo,
    HookInfo,
    ListHooks,
    ListProcessors,
    ListResources,
    ProcessorInfo,
    Query,
    QuerySnapshot,
    ReadMessages,
    ResourceInfo,
    SearchWorld,
    Status,
    WorldInfo,
)
from archetype_core.read import DensityGrid, Missing, Ticks, asked, checked_bins
from archetype_core.schema import Component, Entity, Letters

if TYPE_CHECKING:
    from daft import DataFrame
    from daft.expressions import Expression

A = TypeVar("A", bound=Component)
B = TypeVar("B", bound=Component)
C = TypeVar("C", bound=Component)
D = TypeVar("D", bound=Component)


class WorldReads(Handle):
    """What a handle reads of its world: live state as of the last completed tick, tick history, and the audit log."""

    @overload
    async def get(self, entity_id: int) -> Entity: ...

    @overload
    async def get(self, entity_id: int, component: type[A], /) -> A: ...

    @overload
    async def get(self, entity_id: int, first: type[A], second: type[B], /) -> tuple[A, B]: ...

    @overload
    async def get(self, entity_id: int, first: type[A], second: type[B], third: type[C], /) -> tuple[A, B, C]: ...

    @overload
    async def get(
        self, entity_id: int, first: type[A], second: type[B], third: type[C], fourth: type[D], /
    ) -> tuple[A, B, C, D]: ...

    @overload
    async def get(
        self, entity_id: int, first: type[Component], second: type[Component], /, *more: type[Component]
    ) -> tuple[Component, ...]: ...

    @waits_for("nothing")
    async def get(self, entity_id: int, *components: type[Component]) -> Any:
        """Read a live entity as of the last completed tick: the whole ``Entity``, or the components asked for.

        One component class gives that component, several give a tuple in the order asked for. Costs no I/O.
        ``EntityNotFound`` if the entity is not alive, ``KeyError`` naming a component that it lacks.

        >>> position = await world.get(eid, Position)
        """
        found = await self._do(GetComponents(entity_id, components))
        return Entity.of(entity_id, found) if not components else found[0] if len(components) == 1 else found

    @overload
    async def get_components(self, entity_id: int, component: type[A], /) -> tuple[A]: ...

    @overload
    async def get_components(self, entity_id: int, first: type[A], second: type[B], /) -> tuple[A, B]: ...

    @overload
    async def get_components(
        self, entity_id: int, first: type[A], second: type[B], third: type[C], /
    ) -> tuple[A, B, C]: ...

    @overload
    async def get_components(
        self, entity_id: int, first: type[A], second: type[B], third: type[C], fourth: type[D], /
    ) -> tuple[A, B, C, D]: ...

    @overload
    async def get_components(self, entity_id: int, *components: type[Component]) -> tuple[Component, ...]: ...

    @waits_for("nothing")
    async def get_components(self, entity_id: int, *components: type[Component]) -> Any:
        """Read a live entity's components as a tuple: those asked for, in that order, or all it has.

        Like ``get``, but always a tuple, also for one component.
        """
        return await self._do(GetComponents(entity_id, components))

    @waits_for("threads")
    async def query(
        self,
        *components: type[Component],
        ticks: Ticks = None,
        entity_ids: int | Iterable[int] | None = None,
        where: Expression | None = None,
        include_inactive: bool = False,
        lineage: bool = True,
        missing: Missing = "null",
    ) -> DataFrame:
        """Query tick history: base columns and those of the components, from every table that has them all.

        By default every committed tick of this world and of the ancestors it was forked from, active rows only.
        ``lineage=False`` leaves the ancestors out, ``include_inactive=True`` adds tombstones. The frame is lazy: rows are
        read when it is collected, and columns, ``ticks``, ``entity_ids`` and ``where`` are pushed down to the store.

        Rows of all versions of the components are read. A field that an older version lacks is null, or its default with
        ``missing="default"``. A tick that is named and is not there is ``TickNotFound``; a range is clipped.

        >>> frame = await world.query(Position, ticks=range(10))
        """
        return await self._do(Query(components, ticks, entity_ids, where, include_inactive, lineage, missing))

    @waits_for("threads")
    async def snapshot(
        self,
        *components: type[Component],
        at: int | None = None,
        where: Expression | None = None,
        missing: Missing = "null",
    ) -> DataFrame:
        """Read one tick as a DataFrame with the columns of ``query``; by default the last completed tick, from memory.

        ``TickNotFound`` if ``at`` is outside the history; ``where`` and ``missing`` are those of ``query``.
        """
        return await self._do(QuerySnapshot(components, at, where, missing))

    @waits_for("threads")
    @converts(before="_async_moment", after="_async_moment")
    async def diff(
        self,
        before: int | WorldReads | tuple[WorldReads, int],
        after: int | WorldReads | tuple[WorldReads, int],
        *columns: Any,
        where: Expression | None = None,
    ) -> DataFrame:
        """Compare two moments: each a tick of this world, another world as it stands, or ``(world, tick)``.

        By default the frame has a row for each entity and value of the whole world that was added, removed or changed, with
        values as JSON. With one column, such as ``Position.c.x``, it has ``before`` and ``after`` of the column's type; with
        several columns or a component, one row per entity that differs, with ``x__before`` and ``x__after`` for each column.
        Lazy: the moments are read when the frame is collected. ``TickNotFound`` if a tick is outside the history.
        ``where`` is a condition on the frame's own columns, such as ``col("after") > col("before")``.

        >>> frame = await world.diff(world, branch, Health.c.hp)
        """
        return await self._do(Diff(await _moment(before), await _moment(after), columns, where))

    @waits_for("threads")
    @converts(others="_async_handles")
    async def aggregate(
        self,
        *columns: Any,
        at: int | range | None = None,
        others: Iterable[WorldReads] = (),
        by_archetype: bool = False,
        quantiles: Iterable[float] = (0.25, 0.5, 0.75),
        bins: int | Iterable[float] | None = None,
    ) -> DataFrame:
        """Compute numbers about columns at a tick, by default the last completed one, or at every tick of a range.

        The frame has a row for each world, tick and column: ``count`` of the finite values, ``nulls``, ``nans``, ``infinite``,
        ``mean``, ``min``, ``max`` and ``quantiles``, all as floats. With ``bins`` it has a histogram: ``edges``, ``histogram``,
        ``outside``. A number of bins divides the range of all values of the answer, so that its rows can be compared, or the
        edges are given. ``by_archetype`` gives every table rows of its own. ``others`` are worlds to read at the same ticks.

        Reads no other columns. A component class stands for all its columns of numbers. ``TickNotFound`` for a tick outside the
        history, while a range is clipped to it; ``UnknownColumn``; ``TypeError`` for a column that has no numbers.

        >>> frame = await world.aggregate(Health.c.hp, at=range(100), others=[branch], bins=20)
        """
        ids = tuple([await one.activate() for one in others])
        return await self._do(Aggregate(columns, at, by_archetype, tuple(quantiles), checked_bins(bins), others=ids))

    @waits_for("threads")
    async def density(
        self,
        x: Any,
        y: Any,
        *,
        at: int | None = None,
        bins: tuple[int, int] = (100, 100),
        x_range: tuple[float, float] | None = None,
        y_range: tuple[float, float] | None = None,
    ) -> DensityGrid:
        """Count the entities in each bin of the plane of two columns, at a tick, by default the last completed one.

        ``bins`` are the numbers of bins of ``x`` and ``y``; a range is that of the values unless it is given. A million entities
        take about 20 ms. ``TickNotFound``, ``UnknownColumn``, and ``TypeError`` for a column that has no numbers.

        >>> grid = await world.density(Position.c.x, Position.c.y, bins=(80, 24))
        """
        return await self._do(Density(x, y, at, bins, x_range, y_range))

    @waits_for("threads")
    async def search(
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
        """Find the ``k`` entities whose vector or text in a column is most like a query, best first.

        ``column`` is one such as ``Memory.c.embedding``, or its name; the tick is ``at``, by default the last completed one.
        Vectors rank by ``metric``, which is ``cosine``, ``dot`` or ``l2``; text ranks by BM25. Works on every store: reads
        that column of that tick; with ``exact=False`` a store may use an index for a past tick and miss some of the best.
        Several vectors, such as an array of two dimensions, are ranked in one pass over the data: ``k`` rows for each, and a
        first column ``query`` with its number. ``TickNotFound`` if ``at`` is outside the history.
        """
        return await self._do(SearchWorld(column, asked(query), k, at, where, metric, exact))

    @waits_for("threads")
    async def messages(
        self,
        *,
        ticks: Ticks = None,
        recipient: int | None = None,
        sender: int | None = None,
        kind: str | None = None,
    ) -> Letters:
        """Return the messages that were sent in some ticks, by default in all, in the order of sending.

        Iterate over them, ask for those ``to(entity)`` or ``by_recipient()``, or take them as Arrow. ``query(Message)`` is
        the same as a lazy frame, with the bodies as JSON.
        """
        return await self._do(ReadMessages(ticks, recipient, sender, kind))

    @waits_for("threads")
    async def digest(self, at: int | None = None) -> str:
        """Return the canonical digest of a committed tick, by default the last; in any store, equal contents have equal digests.

        Reads the tick whole. ``TickNotFound`` if it is outside the history.
        """
        return await self._do(Digest(at))

    @waits_for("nothing")
    async def info(self) -> WorldInfo:
        """Return the facts of the world as it stands: tick, run, entities per archetype, what is staged and queued."""
        return await self._do(GetWorldInfo())

    @waits_for("threads")
    async def history(
        self,
        limit: int = 100,
        *,
        actor: str | None = None,
        type: str | None = None,  # noqa: A002  # reason: the name of the column
        status: Status | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        after: int | None = None,
        oldest_first: bool = False,
    ) -> DataFrame:
        """Read the audit log of this world, newest first: a row for each command that any actor sent to it.

        ``after`` is the ``seq`` of the last row seen, to read on from there. For the tick history see ``query``.
        """
        world_id = await self.activate()
        wanted = AuditFilter(world_id, actor, type, status, since, until, after, limit, oldest_first)
        return await audit_frame(wanted, self._do)

    @waits_for("nothing")
    async def list_processors(self) -> tuple[ProcessorInfo, ...]:
        """List the world's processors in the order they run."""
        return await self._do(ListProcessors())

    @waits_for("nothing")
    async def list_resources(self) -> tuple[ResourceInfo, ...]:
        """List the world's resources."""
        return await self._do(ListResources())

    @waits_for("nothing")
    async def list_hooks(self) -> tuple[HookInfo, ...]:
        """List the world's hooks in the order they are called."""
        return await self._do(ListHooks())


async def _moment(moment: int | WorldReads | tuple[WorldReads, int]) -> int | tuple[str, int | None]:
    if isinstance(moment, WorldReads):
        return await moment.activate(), None
    if isinstance(moment, tuple):
        handle, tick = moment
        return await handle.activate(), tick
    return moment
