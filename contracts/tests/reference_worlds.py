"""The part of the reference gate that creates, opens, forks, closes and destroys worlds."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import reference_query as query
from reference_ledger import KnownWorld, Ledger, Waiting

from archetype_core import command as c
from archetype_core.config import StorageConfig
from archetype_core.engine import World, load_kernel
from archetype_core.errors import PendingMutations, WorldExists, WorldNotFound
from archetype_core.store import Segment, Store, open_store


@dataclass(slots=True, eq=False)
class LiveWorld:
    """A live world with its record, lock and handlers."""

    world: World
    known: KnownWorld
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    handlers: dict[str, Callable[[Any, Any], None]] = field(default_factory=dict)
    stepped_at: Any = None
    dropped: int = 0
    """How many commands the failed attempt of its last step dropped."""


class WorldPart(ABC):
    """Keeps the live worlds, one change at a time."""

    ledger: Ledger
    live: dict[str, LiveWorld]
    stores: dict[str, Store]
    creating: asyncio.Lock

    @abstractmethod
    def maker(self) -> str:
        """Whose world it is that is being made."""
        ...

    @abstractmethod
    def put(self, live: LiveWorld, waiting: Waiting, *, is_skippable: bool = False) -> None:
        """Stage a command in a live world."""
        ...

    def store(self, storage: StorageConfig) -> Store:
        if storage.uri not in self.stores:
            self.stores[storage.uri] = open_store(storage)
        return self.stores[storage.uri]

    async def create(self, command: c.CreateWorld) -> c.WorldInfo:
        async with self.creating:
            if command.world_id in self.live:
                return query.info(self.live[command.world_id])
            self.check_name(command.name)
            store, kernel = self.store(command.storage), load_kernel(command.kernel)
            world = World(store, command.name, seed=command.seed, world_id=command.world_id, kernel=kernel)
            return self.add_world(world, None)

    def check_name(self, name: str | None) -> None:
        for known in self.ledger.worlds.values():
            if known.name == name and not known.is_destroyed:
                raise WorldExists(known.name, known.world_id)

    def add_world(self, world: World, parent: str | None) -> c.WorldInfo:
        known = KnownWorld(world.world_id, world.name, world.segment, parent=parent, maker=self.maker())
        known.next_entity_id = world.next_entity_id
        self.ledger.worlds[world.world_id] = known
        self.live[world.world_id] = LiveWorld(world, known)
        return query.info(self.live[world.world_id])

    async def open(self, command: c.OpenWorld[Any]) -> c.WorldInfo | None:
        async with self.creating:
            worlds = [one for one in self.ledger.worlds.values() if not one.is_destroyed]
            found = [one for one in worlds if command.world in (one.world_id, one.name)]
            if not found:
                if command.missing_ok:
                    return None
                raise WorldNotFound(command.world, [one.name for one in worlds])
            known = found[0]
            if known.world_id not in self.live:
                live = LiveWorld(await self.load(known, self.store(command.storage)), known)
                self.live[known.world_id] = live
                self.restage(live)
            return query.info(self.live[known.world_id])

    async def load(self, known: KnownWorld, store: Store) -> World:
        if any(one.world_id == known.world_id for one in store.worlds()):
            return await World.open(store, known.world_id)
        segment: Segment = known.segment
        if segment.parent is not None:
            return await World.open(store, segment.parent.world_id, branch=segment)
        return World(store, known.name, seed=segment.seed, world_id=known.world_id, run_id=segment.run_id)

    def restage(self, live: LiveWorld) -> None:
        """Reserve the issued ids, and stage executed commands again."""
        # What processors of the last tick sent is staged already: it is part of that tick.
        committed = live.world.committed_commands
        waiting = [one for one in (*live.known.staged, *live.known.queue) if one.command_id not in committed]
        live.world.claim(live.known.next_entity_id, [one.ids for one in waiting])
        for one in waiting:
            one.is_staged = False
        for one in [one for one in live.known.staged if one in waiting]:
            if isinstance(one.command, c.Custom):
                # Its handler is added later, so it waits in the queue before all other commands.
                live.known.staged.remove(one)
                one.priority = -(10**9)
                live.known.queue.append(one)
            else:
                self.put(live, one)

    async def fork(self, command: c.ForkWorld, source: LiveWorld) -> c.WorldInfo:
        async with source.turn:
            self.check_name(command.name)
            committed = source.world.committed_commands
            waiting = [one for one in source.known.staged if one.command_id not in committed]
            if waiting and command.pending == "refuse":
                raise PendingMutations(source.world.name, len(waiting))
            copied = waiting if command.pending == "copy" else []
            world = await source.world.fork(
                command.name,
                at_tick=command.at_tick,
                resources=command.resources,
                rng=command.rng,
                pending=command.pending,
                store=None if command.storage is None else self.store(command.storage),
            )
        info = self.add_world(world, source.known.world_id)
        forked = self.live[world.world_id]
        forked.handlers = dict(source.handlers)
        # Rows belong to the source, so the copies have none; they are kept for a reopening.
        forked.known.staged = [Waiting(0, one.command_id, one.command, one.ids, one.tick, 0) for one in copied]
        return info

    async def close_world(self, world_id: str) -> bool:
        live = self.live.pop(world_id, None)
        if live is not None:
            async with live.turn:
                await live.world.close()
        return live is not None

    async def destroy(self, world_id: str) -> bool:
        live = self.live.get(world_id)
        if live is not None:
            await live.world.destroy()
            live.known.is_destroyed = True
            live.known.queue.clear()
            live.known.staged.clear()
        return await self.close_world(world_id)
