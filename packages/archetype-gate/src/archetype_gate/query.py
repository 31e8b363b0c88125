"""Reads of live worlds and of stored histories."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from archetype_core.command import (
    ActorUsage,
    Aggregate,
    Density,
    Diff,
    Digest,
    GetComponents,
    GetUsage,
    HookInfo,
    ProcessorInfo,
    Query,
    QueryEpisodes,
    QuerySnapshot,
    QueryTables,
    ReadMessages,
    ResourceInfo,
    SearchWorld,
    TickTables,
    spelled,
)
from archetype_core.engine import Processor, WorldView, in_thread
from archetype_core.read import Branch, DensityGrid, query_branches
from archetype_core.schema import Letters
from archetype_gate.live_world import LiveWorld
from archetype_gate.quota import QuotaMeter
from archetype_gate.storage import Backend
from archetype_gate.world_service import WorldService

if TYPE_CHECKING:
    from daft import DataFrame


class QueryService:
    """Reads worlds; changes nothing. Reads of history run in a thread."""

    def __init__(self, worlds: WorldService, meter: QuotaMeter) -> None:
        self._worlds = worlds
        self._meter = meter

    async def usage(self, command: GetUsage) -> ActorUsage:
        """Return what an actor has used of its quotas, from memory."""
        if not isinstance(command.actor, str) or not command.actor:
            raise TypeError(f"an actor is named by its id, a non-empty string, not {command.actor!r}")
        ticks = {one.world_id: one.world.tick for one in self._worlds.live_worlds}
        return self._meter.usage(command.actor, ticks)

    async def query(self, live: LiveWorld, command: Query) -> DataFrame:
        """Return a world's history as a lazy frame."""
        return await in_thread(lambda: live.world.select(command))

    async def episodes(self, backend: Backend, command: QueryEpisodes) -> DataFrame:
        """Return the histories of several worlds as one lazy frame with the columns branch, seed, episode and labels.

        Worlds that the store does not have are left out.
        """

        def read() -> DataFrame:
            store = backend.store
            stored = {one.world_id for one in store.worlds()}
            branches = []
            for episode, world_id in enumerate(command.world_ids):
                if world_id not in stored:
                    continue
                timeline = store.timeline(world_id)
                segment = timeline.spans[-1].segment
                branches.append(
                    Branch(
                        timeline if command.lineage else timeline.own(world_id),
                        segment.name,
                        segment.seed,
                        episode,
                        command.labels[episode] if command.labels else {},
                    )
                )
            return query_branches(store, branches, command)

        return await in_thread(read)

    async def snapshot(self, live: LiveWorld, command: QuerySnapshot) -> DataFrame:
        """Return one tick as a frame."""
        return await in_thread(
            lambda: live.world.snapshot(
                *command.components, at=command.at, where=command.where, missing=command.missing
            )
        )

    async def tables(self, live: LiveWorld, command: QueryTables) -> TickTables:
        """Return all live rows of one tick."""

        def read() -> TickTables:
            world = live.world
            # A tick that is named: a later one may be committed while this reads.
            at = command.at if command.at is not None or world.timeline() is None else world.tick - 1
            return TickTables(world.tick - 1 if at is None else at, world.tables(at))

        return await in_thread(read)

    async def search(self, live: LiveWorld, command: SearchWorld) -> DataFrame:
        """Return the entities that match a search best."""
        return await in_thread(lambda: live.world.find(command))

    async def diff(self, live: LiveWorld, command: Diff) -> DataFrame:
        """Return the rows that differ between two ticks or two worlds."""
        before, after = self._diff_side(command.before), self._diff_side(command.after)
        return await in_thread(lambda: live.world.diff(before, after, *command.columns, where=command.where))

    def _diff_side(self, side: int | tuple[str, int | None]) -> Any:
        if not isinstance(side, tuple):
            return side
        world_id, tick = side
        world: WorldView = self._worlds.get(world_id).world
        return world if tick is None else (world, tick)

    async def aggregate(self, live: LiveWorld, command: Aggregate) -> DataFrame:
        """Return numbers about columns of one or more worlds."""
        others = [self._worlds.get(one).world for one in command.others]
        return await in_thread(lambda: live.world.numbers(command, *others))

    async def density(self, live: LiveWorld, command: Density) -> DensityGrid:
        """Return the density of two columns."""
        return await in_thread(lambda: live.world.grid(command))

    async def digest(self, live: LiveWorld, command: Digest) -> str:
        """Return the canonical digest of a committed tick."""
        return await in_thread(lambda: live.world.digest(command.at))

    async def messages(self, live: LiveWorld, command: ReadMessages) -> Letters:
        """Return the messages that were sent."""
        return await in_thread(lambda: live.world.letters(command))

    @staticmethod
    def components(live: LiveWorld, command: GetComponents) -> tuple[Any, ...]:
        """Return a live entity's components, from memory."""
        return live.world.get_components(command.entity_id, *command.components)

    @staticmethod
    def processors(live: LiveWorld) -> tuple[ProcessorInfo, ...]:
        """Describe a world's processors, in the order they run."""
        return tuple(processor_info(slot.processor) for slot in live.world.system.slots)

    @staticmethod
    def hooks(live: LiveWorld) -> tuple[HookInfo, ...]:
        """Describe a world's hooks, in the order they are called."""
        return tuple(HookInfo(one.event.__name__, one.name, one.mode, one.fail_fast) for one in live.world.hooks)

    @staticmethod
    def resources(live: LiveWorld) -> tuple[ResourceInfo, ...]:
        """Describe a world's resources."""
        return tuple(ResourceInfo(spelled(one)) for one in live.world.resources)


def processor_info(processor: Processor) -> ProcessorInfo:
    """Describe a processor: its class, priority and components."""
    components = tuple(kind.__name__ for kind in getattr(processor, "components", ()))
    return ProcessorInfo(spelled(processor), getattr(processor, "priority", 0), components)
