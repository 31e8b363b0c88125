"""The result of a rollout: its episodes, and their tick histories as one frame."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

from archetype.waits import waits_for
from archetype_core.command import EpisodeResult, QueryEpisodes, RolloutResult
from archetype_core.read import Ticks
from archetype_core.schema import Component

if TYPE_CHECKING:
    from daft import DataFrame
    from daft.expressions import Expression


class RuntimeRollout:
    """The result of a rollout: its episodes, and a query over their tick histories."""

    def __init__(self, result: RolloutResult, execute: Callable[[QueryEpisodes], Awaitable[DataFrame]]) -> None:
        self._result = result
        self._execute = execute

    @property
    def result(self) -> RolloutResult:
        """The rollout's facts as the gate returned them."""
        return self._result

    @property
    def rollout_id(self) -> str:
        """The id of this rollout."""
        return self._result.rollout_id

    @property
    def base_world_id(self) -> str:
        """The id of the world that the episodes were forked from."""
        return self._result.base_world_id

    @property
    def episodes(self) -> tuple[EpisodeResult, ...]:
        """The episodes in order."""
        return self._result.episodes

    @property
    def num_episodes(self) -> int:
        """How many episodes there are, failed ones included."""
        return self._result.num_episodes

    @property
    def failed(self) -> tuple[EpisodeResult, ...]:
        """The episodes that failed; each says why in ``error``."""
        return self._result.failed

    @property
    def total_duration_steps(self) -> int:
        """How many ticks all episodes committed together."""
        return self._result.total_duration_steps

    @property
    def duration_s(self) -> float:
        """How long the rollout took."""
        return self._result.duration_s

    def __repr__(self) -> str:
        steps, failed = self.total_duration_steps, len(self.failed)
        return f"RuntimeRollout({self.num_episodes} episodes, {steps} ticks, {failed} failed)"

    @waits_for("threads")
    async def query(
        self,
        *components: type[Component],
        ticks: Ticks = None,
        entity_ids: int | Iterable[int] | None = None,
        where: Expression | None = None,
        include_inactive: bool = False,
        lineage: bool = False,
    ) -> DataFrame:
        """Query the tick histories of all episodes as one lazy frame, with ``branch``, ``seed`` and ``episode`` columns.

        Episodes whose worlds were destroyed are included. ``lineage=True`` repeats the base world's earlier ticks for each.

        >>> frame = await rollout.query(Position)
        """
        worlds = tuple(episode.world_id for episode in self.episodes)
        return await self._execute(
            QueryEpisodes(components, ticks, entity_ids, where, include_inactive, lineage, world_ids=worlds)
        )
