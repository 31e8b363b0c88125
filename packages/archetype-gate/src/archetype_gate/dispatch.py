"""Which service carries out which command."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from archetype_core.command import (
    AddHandler,
    AddHook,
    AddProcessor,
    AddResource,
    AuditRow,
    CloseWorld,
    Command,
    CreateWorld,
    DestroyWorld,
    Diff,
    Digest,
    EntityCommand,
    ForkWorld,
    GetComponents,
    GetHistory,
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
    RemoveHook,
    RemoveProcessor,
    RemoveResource,
    ResourceInfo,
    Run,
    RunEpisode,
    RunRollout,
    SearchWorld,
    Step,
    WorldInfo,
    spelled,
)
from archetype_core.engine import HookHandle
from archetype_core.errors import WorldNotFound
from archetype_gate.live import LiveWorld
from archetype_gate.reading import QueryService, described
from archetype_gate.simulation import SimulationService
from archetype_gate.worlds import WorldService

History = Callable[[GetHistory, str | None], Awaitable[tuple[AuditRow, ...]]]

_OF_ANY_WORLD = frozenset({GetHistory, DestroyWorld, CloseWorld, QueryEpisodes})
"""Commands that make sense also for worlds that are not in memory."""


class Dispatch:
    """Takes an admitted command to the service that knows how."""

    def __init__(self, worlds: WorldService, simulation: SimulationService, queries: QueryService) -> None:
        self._worlds = worlds
        self._queries = queries
        self._worldless: Mapping[type, Callable[[Any], Awaitable[Any]]] = {
            CreateWorld: worlds.create,
            OpenWorld: worlds.open,
            ListWorlds: lambda command: worlds.listed(command.storage),
        }
        self._of_world: Mapping[type, Callable[[LiveWorld, Any], Any]] = {
            Step: simulation.step,
            Run: simulation.run,
            RunEpisode: simulation.episode,
            RunRollout: simulation.rollout,
            ForkWorld: self._fork,
            Query: queries.query,
            QuerySnapshot: queries.snapshot,
            SearchWorld: queries.search,
            Diff: queries.diff,
            Digest: queries.digest,
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
        }

    def check(self, command: Command[Any], world_id: object, live: LiveWorld | None) -> None:
        """Refuse what nobody knows how to do, a command to a world that is not there, and one to nobody's world."""
        kind = type(command)
        if kind in self._worldless:
            if world_id is not None:
                raise TypeError(f"{command.kind} is asked of the gate itself, not of world {world_id}")
            return
        if kind not in self._of_world and kind not in _OF_ANY_WORLD and not isinstance(command, EntityCommand):
            raise TypeError(f"{command!r} is no command that this gate carries out")
        if world_id is None:
            if not isinstance(command, GetHistory):
                raise TypeError(f"{command.kind} is asked of a world: say which")
        elif not isinstance(world_id, str):
            raise TypeError(f"a world's id is text, not {world_id!r}")
        elif live is None and kind not in _OF_ANY_WORLD:
            self._worlds.get(world_id)

    async def carry_out(
        self, command: Command[Any], world_id: str | None, live: LiveWorld | None, history: History
    ) -> Any:
        """Do it; mutations of entities are staged elsewhere."""
        if (worldless := self._worldless.get(type(command))) is not None:
            return await worldless(command)
        match command:
            case GetHistory():
                return await history(command, world_id)
            case DestroyWorld():
                return await self._worlds.destroy(world_id or "")
            case CloseWorld():
                return await self._worlds.close(world_id or "")
            case QueryEpisodes():
                home = self._worlds.home(world_id)
                if home is None:
                    raise WorldNotFound(world_id or "")
                return await self._queries.episodes(home, command)
        answer = self._of_world[type(command)](live or self._worlds.get(world_id or ""), command)
        return await answer if inspect.isawaitable(answer) else answer

    async def _fork(self, live: LiveWorld, command: ForkWorld) -> WorldInfo:
        return (await self._worlds.fork(live, command)).info()


def _add_processor(live: LiveWorld, command: AddProcessor) -> ProcessorInfo:
    live.world.add_processor(command.processor)
    return described(command.processor)


def _add_hook(live: LiveWorld, command: AddHook) -> HookHandle:
    return live.world.add_hook(command.event, command.handler, mode=command.mode, fail_fast=command.fail_fast)


def _add_resource(live: LiveWorld, command: AddResource) -> ResourceInfo:
    live.world.resources.insert(command.resource)
    return ResourceInfo(spelled(command.resource))


def _add_handler(live: LiveWorld, command: AddHandler) -> None:
    handler: object = command.handler
    if not command.name or not callable(handler):
        raise TypeError(f"a handler is a name and a function, not {command.name!r} and {handler!r}")
    live.handlers[command.name] = command.handler
