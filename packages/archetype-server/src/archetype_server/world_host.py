"""The worlds of a server: brought back at the start, and given their template's parts when they are made."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from difflib import get_close_matches
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
from archetype_core.errors import ArchetypeError, StorageNotFound, WorldNotFound
from archetype_server.answer import WorldAnswer
from archetype_server.audit_feed import AuditFeed
from archetype_server.key_store import SERVER
from archetype_server.metrics import Metrics
from archetype_server.model import CreateBody
from archetype_server.page_cache import PageCache
from archetype_server.problem import Unprocessable
from archetype_server.template import Templates, WorldTemplate
from archetype_server.terms import FREE, Terms
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
        *,
        audit: AuditFeed,
        foresee: Callable[..., Awaitable[None]],
    ) -> None:
        self.gate = gate
        self._foresee = foresee
        self.storage = storage
        self.templates = templates
        self.feed = feed
        self.audit = audit
        self.redaction = audit.redaction
        self.pages = PageCache()
        self.metrics = Metrics()
        self._directory = directory
        self._ids = SystemIds()
        self._creating = asyncio.Lock()
        self.failed: dict[str, str] = {}
        """The worlds that could not be brought back, by name, and why."""
        self._declared: set[str] = set()
        """The live worlds that have their parts."""

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
        self._declared.add(world_id)

    async def ask(self, actor: ActorCtx, command: Command[R], world: str | None = None, terms: Terms = FREE) -> R:
        """Execute a command for an actor; what it changes is on disk when this returns. A wrong argument is ``BadRequest``."""
        world_id = None if world is None else self.id_of(actor, world)
        with self._deciding(command.kind, actor, world):
            result = await self.gate.execute(
                actor,
                command,
                world_id,
                durable=isinstance(command, EntityCommand),
                expected_tick=terms.expected_tick,
                key=terms.key,
            )
        if isinstance(result, RolloutResult) and isinstance(command, RunRollout) and world_id is not None:
            await self._note_forks(world_id, result, is_kept=not command.config.destroy_forks_on_complete)
        return result

    async def foresee(self, actor: ActorCtx, command: Command[Any], world_id: str, terms: Terms) -> None:
        """Raise what a command that is executed later would be refused with now."""
        with self._deciding("job", actor, world_id):
            await self._foresee(actor, command, world_id, expected_tick=terms.expected_tick)

    async def _note_forks(self, world_id: str, result: RolloutResult, *, is_kept: bool) -> None:
        template = self._directory.template(world_id)
        for one in result.episodes if is_kept else ():
            self._directory.add_name(one.name, one.world_id)
            if template is not None:
                await asyncio.to_thread(self._directory.put, one.world_id, template)

    async def submit(
        self,
        actor: ActorCtx,
        commands: Sequence[EntityCommand[Any]],
        world: str,
        *,
        tick: int | None,
        priority: int,
        terms: Terms,
    ) -> tuple[Ticket, ...]:
        """Queue commands for a tick, all or none."""
        with self._deciding("submit", actor, world):
            return await self.gate.submit_batch(
                actor,
                commands,
                self.id_of(actor, world),
                tick=tick,
                priority=priority,
                expected_tick=terms.expected_tick,
                key=terms.key,
            )

    async def create(self, actor: ActorCtx, body: CreateBody, terms: Terms) -> WorldAnswer:
        """Create a world from a template; with the id of an existing one, return that."""
        template = self.templates.find(body.template)
        # Two requests with one id must not both give the world its parts.
        async with self._creating:
            return self.answer(await self._created(actor, body, template, terms))

    async def _created(self, actor: ActorCtx, body: CreateBody, template: WorldTemplate, terms: Terms) -> WorldInfo:
        world_id = body.world_id or self._ids.new()
        known = self._directory.template(world_id)
        template = self.templates.get(known) or template
        if known is None:
            # Before the world is there: after a crash it comes back with its template, or was never created.
            await asyncio.to_thread(self._directory.put, world_id, template.name)
        command = CreateWorld(
            body.name, self.storage, world_id=world_id, seed=body.seed, components=tuple(template.components)
        )
        info = None
        try:
            info = await self.ask(actor, command, terms=terms)
        finally:
            # If the request was sent before with its key, it made a world of another id then.
            if known is None and (info is None or info.world_id != world_id):
                await asyncio.to_thread(self._directory.drop, world_id)
        # An answer that is given again may be about a world that was destroyed since.
        if info.world_id not in self._declared and self.gate.peek(SERVER, info.world_id) is not None:
            try:
                await self._declare(info.world_id, self.templates.get(self._directory.template(info.world_id)))
            except BaseException:
                await self.gate.execute(SERVER, DestroyWorld() if known is None else CloseWorld(), info.world_id)
                raise
            self._directory.add_name(info.name, info.world_id)
        return info

    async def fork(self, actor: ActorCtx, world: str, command: ForkWorld, terms: Terms) -> WorldAnswer:
        """Fork a world; the fork has what the world has, its template too."""
        info = await self.ask(actor, command, world, terms)
        # An answer that is given again may be about a world that was destroyed since.
        if self.gate.peek(SERVER, info.world_id) is not None:
            template = self._directory.template(info.parent)
            if template is not None:
                await asyncio.to_thread(self._directory.put, info.world_id, template)
            self._directory.add_name(info.name, info.world_id)
            self._declared.add(info.world_id)
        return self.answer(info)

    async def destroy(self, actor: ActorCtx, world: str, terms: Terms) -> bool:
        """Destroy a world and free its name; whether there was one."""
        world_id = self.id_of(actor, world)
        done = await self.ask(actor, DestroyWorld(), world_id, terms)
        self._directory.drop_name(world_id)
        self._declared.discard(world_id)
        return done

    def id_of(self, actor: ActorCtx, world: str) -> str:
        """Return the id of a world that is addressed by id or name.

        The name of a world that is hidden from the actor is like one that nobody has: what it is refused for has no id.
        """
        world_id = self._directory.id_of(world)
        is_hidden = actor.worlds is not None and self.gate.peek(actor, world_id) is None
        return world if is_hidden else world_id

    @contextmanager
    def _deciding(self, kind: str, actor: ActorCtx, world: str | None) -> Iterator[None]:
        """Count the gate's verdict on a command. Wrong arguments are ``Unprocessable``; a missing world is told with others."""
        try:
            with self.metrics.deciding(kind):
                yield
        except WorldNotFound as missing:
            if world is None or missing.world not in (world, self.id_of(actor, world)):
                raise
            raise WorldNotFound(world, self._names(actor, world)) from None
        except ArchetypeError:
            raise
        except (TypeError, ValueError, KeyError) as refusal:
            raise Unprocessable(str(refusal)) from refusal

    def _names(self, actor: ActorCtx, like: str) -> list[str]:
        """The names of live worlds that an actor may see, up to a bound, those like a text first."""
        seen = sorted(name for name, one in self._directory.names if self.gate.peek(actor, one) is not None)
        near = get_close_matches(like, seen, 8)
        return [*near, *(one for one in seen if one not in near)][:100]

    def answer(self, info: WorldInfo) -> WorldAnswer:
        """Return a world as clients see it."""
        return WorldAnswer.of(info, self._directory.template(info.world_id))
