"""Reads of a world: its state, its history, differences and messages."""

from __future__ import annotations

from asyncio import to_thread
from collections.abc import Hashable
from typing import Annotated, Any

from litestar import Controller, Response
from litestar.params import JSONBody, QueryParameter

from archetype_core.command import Diff, Digest, GetWorldInfo, Query, QuerySnapshot, QueryTables, ReadMessages
from archetype_server import bulk, rows, state
from archetype_server.answer import DigestAnswer, MessageAnswer, Page, State
from archetype_server.config import Limits
from archetype_server.etag import etag, tagged, unmodified
from archetype_server.model import SearchBody
from archetype_server.paging import Cursor, decoded
from archetype_server.problem import BadRequest, Unprocessable
from archetype_server.routes.base import (
    Anyone,
    Bounds,
    EntityId,
    Flag,
    Host,
    Limit,
    Names,
    Place,
    SomeEntity,
    SomeTick,
    Text,
    Tick,
    WorldName,
    command_of,
    component_kinds,
    get,
    get_tagged,
    post,
    split,
)
from archetype_server.where import chosen, matching
from archetype_server.world_host import WorldHost

SomeEntities = Annotated[str | None, QueryParameter(description="Ids of entities, separated by commas.")]
Where = Annotated[
    str | None,
    QueryParameter(description="A condition as in SQL on the columns of the rows, such as `position__x > 3`."),
]
Columns = Annotated[str | None, QueryParameter(description="Columns, separated by commas; by default all.")]
_MAX = 2**63 - 1
_OF_PAGE = ("cursor", "limit", "role")


class ReadRoutes(Controller):
    """The routes that read a world's ticks."""

    path = "/v1/worlds/{world:str}"
    tags = ("reads",)

    @get_tagged("/state")
    async def read_state(
        self,
        *,
        request: Anyone,
        host: Host,
        limits: Bounds,
        world: WorldName,
        tick: SomeTick = None,
        limit: Limit = 1000,
        cursor: Place = None,
    ) -> Response[Any]:
        """Read all entities with all their components at a tick, by default the last."""
        form = rows.wanted_format(request.headers.get("accept"))
        place = _place(cursor)
        found = await host.ask(request.user, QueryTables(tick if place is None else place.tick), world)
        tag = etag(host.id_of(request.user, world), found.tick + 1, rows.variant(form))
        headers = tagged(tag, is_settled=tick is not None or place is not None)
        if (known := unmodified(request, headers)) is not None:
            return known
        if form != rows.JSON:
            return await bulk.whole(await to_thread(state.wide, found, limits.rows), form, headers)
        after = 0 if place is None else place.offset
        items, is_last = await to_thread(state.page, found, after, limit)
        following = None if is_last else Cursor(found.tick, items[-1].entity_id).encoded()
        return Response(State(host.id_of(request.user, world), found.tick, items, following), headers=headers)

    @get("/entities/{entity_id:int}/history")
    async def entity_history(
        self,
        *,
        request: Anyone,
        host: Host,
        limits: Bounds,
        world: WorldName,
        entity_id: EntityId,
        components: Names = None,
        first_tick: SomeTick = None,
        last_tick: SomeTick = None,
        limit: Limit = 1000,
        cursor: Place = None,
    ) -> Response[Any]:
        """Read the rows of one entity, tick by tick, tombstones included."""
        reading = _Rows(request=request, host=host, limits=limits, world=world, limit=limit, cursor=cursor)
        ticks = reading.ticks(first_tick, last_tick)
        return await reading.answer(Query(component_kinds(components), ticks, entity_id, include_inactive=True))

    @get("/components")
    async def components(
        self,
        *,
        request: Anyone,
        host: Host,
        limits: Bounds,
        world: WorldName,
        components: Names = None,
        tick: SomeTick = None,
        first_tick: SomeTick = None,
        last_tick: SomeTick = None,
        entity_id: SomeEntities = None,
        include_inactive: Flag = False,
        lineage: Flag = True,
        where: Where = None,
        columns: Columns = None,
        limit: Limit = 1000,
        cursor: Place = None,
    ) -> Response[Any]:
        """Read rows of some components: of one tick, by default the last, or of a range of ticks.

        Without components, rows of all entities with the columns that all have.
        """
        kinds, ids = component_kinds(components), _entities(entity_id)
        reading = _Rows(request=request, host=host, limits=limits, world=world, limit=limit, cursor=cursor)
        if tick is not None and (first_tick is not None or last_tick is not None):
            raise Unprocessable("give tick, or first_tick and last_tick, not both")
        if first_tick is not None or last_tick is not None:
            ticks: int | range = reading.ticks(first_tick, last_tick)
        elif (at := reading.tick if tick is None else tick) is not None:
            ticks = at
        elif ids is None and not include_inactive and lineage and kinds:
            return await reading.answer(QuerySnapshot(kinds), where, columns)
        else:
            ticks = (await host.ask(request.user, GetWorldInfo(), world)).tick - 1
        query = Query(kinds, ticks, ids, include_inactive=include_inactive, lineage=lineage)
        return await reading.answer(query, where, columns)

    @get("/diff")
    async def diff(
        self,
        *,
        request: Anyone,
        host: Host,
        limits: Bounds,
        world: WorldName,
        before: Tick,
        after: Tick,
        other: Annotated[str | None, QueryParameter(description="The world that `after` is a tick of.")] = None,
        components: Names = None,
        columns: Columns = None,
        where: Where = None,
        limit: Limit = 1000,
        cursor: Place = None,
    ) -> Response[Any]:
        """Compare two ticks of a world, or a tick of a world with one of another."""
        reading = _Rows(request=request, host=host, limits=limits, world=world, limit=limit, cursor=cursor)
        second = after if other is None else (reading.id_of(other), after)
        compared = (*component_kinds(components), *split(columns))
        return await reading.answer(Diff(before, second, compared), where)

    @post("/search", status_code=200)
    async def search(
        self, request: Anyone, host: Host, limits: Bounds, world: WorldName, data: JSONBody[SearchBody]
    ) -> Response[Any]:
        """Find the entities whose vector or text is most like a query, best first."""
        form = rows.wanted_format(request.headers.get("accept"))
        frame = await host.ask(request.user, command_of(data), world)
        table = await to_thread(rows.collected, frame, limits.rows, is_ordered=True)
        if form != rows.JSON:
            return await bulk.whole(table, form)
        body, _ = await to_thread(rows.page, table, 0, table.num_rows)
        return Response(body, media_type=rows.JSON)

    @get("/digest")
    async def digest(self, request: Anyone, host: Host, world: WorldName, tick: SomeTick = None) -> DigestAnswer:
        """Compute the digest of a tick, by default the last."""
        return DigestAnswer(host.id_of(request.user, world), await host.ask(request.user, Digest(tick), world))

    @get("/messages")
    async def messages(
        self,
        *,
        request: Anyone,
        host: Host,
        world: WorldName,
        tick: SomeTick = None,
        recipient: SomeEntity = None,
        sender: SomeEntity = None,
        kind: Text = None,
        limit: Limit = 1000,
        cursor: Place = None,
    ) -> Page[MessageAnswer]:
        """Read the messages that entities were sent, in the order of sending."""
        place = _place(cursor)
        ticks = tick if tick is not None else None if place is None else range(place.tick + 1)
        letters = await host.ask(request.user, ReadMessages(ticks, recipient, sender, kind), world)
        items = [MessageAnswer(one.recipient, one.sender, one.kind, one.body, one.tick) for one in letters]
        offset = 0 if place is None else place.offset
        end = offset + limit
        # A later tick adds messages at the end, and none to these pages.
        return Page(items[offset:end], Cursor(items[-1].tick, end).encoded() if end < len(items) else None)


class _Rows:
    """A read whose answer is rows: in the accepted format, whole or in pages that are pinned to a tick."""

    def __init__(
        self, *, request: Anyone, host: WorldHost, limits: Limits, world: str, limit: int, cursor: str | None
    ) -> None:
        self._form = rows.wanted_format(request.headers.get("accept"))
        self._actor, self._host, self._limits = request.user, host, limits
        self._world, self._limit = world, limit
        self._pages = host.pages
        self._ids = [host.id_of(request.user, world)]
        # Without the page, and who asks: what one may see of a world, all may who may read it.
        self._url = (
            request.url.path,
            *sorted(one for one in request.query_params.multi_items() if one[0] not in _OF_PAGE),
        )
        self._place = _place(cursor)

    @property
    def tick(self) -> int | None:
        """The tick that the first page read; ``None`` on that page."""
        return None if self._place is None else self._place.tick

    def ticks(self, first: int | None, last: int | None) -> range:
        """Return a range of ticks whose end is the same on all pages; a read clips it to the history."""
        end = self.tick if self.tick is not None else last
        return range(first or 0, _MAX if end is None else min(end + 1, _MAX))

    async def answer(
        self, command: Query | QuerySnapshot | Diff, where: str | None = None, columns: str | None = None
    ) -> Response[Any]:
        """Send a command and return its rows: those that match, with the base columns and those that are named."""
        frame = await self._host.ask(self._actor, command, self._world)
        if where is not None:
            frame = await to_thread(matching, frame, where)
        if columns is not None:
            frame = chosen(frame, split(columns))
        if self._form != rows.JSON:
            if isinstance(command, Query) and isinstance(command.ticks, range):
                return await bulk.of_ticks(frame, self._known(command.ticks), self._form)
            return await bulk.whole(await to_thread(rows.collected, frame, self._limits.rows), self._form)
        table: Any = None if self._place is None else self._pages.get(self._key(self._place.tick))
        if table is None:
            table = await to_thread(rows.collected, frame, self._limits.rows)
        offset = 0 if self._place is None else self._place.offset
        body, pinned = await to_thread(rows.page, table, offset, self._limit)
        if pinned is not None:
            self._pages.put(self._key(pinned), table, table.nbytes)
        return Response(body, media_type=rows.JSON)

    def id_of(self, world: str) -> str:
        """Return the id of another world that the answer is about."""
        self._ids.append(self._host.id_of(self._actor, world))
        return self._ids[-1]

    def _known(self, ticks: range) -> range:
        """The part of a range that may be in the history."""
        info = self._host.gate.peek(self._actor, self._host.id_of(self._actor, self._world))
        return range(ticks.start, min(ticks.stop, ticks.stop if info is None else info.tick))

    def _key(self, tick: int) -> Hashable:
        """What is the same for all pages of an answer, and for no others."""
        return (*self._ids, *self._url, tick)


def _entities(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    ids = split(text)
    if not ids or not all(one.isascii() and one.isdigit() and 0 < int(one[:20]) <= _MAX for one in ids):
        raise BadRequest(f"entity_id is one id, or several with commas between, not {text[:100]!r}")
    return tuple(map(int, ids))


def _place(cursor: str | None) -> Cursor | None:
    return None if cursor is None else decoded(cursor)
