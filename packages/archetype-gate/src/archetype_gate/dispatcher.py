"""Finds the service that executes a command."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from archetype_core.command import (
    AddHandler,
    AddHook,
    AddProcessor,
    AddResource,
    Administer,
    Aggregate,
    AuditHead,
    AuditRow,
    CloseWorld,
    Command,
    CreateWorld,
    Density,
    DestroyWorld,
    Diff,
    Digest,
    EntityCommand,
    ForkWorld,
    GetAuditHead,
    GetComponents,
    GetHistory,
    GetUsage,
    GetWorldInfo,
    ListHooks,
    ListProcessors,
    ListResources,
    ListWorlds,
    OpenWorld,
    ProcessorInfo,
    Query,
    QueryEpisodes,
    QuerySnapshot,
    QueryTables,
    ReadMessages,
    RemoveHook,
    RemoveProcessor,
    RemoveResource,
    ReplaceParts,
    ResourceInfo,
    Run,
    RunEpisode,
    RunRollout,
    SealStorage,
    SearchWorld,
    Step,
    WorldInfo,
    spelled,
)
from archetype_core.engine import HookHandle
from archetype_core.errors import WorldNotFound
from archetype_gate.live_world import LiveWorld
from archetype_gate.query import QueryService, processor_info
from archetype_gate.rollout import RolloutService
from archetype_gate.simulation import SimulationService
from archetype_gate.terms import Terms
from archetype_gate.world_service import WorldService

ReadAudit = Callable[[GetHistory | GetAuditHead, str | None], Awaitable[tuple[AuditRow, ...] | AuditHead]]

_LIVE_OR_NOT = frozenset({GetHistory, GetAuditHead, DestroyWorld, CloseWorld, QueryEpisodes})
"""Commands that also work for worlds that are not live."""


class CommandDispatcher:
    """Executes admitted commands through the services, except mutations of entities: the command service stages those."""

    def __init__(
        self,
        worlds: WorldService,
        simulation: SimulationService,
        rollouts: RolloutService,
        queries: QueryService,
    ) -> None:
        self._worlds = worlds
        self._queries = queries
        self._without_world: Mapping[type, Callable[[Any], Awaitable[Any]]] = {
            OpenWorld: worlds.open,
            GetUsage: queries.usage,
            ListWorlds: lambda command: worlds.list_worlds(command.storage),
            SealStorage: worlds.seal,
            Administer: _nothing,
        }
        self._on_terms: Mapping[type, Callable[[LiveWorld, Any, Terms], Awaitable[Any]]] = {
            Step: simulation.step,
            Run: simulation.run,
            RunEpisode: simulation.episode,
            RunRollout: rollouts.rollout,
            ForkWorld: self._fork,
        }
        self._with_world: Mapping[type, Callable[[LiveWorld, Any], Any]] = {
            Query: queries.query,
            QuerySnapshot: queries.snapshot,
            QueryTables: queries.tables,
            SearchWorld: queries.search,
            Diff: queries.diff,
            Aggregate: queries.aggregate,
            Density: queries.density,
            Digest: queries.digest,
            ReadMessages: queries.messages,
            GetComponents: queries.components,
            GetWorldInfo: lambda live, _: live.info(),
            ListProcessors: lambda live, _: queries.processors(live),
            ListHooks: lambda live, _: queries.hooks(live),
            ListResources: lambda live, _: queries.resources(live),
            AddProcessor: _add_processor,
            RemoveProcessor: lambda live, command: live.world.remove_processor(command.processor),
            AddHook: _add_hook,
            RemoveHook: lambda live, command: live.world.remove_hook(command.handle),
            AddResource: _add_resource,
            RemoveResource: lambda live, command: live.world.resources.remove(command.resource) is not None,
            AddHandler: _add_handler,
            ReplaceParts: _replace_parts,
        }

    def check(self, command: Command[Any], world_id: object, live: LiveWorld | None) -> None:
        """Check that a command is known and addressed correctly.

        ``TypeError`` for an unknown command, or a world id that is missing, superfluous or not a string;
        ``WorldNotFound`` if the command needs a live world and ``live`` is ``None``.
        """
        kind = type(command)
        if not isinstance(command, EntityCommand):
            if kind in self._without_world or kind is CreateWorld:
                if world_id is not None:
                    raise TypeError(f"{command.kind} takes no world id, got {world_id!r}: leave it out")
                return
            if not (kind in self._with_world or kind in self._on_terms or kind in _LIVE_OR_NOT):
                raise TypeError(f"this gate cannot execute {command!r}")
        if world_id is None:
            if not isinstance(command, GetHistory | GetAuditHead):
                raise TypeError(f"{command.kind} needs a world id: pass world_id")
        elif not isinstance(world_id, str):
            raise TypeError(f"a world id must be a string, not {world_id!r}")
        elif live is None and kind not in _LIVE_OR_NOT:
            self._worlds.get(world_id)

    async def execute(
        self,
        command: Command[Any],
        world_id: str | None,
        live: LiveWorld | None,
        read_audit: ReadAudit,
        terms: Terms,
    ) -> Any:
        """Execute a command that passed ``check`` and return its result; ``StaleTick`` if another tick is expected."""
        if (handler := self._without_world.get(type(command))) is not None:
            return await handler(command)
        match command:
            case CreateWorld():
                return await self._worlds.create(command, terms.maker)
            case GetHistory() | GetAuditHead():
                return await read_audit(command, world_id)
            case DestroyWorld():
                # What an interrupted call with its key destroyed is gone already.
                return await self._worlds.destroy(world_id or "", terms.expected_tick) or terms.is_resumed
            case CloseWorld():
                return await self._worlds.close(world_id or "")
            case QueryEpisodes():
                backend = self._worlds.backend_of(world_id)
                if backend is None:
                    raise WorldNotFound(world_id or "")
                return await self._queries.episodes(backend, command)
        found = live or self._worlds.get(world_id or "")
        if (on_terms := self._on_terms.get(type(command))) is not None:
            return await on_terms(found, command, terms)
        result = self._with_world[type(command)](found, command)
        return await result if inspect.isawaitable(result) else result

    async def _fork(self, live: LiveWorld, command: ForkWorld, terms: Terms) -> WorldInfo:
        once = terms.once
        world_id = None if once is None else once.command_id
        if world_id is not None and terms.is_resumed:
            opening = OpenWorld(world_id, command.storage or live.backend.config, missing_ok=True)
            if (made := await self._worlds.open(opening)) is not None:
                return made
        forked = await self._worlds.fork(
            live, command, world_id=world_id, expected_tick=terms.expected_tick, maker=terms.maker
        )
        return forked.info()


async def _nothing(_command: Administer) -> None:
    """The application does it."""


def _add_processor(live: LiveWorld, command: AddProcessor) -> ProcessorInfo:
    live.world.add_processor(command.processor)
    return processor_info(command.processor)


def _add_hook(live: LiveWorld, command: AddHook) -> HookHandle:
    return live.world.add_hook(command.event, command.handler, mode=command.mode, fail_fast=command.fail_fast)


def _add_resource(live: LiveWorld, command: AddResource) -> ResourceInfo:
    live.world.resources.insert(command.resource)
    return ResourceInfo(spelled(command.resource))


def _add_handler(live: LiveWorld, command: AddHandler) -> None:
    _check_handler(command.name, command.handler)
    live.handlers[command.name] = command.handler


async def _replace_parts(live: LiveWorld, command: ReplaceParts) -> None:
    given, before = command.parts.handlers, command.before.handlers or {}
    for name, handler in (given or {}).items():
        _check_handler(name, handler)
    await live.world.replace_parts(command.parts, command.before)
    if given is not None:
        kept = {name: one for name, one in live.handlers.items() if before.get(name) is not one}
        live.handlers = {**kept, **given}


def _check_handler(name: object, handler: object) -> None:
    if not isinstance(name, str) or not name or not callable(handler):
        raise TypeError(f"a handler needs a name and a function, not {name!r} and {handler!r}")
