"""Event streams: what happens in one world, or in all that the caller may see."""

from __future__ import annotations

from typing import Annotated

from litestar import Controller
from litestar.params import HeaderParameter, QueryParameter
from litestar.response import Stream

from archetype_core.command import AuditFilter, GetHistory, GetWorldInfo
from archetype_server.event_stream import Following, Place, events, while_known
from archetype_server.problem import BadRequest, Unprocessable
from archetype_server.routes.base import Anyone, Host, WorldName, caller_of, get
from archetype_server.world_host import WorldHost

HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""Those of every event stream: nothing keeps it, and nothing holds it back."""
_KINDS = frozenset({"tick", "command"})
LastId = Annotated[str | None, HeaderParameter(name="Last-Event-ID", description="The id of the last event seen.")]
Types = Annotated[
    str | None, QueryParameter(description="Types of commands, such as spawn,step; by default all but reads.")
]


class EventRoutes(Controller):
    """The routes of event streams."""

    path = "/v1"
    tags = ("events",)

    @get("/worlds/{world:str}/events", media_type="text/event-stream")
    async def world_events(
        self,
        *,
        request: Anyone,
        host: Host,
        world: WorldName,
        kinds: Annotated[str, QueryParameter(description="tick, command or both.")] = "tick",
        types: Types = None,
        last_event_id: LastId = None,
    ) -> Stream:
        """Follow a world: an event for each committed tick, and for each settled command if that is asked."""
        wanted = frozenset(one.strip() for one in kinds.split(","))
        if not wanted <= _KINDS:
            raise BadRequest(f"kinds are tick, command or both, not {kinds[:100]!r}")
        if types is not None and "command" not in wanted:
            raise Unprocessable("types are of commands: add kinds=command or kinds=tick,command")
        place, world_id = Place.of(last_event_id), host.id_of(request.user, world)
        last = (await host.ask(request.user, GetWorldInfo(), world)).tick - 1
        if "tick" in wanted:
            place.tick = last if place.tick is None else min(place.tick, last)
        else:
            place.tick = None
        return await _stream(request, host, world_id, place, types, is_of_commands="command" in wanted)

    @get("/events", media_type="text/event-stream")
    async def all_events(
        self, *, request: Anyone, host: Host, types: Types = None, last_event_id: LastId = None
    ) -> Stream:
        """Follow all worlds: an event for each settled command that the caller may see."""
        place = Place.of(last_event_id)
        place.tick = None
        return await _stream(request, host, None, place, types, is_of_commands=True)


async def _stream(
    request: Anyone, host: WorldHost, world_id: str | None, place: Place, types: str | None, *, is_of_commands: bool
) -> Stream:
    chosen = None if types is None else frozenset(one.strip() for one in types.split(","))
    if is_of_commands:
        which = AuditFilter(world_id, limit=1, by_settlement=True)
        newest = await host.ask(request.user, GetHistory(which), world_id)
        if place.seq is None:
            place.seq = newest[0].seq if newest else 0
    else:
        place.seq = None
    host.feed.check_room()
    return Stream(
        while_known(caller_of(request), events(host, Following(request.user, world_id, place, chosen))),
        media_type="text/event-stream",
        headers=HEADERS,
    )
