"""The result of a rollout: its episodes, and their tick histories as one frame."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from archetype.waits import waits_for
from archetype_core.command import EpisodeResult, Estimate, Interval, QueryEpisodes, RolloutResult
from archetype_core.read import Ticks
from archetype_core.schema import Component
from archetype_core.user_traceback import door

if TYPE_CHECKING:
    from daft import DataFrame
    from daft.expressions import Expression


class HasResult(Protocol):
    """A rollout of the async or the sync runtime."""

    @property
    def result(self) -> RolloutResult:
        """The rollout's facts."""
        ...


class RuntimeRollout:
    """The result of a rollout: its episodes with their scores, and a query over their tick histories."""

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

    @property
    def scores(self) -> dict[int, float]:
        """The scores by episode; episodes that failed or have no score are left out."""
        return self._result.scores

    @property
    def mean(self) -> float:
        """The mean score; ``ValueError`` if no episode has one."""
        return self._result.mean

    @door
    def interval(self, confidence: float = 0.95) -> Interval:
        """Return Student's interval of the mean score; ``ValueError`` for fewer than two scores."""
        return self._result.interval(confidence)

    @door
    def paired(self, other: HasResult) -> Estimate:
        """Return how much higher this rollout scores than another on the same seeds, with the mean and its interval.

        A pair of which one episode failed is left out and counted. ``UnpairedSeeds`` if the two have different seeds.

        >>> print(windy.paired(calm).interval())
        """
        return self._result.paired(other.result)

    @door
    def frame(self) -> DataFrame:
        """Return a frame with a row for each episode: its name, seed, labels, resource fields, end, score and error."""
        return self._result.frame()

    @door
    def raise_if_failed(self) -> None:
        """Raise an ``ExceptionGroup`` of what the failed episodes raised; nothing if none failed."""
        self._result.raise_if_failed()

    def __repr__(self) -> str:
        steps, failed, scores = self.total_duration_steps, len(self.failed), self._result.estimate
        left_out = f", {scores.left_out} left out" if scores.left_out else ""
        score = f", mean score {scores.mean:.6g} of {len(scores.values)}{left_out}" if scores.values else ""
        return f"RuntimeRollout({self.num_episodes} episodes, {steps} ticks, {failed} failed{score})"

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
        """Query the tick histories of all episodes as one lazy frame.

        Its last columns are ``branch``, ``seed``, ``episode``, the labels, and the simple fields of resources that were given
        for each episode. Episodes whose worlds were destroyed are included. ``lineage=True`` repeats the base world's earlier
        ticks for each.

        >>> frame = await rollout.query(Position)
        """
        worlds = tuple(episode.world_id for episode in self.episodes)
        labels = tuple({**one.labels, **one.parameters} for one in self.episodes)
        return await self._execute(
            QueryEpisodes(
                components, ticks, entity_ids, where, include_inactive, lineage, world_ids=worlds, labels=labels
            )
        )
