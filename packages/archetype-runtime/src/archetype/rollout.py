"""The episodes of a rollout: how each went, and their histories as one frame."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

from archetype_core.command import EpisodeResult, QueryEpisodes, RolloutResult
from archetype_core.schema import Component

if TYPE_CHECKING:
    from daft import DataFrame
    from daft.expressions import Expression

    from archetype_core.read import Ticks


class Rollout:
    """How the episodes of a rollout went, in order."""

    def __init__(self, result: RolloutResult) -> None:
        self.result = result

    @property
    def rollout_id(self) -> str:
        return self.result.rollout_id

    @property
    def base_world_id(self) -> str:
        """The world that the episodes are forks of."""
        return self.result.base_world_id

    @property
    def episodes(self) -> tuple[EpisodeResult, ...]:
        return self.result.episodes

    @property
    def num_episodes(self) -> int:
        return self.result.num_episodes

    @property
    def failed(self) -> tuple[EpisodeResult, ...]:
        """The episodes that failed; each says why in ``error``."""
        return self.result.failed

    @property
    def total_duration_steps(self) -> int:
        return self.result.total_duration_steps

    @property
    def duration_s(self) -> float:
        return self.result.duration_s

    def __repr__(self) -> str:
        steps, failed = self.total_duration_steps, len(self.failed)
        return f"{type(self).__name__}({self.num_episodes} episodes, {steps} ticks, {failed} failed)"


class RuntimeRollout(Rollout):
    """A rollout, and the way to the histories of its episodes."""

    def __init__(self, result: RolloutResult, execute: Callable[[QueryEpisodes], Awaitable[Any]]) -> None:
        super().__init__(result)
        self._execute = execute

    async def query(
        self,
        *components: type[Component],
        ticks: Ticks = None,
        entity_ids: int | Iterable[int] | None = None,
        where: Expression | None = None,
        include_inactive: bool = False,
        lineage: bool = False,
    ) -> DataFrame:
        """The histories of all episodes as one lazy DataFrame, with ``branch``, ``seed`` and ``episode`` columns.

        Also of episodes whose worlds are destroyed. ``lineage=True`` adds what the base world did before them, to each.
        """
        worlds = tuple(episode.world_id for episode in self.episodes)
        found: DataFrame = await self._execute(
            QueryEpisodes(components, ticks, entity_ids, where, include_inactive, lineage, world_ids=worlds)
        )
        return found
