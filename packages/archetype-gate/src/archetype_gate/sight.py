"""What an actor with worlds of its own can see: for it, other worlds do not exist, whatever command asks about them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from archetype_core.command import (
    ActorCtx,
    ActorUsage,
    Administer,
    Aggregate,
    Command,
    CreateWorld,
    Diff,
    GetAuditHead,
    GetHistory,
    GetUsage,
    OpenWorld,
    QueryEpisodes,
    SealStorage,
    WorldInfo,
)
from archetype_core.engine import in_thread
from archetype_core.errors import PermissionDenied, StorageNotFound, WorldExists, WorldNotFound
from archetype_gate.call import Call
from archetype_gate.live_world import LiveWorld
from archetype_gate.policy import admits
from archetype_gate.storage import Backend, StorageService
from archetype_gate.world_lookup import find_stored
from archetype_gate.world_service import WorldService


class Sight:
    """Hides worlds from actors that have worlds of their own; for all others it does nothing."""

    def __init__(self, worlds: WorldService, storage: StorageService) -> None:
        self._worlds = worlds
        self._storage = storage

    def find(self, actor: ActorCtx, world_id: str | None) -> LiveWorld | None:
        """Return a live world, if there is one for the actor."""
        live = self._worlds.find(world_id)
        return live if live is None or actor.worlds is None or _sees(actor, live) else None

    def check(self, call: Call, commands: Iterable[Command[Any]]) -> None:
        """Raise for commands that name worlds that are not there for their actor, or that are about all worlds.

        ``WorldNotFound`` says the same of a world that is hidden and of one that does not exist.
        """
        actor = call.actor
        if actor.worlds is None:
            return
        for command in commands:
            if call.world_id is not None:
                self._require(actor, call.world_id)
            elif _is_about_all(command, actor):
                raise PermissionDenied(actor.id, actor.roles, f"{command.kind} of all worlds, having worlds of its own")
            for named in _named(command):
                self._require(actor, named)

    def check_world(self, actor: ActorCtx, world_id: str) -> None:
        """Raise ``WorldNotFound`` for a world that is not there for an actor."""
        if actor.worlds is not None:
            self._require(actor, world_id)

    def _require(self, actor: ActorCtx, world_id: object) -> None:
        # A wrong argument is refused by whoever takes it.
        if isinstance(world_id, str) and not self._is_there(actor, world_id):
            raise WorldNotFound(world_id, None)

    def _is_there(self, actor: ActorCtx, world_id: str) -> bool:
        live = self._worlds.find(world_id)
        if live is not None:
            return _sees(actor, live)
        for backend in self._storage.backends:
            entry = backend.ledger.find_world(world_id)
            if entry is not None and entry.segment.world_id == world_id:
                return admits(actor, world_id, entry.segment.name, entry.maker)
        return False

    async def check_stored(self, call: Call, command: Command[Any]) -> bool:
        """Whether to execute a command that opens or creates a world: not if that is hidden from its actor.

        Then ``WorldNotFound``, or ``False`` if a missing world is fine; ``WorldExists`` for a new world with the id of another.
        """
        actor = call.actor
        if actor.worlds is None or not isinstance(command, OpenWorld | CreateWorld):
            return True
        wanted = command.world if isinstance(command, OpenWorld) else command.world_id
        if wanted is None:
            return True
        try:
            backend = await self._storage.backend(command.storage, command.cache, create=False)
            is_there = await in_thread(lambda: _stored(actor, backend, wanted))
        except StorageNotFound:
            # Whoever executes it says so.
            return True
        except WorldNotFound:
            if isinstance(command, CreateWorld):
                return True
            is_there = False
        if is_there:
            return True
        if isinstance(command, CreateWorld):
            raise WorldExists(command.name, wanted)
        if not command.missing_ok:
            raise WorldNotFound(wanted, None)
        return False

    def failure(self, actor: ActorCtx, failure: BaseException) -> BaseException:
        """Return what an actor is told of a failure: that a name is taken, but not by which world."""
        if (
            isinstance(failure, WorldExists)
            and actor.worlds is not None
            and not self._is_there(actor, failure.world_id)
        ):
            return WorldExists(failure.name, "a world of others")
        return failure

    async def shown(self, actor: ActorCtx, result: Any) -> Any:
        """Return what an actor is told of a result: only about its own worlds."""
        if actor.worlds is None:
            return result
        if isinstance(result, WorldInfo):
            (result,) = await in_thread(lambda: [self._masked(actor, result)])
        elif isinstance(result, tuple) and any(isinstance(one, WorldInfo) for one in result):
            result = await in_thread(
                lambda: tuple(self._masked(actor, one) for one in result if self._is_listed(actor, one))
            )
        elif isinstance(result, ActorUsage):
            commands = {one: count for one, count in result.commands.items() if self._is_there(actor, one)}
            result = replace(result, commands=commands)
        return result

    def _is_listed(self, actor: ActorCtx, info: WorldInfo) -> bool:
        # A world that was run without a gate is in no ledger, and has no maker.
        return admits(actor, info.world_id, info.name, "") or self._is_there(actor, info.world_id)

    def _masked(self, actor: ActorCtx, info: WorldInfo) -> WorldInfo:
        is_hidden = info.parent is not None and not self._is_there(actor, info.parent)
        return replace(info, parent=None) if is_hidden else info


def _sees(actor: ActorCtx, live: LiveWorld) -> bool:
    return admits(actor, live.world_id, live.world.name, live.maker)


def _is_about_all(command: Command[Any], actor: ActorCtx) -> bool:
    is_other = isinstance(command, GetUsage) and command.actor not in (None, actor.id)
    return is_other or isinstance(command, GetHistory | GetAuditHead | SealStorage | Administer)


def _named(command: Command[Any]) -> Iterable[object]:
    """The worlds that a command names beside the one that it is sent to."""
    match command:
        case Diff(before, after):
            return [one[0] for one in (before, after) if isinstance(one, tuple) and one]
        case QueryEpisodes():
            return command.world_ids
        case Aggregate():
            return command.others
    return ()


def _stored(actor: ActorCtx, backend: Backend, world: str) -> bool:
    world_id, entry, record = find_stored(backend, world)
    named = entry.segment.name if entry is not None else record.name if record is not None else ""
    return admits(actor, world_id, named, entry.maker if entry is not None else "")
