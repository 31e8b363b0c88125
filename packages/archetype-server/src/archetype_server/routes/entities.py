"""Entities: spawn, read, update, move, despawn. What changes is staged for the world's next tick."""

from __future__ import annotations

from asyncio import to_thread
from typing import Annotated

from litestar import Controller, Response
from litestar.params import JSONBody, QueryParameter

from archetype_core.command import AddComponents, Despawn, QueryTables, RemoveComponents, Update
from archetype_core.errors import EntityNotFound
from archetype_server import state
from archetype_server.answer import EntityAnswer, EntityRef, EntityRefs
from archetype_server.etag import etag, tagged, unmodified
from archetype_server.model import ComponentsBody, SpawnBody, SpawnManyBody
from archetype_server.problem import Unprocessable
from archetype_server.routes.base import (
    Anyone,
    Bounds,
    EntityId,
    Host,
    SomeTick,
    TermsOf,
    WorldName,
    command_of,
    delete,
    get_tagged,
    patch,
    post,
    required_kinds,
)


class EntityRoutes(Controller):
    """The routes of single entities."""

    path = "/v1/worlds/{world:str}/entities"
    tags = ("entities",)

    @post(status_code=201)
    async def spawn(
        self, *, request: Anyone, host: Host, terms: TermsOf, world: WorldName, data: JSONBody[SpawnBody]
    ) -> EntityRef:
        """Spawn an entity."""
        return EntityRef(await host.ask(request.user, command_of(data), world, terms))

    @post("/batch", status_code=201)
    async def spawn_many(
        self,
        *,
        request: Anyone,
        host: Host,
        limits: Bounds,
        terms: TermsOf,
        world: WorldName,
        data: JSONBody[SpawnManyBody],
    ) -> EntityRefs:
        """Spawn several entities, all or none."""
        if len(data.bundles) > limits.entities:
            raise Unprocessable(f"{len(data.bundles)} entities are more than the {limits.entities} of one request")
        # In a thread: it takes some microseconds for each component.
        ids = await host.ask(request.user, await to_thread(command_of, data), world, terms)
        return EntityRefs(list(ids))

    @get_tagged("/{entity_id:int}")
    async def entity(
        self, request: Anyone, host: Host, world: WorldName, entity_id: EntityId, tick: SomeTick = None
    ) -> Response[EntityAnswer]:
        """Read one entity with all its components at a tick, by default the last."""
        found = await host.ask(request.user, QueryTables(tick), world)
        headers = tagged(etag(host.id_of(request.user, world), found.tick + 1), is_settled=tick is not None)
        if (known := unmodified(request, headers)) is not None:
            return known
        components = await to_thread(state.entity, found, entity_id)
        if components is None:
            raise EntityNotFound(entity_id, world)
        return Response(EntityAnswer(entity_id, found.tick, components), headers=headers)

    @patch("/{entity_id:int}")
    async def update(
        self,
        *,
        request: Anyone,
        host: Host,
        terms: TermsOf,
        world: WorldName,
        entity_id: EntityId,
        data: JSONBody[ComponentsBody],
    ) -> EntityRef:
        """Change the given fields of an entity's components; all others stay."""
        await host.ask(request.user, Update(entity_id, data.instances()), world, terms)
        return EntityRef(entity_id)

    @delete("/{entity_id:int}", status_code=200)
    async def despawn(
        self, *, request: Anyone, host: Host, terms: TermsOf, world: WorldName, entity_id: EntityId
    ) -> EntityRef:
        """Despawn an entity; nothing if it is not alive."""
        await host.ask(request.user, Despawn(entity_id), world, terms)
        return EntityRef(entity_id)

    @post("/{entity_id:int}/components", status_code=200)
    async def add(
        self,
        *,
        request: Anyone,
        host: Host,
        terms: TermsOf,
        world: WorldName,
        entity_id: EntityId,
        data: JSONBody[ComponentsBody],
    ) -> EntityRef:
        """Add components to an entity; those that it has stay unchanged."""
        await host.ask(request.user, AddComponents(entity_id, data.instances()), world, terms)
        return EntityRef(entity_id)

    @delete("/{entity_id:int}/components", status_code=200)
    async def remove(
        self,
        *,
        request: Anyone,
        host: Host,
        terms: TermsOf,
        world: WorldName,
        entity_id: EntityId,
        components: Annotated[str, QueryParameter(description="Names of components, separated by commas.")],
    ) -> EntityRef:
        """Remove components from an entity; the last one cannot be removed."""
        await host.ask(request.user, RemoveComponents(entity_id, required_kinds(components)), world, terms)
        return EntityRef(entity_id)
