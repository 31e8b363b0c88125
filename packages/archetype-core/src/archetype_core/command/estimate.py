"""What several episodes say about a number: its mean, and an interval around it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from archetype_core.command.student import t_quantile


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval of a mean."""

    low: float
    high: float
    confidence: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __repr__(self) -> str:
        return f"[{self.low:.6g}, {self.high:.6g}] at {self.confidence * 100:g} %"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number for each episode, or a difference for each pair of episodes, with their mean and its interval."""

    values: Mapping[int, float]
    """By episode, from 0; for a paired difference by the first rollout's episode."""
    left_out: int = 0
    """How many episodes or pairs have no value, because they failed or have no score."""

    @property
    def mean(self) -> float:
        """The mean of the values; ``ValueError`` if there is none."""
        if not self.values:
            raise ValueError(
                f"no episode has a score ({self.left_out} left out): "
                "pass EpisodeConfig(score=…), and see `failed` for episodes that failed"
            )
        return statistics.mean(self.values.values())

    def interval(self, confidence: float = 0.95) -> Interval:
        """Return Student's interval of the mean; ``ValueError`` for fewer than two values.

        It contains the true mean in that share of repetitions, if the values are independent and nearly normal.
        """
        mean, count = self.mean, len(self.values)
        reach = t_quantile(confidence, count - 1)
        half = reach * statistics.stdev(self.values.values()) / math.sqrt(count)
        return Interval(mean - half, mean + half, confidence)

    def __repr__(self) -> str:
        mean = f"mean {self.mean:.6g} " if self.values else ""
        bounds = f"{self.interval()} " if len(self.values) > 1 else ""
        left_out = f", {self.left_out} left out" if self.left_out else ""
        return f"Estimate({mean}{bounds}of {len(self.values)}{left_out})"
