"""The worlds of a server: brought back at the start, and given their template's parts when they are made."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

from archetype_core.clock import SystemIds
from archetype_core.command import (
    ActorCtx,
    CloseWorld,
    Command,
    CommandGate,
    CreateWorld,
    DestroyWorld,
    EntityCommand,
    ForkWorld,
    ListWorlds,
    OpenWorld,
    ReplaceParts,
    RolloutResult,
    RunRollout,
    Ticket,
    WorldInfo,
)
from archetype_core.config import StorageConfig
from archetype_core.engine import hook_pairs
from archetype_core.errors import ArchetypeError, StorageNotFound
from archetype_server.answer import WorldAnswer
from archetype_server.key_store import SERVER
from archetype_server.model import CreateBody
from archetype_server.problem import BadRequest
from archetype_server.template import Templates, WorldTemplate
from archetype_server.tick_feed import TickFeed
from archetype_server.world_directory import WorldDirectory

R = TypeVar("R")
log = logging.getLogger("archetype_server")


class WorldHost:
    """The gate of a server with its templates. Requests are sent for their actor; the rest is done as ``SERVER``."""

    def __init__(
        self,
        gate: CommandGate,
        storage: StorageConfig,
        templates: Templates,
        directory: WorldDirectory,
        feed: TickFeed,
    ) -> None:
        self.gate = gate
        self.storage = storage
        self.templates = templates
        self.feed = feed
        self._directory = directory
        self._ids = SystemIds()
        self._creating = asyncio.Lock()
        self.failed: dict[str, str] = {}
        """The worlds that could not be brought back, by name, and why."""

    async def start(self) -> None:
        """Open every world of the storage. One that fails is reported and does not stop the others."""
        try:
            found = await self.gate.execute(SERVER, ListWorlds(self.storage))
        except StorageNotFound:
            return
        parents = {one.world_id: one.parent for one in found}
        for info in found:
            name = self._directory.template(info.world_id) or self._inherited(info.parent, parents)
            template = self.templates.of_scripts() if name is None else self.templates.get(name)
            if name is not None and template is None:
                log.error("world %s is made from template %s, which this server does not have", info.name, name)
                self.failed[info.name] = f"no template {name!r}"
                continue
            try:
                await self._bring_back(info, template)
            except ArchetypeError as failure:
                log.error("world %s cannot be opened: %s", info.name, failure)  # noqa: TRY400  # reason: no bug
                self.failed[info.name] = str(failure)

    def _inherited(self, parent: str | None, parents: dict[str, str | None]) -> str | None:
        """The template of a world's nearest ancestor that has one."""
        while parent is not None:
            if (found := self._directory.template(parent)) is not None:
                return found
            parent = parents.get(parent)
        return None

    async def _bring_back(self, info: WorldInfo, template: WorldTemplate | None) -> None:
        components = () if template is None else tuple(template.components)
        opened = await self.gate.execute(SERVER, OpenWorld(info.world_id, self.storage, components=components))
        await self._declare(opened.world_id, template)
        if template is not None and self._directory.template(info.world_id) is None:
            self._directory.put(info.world_id, template.name)
        self._directory.add_name(opened.name, opened.world_id)

    async def _declare(self, world_id: str, template: WorldTemplate | None) -> None:
        """Give a world its template's parts, and the hooks of the event streams."""
        parts = (template or WorldTemplate("")).parts()
        hooks = (*hook_pairs(self.feed.hooks), *(parts.hooks or ()))
        await self.gate.execute(SERVER, ReplaceParts(replace(parts, hooks=hooks)), world_id)

    async def ask(self, actor: ActorCtx, command: Command[R], world: str | None = None) -> R:
        """Execute a command for an actor; what it changes is on disk when this returns. A wrong argument is ``BadRequest``."""
        world_id = None if world is None else self._directory.id_of(world)
        try:
            result = await self.gate.execute(actor, command, world_id, durable=isinstance(command, EntityCommand))
        except ArchetypeError:
            raise
        except (TypeError, ValueError, KeyError) as refusal:
            raise BadRequest(str(refusal)) from refusal
        if isinstance(result, RolloutResult) and isinstance(command, RunRollout) and world_id is not None:
            self._note_forks(world_id, result, is_kept=not command.config.destroy_forks_on_complete)
        return result

    def _note_forks(self, world_id: str, result: RolloutResult, *, is_kept: bool) -> None:
        template = self._directory.template(world_id)
        for one in result.episodes if is_kept else ():
            self._directory.add_name(one.name, one.world_id)
            if template is not None:
                self._directory.put(one.world_id, template)

    async def submit(
        self, actor: ActorCtx, commands: Sequence[EntityCommand[Any]], world: str, tick: int | None, priority: int
    ) -> tuple[Ticket, ...]:
        """Queue commands for a tick, all or none."""
        try:
            return await self.gate.submit_batch(
                actor, commands, self._directory.id_of(world), tick=tick, priority=priority
            )
        except ArchetypeError:
            raise
        except (TypeError, ValueError) as refusal:
            raise BadRequest(str(refusal)) from refusal

    async def create(self, actor: ActorCtx, body: CreateBody) -> WorldAnswer:
        """Create a world from a template; with the id of an existing one, return that."""
        template = self.templates.find(body.template)
        world_id = body.world_id or self._ids.new()
        # Two requests with one id must not both give the world its parts.
        async with self._creating:
            return self.answer(await self._created(actor, body, world_id, template))

    async def _created(self, actor: ActorCtx, body: CreateBody, world_id: str, template: WorldTemplate) -> WorldInfo:
        known, was_live = self._directory.template(world_id), self.gate.peek(SERVER, world_id) is not None
        template = self.templates.get(known) or template
        if known is None:
            # Before the world is there: after a crash it comes back with its template, or was never created.
            self._directory.put(world_id, template.name)
        command = CreateWorld(
            body.name, self.storage, world_id=world_id, seed=body.seed, components=tuple(template.components)
        )
        try:
            info = await self.ask(actor, command)
        except BaseException:
            if known is None:
                self._directory.drop(world_id)
            raise
        if not was_live:
            try:
                await self._declare(info.world_id, template)
            except BaseException:
                await self.gate.execute(SERVER, DestroyWorld() if known is None else CloseWorld(), info.world_id)
                raise
        self._directory.add_name(info.name, info.world_id)
        return info

    async def fork(self, actor: ActorCtx, world: str, command: ForkWorld) -> WorldAnswer:
        """Fork a world; the fork has what the world has, its template too."""
        info = await self.ask(actor, command, world)
        template = self._directory.template(info.parent)
        if template is not None:
            self._directory.put(info.world_id, template)
        self._directory.add_name(info.name, info.world_id)
        return self.answer(info)

    async def destroy(self, actor: ActorCtx, world: str) -> tuple[str, bool]:
        """Destroy a world and free its name; its id, and whether there was one."""
        world_id = self._directory.id_of(world)
        done = await self.ask(actor, DestroyWorld(), world_id)
        self._directory.drop_name(world_id)
        return world_id, done

    def id_of(self, world: str) -> str:
        """Return the id of a world that is addressed by id or name."""
        return self._directory.id_of(world)

    def answer(self, info: WorldInfo) -> WorldAnswer:
        """Return a world as clients see it."""
        return WorldAnswer.of(info, self._directory.template(info.world_id))
