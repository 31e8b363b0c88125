"""The server itself: whether it works, and who asks."""

from __future__ import annotations

from litestar import Controller, Response
from litestar.di import NamedDependency

from archetype_core.command import GetUsage, ListWorlds
from archetype_server.answer import Health, Me
from archetype_server.metrics import MEDIA_TYPE
from archetype_server.problem import Unavailable
from archetype_server.readiness import Readiness
from archetype_server.routes.base import Anyone, Host, get


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

    @get("/metrics", media_type=MEDIA_TYPE)
    async def metrics(self, request: Anyone, host: Host) -> Response[str]:
        """Count requests, verdicts, ticks and streams since the start, as Prometheus reads them."""
        worlds = await host.ask(request.user, ListWorlds())
        text = host.metrics.text(ticks=host.feed.ticks, streams=host.feed.open_streams, worlds=len(worlds))
        return Response(text, media_type=MEDIA_TYPE)
