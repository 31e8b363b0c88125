"""Reads of live worlds, and of the histories that worlds left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from archetype_core.command import (
    Diff,
    Digest,
    GetComponents,
    HookInfo,
    ProcessorInfo,
    Query,
    QueryEpisodes,
    QuerySnapshot,
    ResourceInfo,
    SearchWorld,
    spelled,
)
from archetype_core.engine import Processor, WorldView, in_thread
from archetype_core.read import Branch, query_branches
from archetype_gate.live import LiveWorld
from archetype_gate.storage import Backend
from archetype_gate.worlds import WorldService

if TYPE_CHECKING:
    from daft import DataFrame


class QueryService:
    """Answers what is asked of worlds. Nothing here changes anything."""

    def __init__(self, worlds: WorldService) -> None:
        self._worlds = worlds

    async def query(self, live: LiveWorld, command: Query) -> DataFrame:
        """History as a lazy frame."""
        return await in_thread(lambda: live.world.select(command))

    async def episodes(self, backend: Backend, command: QueryEpisodes) -> DataFrame:
        """The histories of several worlds as one lazy frame, each row with its branch, seed and episode."""

        def ask() -> DataFrame:
            store = backend.store
            stored = {one.world_id for one in store.worlds()}
            branches = []
            for episode, world_id in enumerate(command.world_ids):
                if world_id not in stored:
                    continue
                timeline = store.timeline(world_id)
                segment = timeline.spans[-1].segment
                branches.append(
                    Branch(timeline if command.lineage else timeline.own(world_id), segment.name, segment.seed, episode)
                )
            return query_branches(store, branches, command)

        return await in_thread(ask)

    async def snapshot(self, live: LiveWorld, command: QuerySnapshot) -> DataFrame:
        """One tick as a frame."""
        return await in_thread(lambda: live.world.snapshot(*command.components, at=command.at))

    async def search(self, live: LiveWorld, command: SearchWorld) -> DataFrame:
        """The entities most like a query."""
        return await in_thread(lambda: live.world.find(command))

    async def diff(self, live: LiveWorld, command: Diff) -> DataFrame:
        """What differs between two moments."""
        return await in_thread(lambda: live.world.diff(self._moment(command.before), self._moment(command.after)))

    def _moment(self, moment: int | tuple[str, int | None]) -> Any:
        if not isinstance(moment, tuple):
            return moment
        world_id, tick = moment
        world: WorldView = self._worlds.get(world_id).world
        return world if tick is None else (world, tick)

    async def digest(self, live: LiveWorld, command: Digest) -> str:
        """The canonical digest of a committed tick."""
        return await in_thread(lambda: live.world.digest(command.at))

    @staticmethod
    def components(live: LiveWorld, command: GetComponents) -> tuple[Any, ...]:
        """A live entity's components; never waits."""
        return live.world.get_components(command.entity_id, *command.components)

    @staticmethod
    def processors(live: LiveWorld) -> tuple[ProcessorInfo, ...]:
        """A world's processors in the order they run."""
        return tuple(described(slot.processor) for slot in live.world.system.slots)

    @staticmethod
    def hooks(live: LiveWorld) -> tuple[HookInfo, ...]:
        """A world's hooks in the order they are called."""
        return tuple(HookInfo(one.event.__name__, one.name, one.mode, one.fail_fast) for one in live.world.hooks)

    @staticmethod
    def resources(live: LiveWorld) -> tuple[ResourceInfo, ...]:
        """A world's resources."""
        return tuple(ResourceInfo(spelled(one)) for one in live.world.resources)


def described(processor: Processor) -> ProcessorInfo:
    """A processor as it is told of."""
    return ProcessorInfo(spelled(processor), processor.priority, tuple(kind.__name__ for kind in processor.components))
