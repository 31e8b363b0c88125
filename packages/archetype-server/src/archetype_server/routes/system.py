"""The server itself: whether it works, who asks, and the stream of ticks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
from litestar import Controller
from litestar.di import NamedDependency
from litestar.params import HeaderParameter
from litestar.response import Stream

from archetype_core.command import ActorCtx, GetUsage, GetWorldInfo
from archetype_server.answer import Health, Me
from archetype_server.problem import BadRequest, Unavailable
from archetype_server.readiness import Readiness
from archetype_server.routes.base import Anyone, Host, WorldName, get
from archetype_server.world_host import WorldHost

HEARTBEAT_S = 15.0


class HealthRoutes(Controller):
    """What needs no key."""

    tags = ("system",)

    @get("/livez")
    async def livez(self) -> Health:
        """Say that the process works."""
        return Health()

    @get("/readyz")
    async def readyz(self, readiness: NamedDependency[Readiness]) -> Health:
        """Say whether the server takes requests: not while it starts or stops."""
        if not readiness.is_ready:
            raise Unavailable("the server starts or stops: try again later", headers={"Retry-After": "1"})
        return Health()


class SystemRoutes(Controller):
    """What needs a key."""

    path = "/v1"
    tags = ("system",)

    @get("/me")
    async def me(self, request: Anyone, host: Host) -> Me:
        """Say who the caller is, and what it has used of its quotas."""
        return Me.of(request.user.roles, await host.ask(request.user, GetUsage()))

    @get("/worlds/{world:str}/events", media_type="text/event-stream")
    async def events(
        self,
        request: Anyone,
        host: Host,
        world: WorldName,
        last_event_id: Annotated[str | None, HeaderParameter(name="Last-Event-ID")] = None,
    ) -> Stream:
        """Follow a world: an event for each committed tick. With ``Last-Event-ID`` those since that tick come first."""
        world_id = host.id_of(request.user, world)
        if last_event_id is not None and not (last_event_id.isdecimal() and len(last_event_id) < 19):
            raise BadRequest("Last-Event-ID is the number of a tick")
        info = await host.ask(request.user, GetWorldInfo(), world)
        last = info.tick - 1
        host.feed.check_room()
        after = last if last_event_id is None else min(int(last_event_id), last)
        return Stream(
            _events(host, request.user, world_id, after),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )


async def _events(host: WorldHost, actor: ActorCtx, world_id: str, after: int) -> AsyncIterator[bytes]:
    with host.feed.subscribe(world_id) as stream:
        # Since the caller's own read, more ticks may have been committed.
        now = host.gate.peek(actor, world_id)
        stream.tell(after if now is None else now.tick - 1)
        yield b": a stream of committed ticks\n\n"
        async for tick in stream.ticks(after, HEARTBEAT_S):
            if tick is None:
                yield b": still here\n\n"
                continue
            data = msgspec.json.encode({"world_id": world_id, "tick": tick}).decode()
            yield f"id: {tick}\nevent: tick\ndata: {data}\n\n".encode()
