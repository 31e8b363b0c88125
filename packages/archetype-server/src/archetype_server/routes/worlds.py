"""Worlds: create, list, inspect, fork, destroy, and what they are made of."""

from __future__ import annotations

from urllib.parse import quote

import msgspec
from litestar import Controller, Response
from litestar.params import JSONBody

from archetype_core.command import GetWorldInfo, ListHooks, ListProcessors, ListResources, ListWorlds, WorldInfo
from archetype_server.answer import (
    Branch,
    Destroyed,
    HookAnswer,
    Page,
    ProcessorAnswer,
    ResourceAnswer,
    TemplateAnswer,
    WorldAnswer,
)
from archetype_server.etag import etag, fingerprint, tagged, unmodified
from archetype_server.model import CreateBody, ForkBody
from archetype_server.paging import page_of
from archetype_server.routes.base import (
    Anyone,
    Host,
    Limit,
    Place,
    TermsOf,
    WorldName,
    command_of,
    delete,
    get,
    get_tagged,
    post,
)


class WorldRoutes(Controller):
    """The routes of worlds."""

    path = "/v1"
    tags = ("worlds",)

    @post("/worlds", status_code=201)
    async def create(
        self, request: Anyone, host: Host, once: TermsOf, data: JSONBody[CreateBody]
    ) -> Response[WorldAnswer]:
        """Create a world."""
        return _made(await host.create(request.user, data, once))

    @get("/worlds")
    async def list_worlds(
        self, request: Anyone, host: Host, limit: Limit = 100, cursor: Place = None
    ) -> Page[WorldAnswer]:
        """List the worlds of the server."""
        found = await host.ask(request.user, ListWorlds(host.storage))
        return page_of([host.answer(one) for one in found], limit, cursor)

    @get_tagged("/worlds/{world:str}")
    async def inspect(self, request: Anyone, host: Host, world: WorldName) -> Response[WorldAnswer]:
        """Inspect one world."""
        found = host.answer(await host.ask(request.user, GetWorldInfo(), world))
        # What is queued and staged changes between ticks too.
        tag = etag(found.world_id, found.tick, fingerprint(msgspec.json.encode(found)))
        headers = tagged(tag, is_settled=False)
        return unmodified(request, headers) or Response(found, headers=headers)

    @delete("/worlds/{world:str}", status_code=200)
    async def destroy(self, *, request: Anyone, host: Host, terms: TermsOf, world: WorldName) -> Destroyed:
        """Drop the live world and its queue. Its rows and its audit log stay."""
        return Destroyed(world, await host.destroy(request.user, world, terms))

    @post("/worlds/{world:str}/fork", status_code=201)
    async def fork(
        self, *, request: Anyone, host: Host, terms: TermsOf, world: WorldName, data: JSONBody[ForkBody | None] = None
    ) -> Response[WorldAnswer]:
        """Fork a world from here, or from an earlier tick."""
        return _made(await host.fork(request.user, world, command_of(data or ForkBody()), terms))

    @get("/worlds/{world:str}/processors")
    async def processors(
        self, *, request: Anyone, host: Host, world: WorldName, limit: Limit = 100, cursor: Place = None
    ) -> Page[ProcessorAnswer]:
        """List a world's processors in the order they run."""
        found = await host.ask(request.user, ListProcessors(), world)
        return page_of([ProcessorAnswer.of(one) for one in found], limit, cursor)

    @get("/worlds/{world:str}/hooks")
    async def hooks(
        self, *, request: Anyone, host: Host, world: WorldName, limit: Limit = 100, cursor: Place = None
    ) -> Page[HookAnswer]:
        """List a world's hooks in the order they are called."""
        found = await host.ask(request.user, ListHooks(), world)
        return page_of([HookAnswer.of(one) for one in found], limit, cursor)

    @get("/worlds/{world:str}/resources")
    async def resources(
        self, *, request: Anyone, host: Host, world: WorldName, limit: Limit = 100, cursor: Place = None
    ) -> Page[ResourceAnswer]:
        """List a world's resources."""
        found = await host.ask(request.user, ListResources(), world)
        return page_of([ResourceAnswer(one.qualname) for one in found], limit, cursor)

    @get("/lineage")
    async def lineage(self, request: Anyone, host: Host) -> Page[Branch]:
        """Show the worlds of the server as trees of forks."""
        return Page(_trees(await host.ask(request.user, ListWorlds(host.storage))))

    @get("/templates")
    async def list_templates(self, host: Host, limit: Limit = 100, cursor: Place = None) -> Page[TemplateAnswer]:
        """List what worlds can be made from."""
        found = [TemplateAnswer(one.name, one.component_names, one.processor_names) for one in host.templates]
        return page_of(found, limit, cursor)


def _made(world: WorldAnswer) -> Response[WorldAnswer]:
    return Response(world, status_code=201, headers={"Location": f"/v1/worlds/{quote(world.world_id, safe='')}"})


def _trees(worlds: tuple[WorldInfo, ...]) -> list[Branch]:
    """Return the worlds below those they were forked from; a world whose parent was destroyed is a root."""
    branches = {one.world_id: Branch(one.world_id, one.name, one.tick, one.is_live, []) for one in worlds}
    roots: list[Branch] = []
    for one in worlds:
        above = branches.get(one.parent) if one.parent is not None else None
        (roots if above is None else above.children).append(branches[one.world_id])
    return roots
