"""Means, Student's intervals and paired differences of episodes' scores."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archetype_core.command import EpisodeResult, Estimate, RolloutResult
from archetype_core.errors import UnpairedSeeds

finite = st.floats(-1e6, 1e6)


def reach(confidence: float, count: int) -> float:
    """Return Student's t for some values, from the interval of values whose standard error is known."""
    values = {number: float(number) for number in range(count)}
    error = float(np.std(list(values.values()), ddof=1)) / math.sqrt(count)
    found = Estimate(values).interval(confidence)
    return (found.high - found.low) / 2 / error


@pytest.mark.parametrize(
    ("confidence", "freedom", "expected"),
    [
        (0.80, 1, 3.077683537),
        (0.95, 1, 12.70620474),
        (0.99, 1, 63.65674116),
        (0.95, 2, 4.302652730),
        (0.95, 5, 2.570581836),
        (0.90, 10, 1.812461123),
        (0.95, 10, 2.228138852),
        (0.99, 10, 3.169272673),
        (0.999, 10, 4.586893859),
        (0.95, 30, 2.042272456),
        (0.95, 100, 1.983971519),
        (0.99, 120, 2.617421145),
    ],
)
def test_intervals_are_those_of_the_tables(confidence: float, freedom: int, expected: float) -> None:
    """An interval is as wide as the tables of Student's t say (R2)."""
    assert reach(confidence, freedom + 1) == pytest.approx(expected, rel=1e-8)


@given(st.floats(1e-4, 0.9999))
def test_two_and_three_values_have_closed_forms(confidence: float) -> None:
    """With one and two degrees of freedom the quantile is a known formula (R2)."""
    assert reach(confidence, 2) == pytest.approx(math.tan(math.pi * confidence / 2), rel=1e-9)
    two = confidence * math.sqrt(2 / (1 - confidence**2))
    assert reach(confidence, 3) == pytest.approx(two, rel=1e-9)


@given(st.floats(0.01, 0.999), st.integers(2, 300))
def test_an_interval_is_wider_than_the_normal_one(confidence: float, count: int) -> None:
    """Student's interval is wider than the normal one, and less so with more values (R2)."""
    normal = NormalDist().inv_cdf((1 + confidence) / 2)
    assert reach(confidence, count) > reach(confidence, count + 1) > normal


def test_many_values_have_the_normal_interval() -> None:
    """With very many values the interval is the normal one (R2)."""
    assert reach(0.95, 200_000) == pytest.approx(NormalDist().inv_cdf(0.975), rel=1e-4)


@pytest.mark.parametrize("count", [2, 4, 12])
def test_intervals_cover_the_mean(count: int) -> None:
    """Of many samples of normal values, the stated share has the true mean in its interval (R2)."""
    rng = np.random.default_rng(count)
    rounds = 600
    hits = sum(
        3.0 in Estimate(dict(enumerate(rng.normal(3.0, 2.0, count).tolist()))).interval(0.9) for _ in range(rounds)
    )
    # Four standard deviations of the count of hits.
    assert abs(hits - 0.9 * rounds) < 4 * math.sqrt(rounds * 0.9 * 0.1)


@pytest.mark.parametrize(
    ("estimate", "confidence", "word"),
    [
        (Estimate({}, 3), 0.95, "3 left out"),
        (Estimate({0: 1.0}), 0.95, "two values"),
        (Estimate({0: 1.0, 1: 2.0}), 95, "0.95"),
        (Estimate({0: 1.0, 1: 2.0}), 1.0, "between 0 and 1"),
    ],
)
def test_what_has_no_interval_says_why(estimate: Estimate, confidence: float, word: str) -> None:
    """Too few values and a confidence that is no share are refused (R2)."""
    with pytest.raises(ValueError, match=word):
        estimate.interval(confidence)


def rollout(scores: list[tuple[int, float | None]]) -> RolloutResult:
    """Return the result of episodes with these seeds and scores; one without a score failed."""
    episodes = [
        EpisodeResult(
            f"id{number}", f"w{number}", "run", seed, number, 0, 1, "max_steps" if score is not None else "failed", 0.1,
            None if score is not None else "RuntimeError: no", score,
        )
        for number, (seed, score) in enumerate(scores)
    ]  # fmt: skip
    return RolloutResult("r", "w", tuple(episodes), 1.0)


@given(st.lists(st.tuples(st.integers(0, 5), finite, st.none() | finite), min_size=1), st.randoms())
def test_pairs_are_those_of_one_seed(given: list[tuple[int, float, float | None]], random: Any) -> None:
    """A difference is between two episodes of one seed, whatever their order; failed ones are left out and counted (R2)."""
    ours = rollout([(seed, one) for seed, one, _ in given])
    others = [(seed, other) for seed, _, other in given]
    by_seed = {seed: [other for key, other in others if key == seed] for seed, _ in others}
    shuffled = list(by_seed)
    random.shuffle(shuffled)
    theirs = rollout([(seed, other) for seed in shuffled for other in by_seed[seed]])
    expected = {number: one - other for number, (_, one, other) in enumerate(given) if other is not None}
    if not expected:
        with pytest.raises(UnpairedSeeds, match="no seed has a score"):
            ours.paired(theirs)
        return
    found = ours.paired(theirs)
    assert found.values == expected
    assert found.left_out == len(given) - len(expected)
    assert theirs.paired(ours).mean == pytest.approx(-found.mean)


@given(st.sets(st.integers(0, 8), min_size=1), st.sets(st.integers(0, 8), min_size=1))
def test_other_seeds_are_not_paired(first: set[int], second: set[int]) -> None:
    """Rollouts with different seeds are UnpairedSeeds, which has the seeds of each alone (R2)."""
    ours, theirs = rollout([(one, 1.0) for one in first]), rollout([(one, 1.0) for one in second])
    if first == second:
        assert ours.paired(theirs).mean == 0.0
        return
    with pytest.raises(UnpairedSeeds) as refused:
        ours.paired(theirs)
    assert (refused.value.first, refused.value.second) == (tuple(sorted(first - second)), tuple(sorted(second - first)))


def test_failed_episodes_are_left_out_and_counted() -> None:
    """Scores, mean and interval are those of the episodes that have one; the repr counts the others (R2)."""
    result = rollout([(1, 1.0), (2, None), (3, 3.0)])
    assert result.scores == {0: 1.0, 2: 3.0}
    assert result.mean == 2.0
    assert repr(result.interval()).startswith("[-10.7062, 14.7062] at 95 %")
    assert repr(result.estimate) == "Estimate(mean 2 [-10.7062, 14.7062] at 95 % of 2, 1 left out)"
    assert repr(Estimate({}, 2)) == "Estimate(of 0, 2 left out)"


def test_a_rollout_raises_what_its_episodes_raised() -> None:
    """The group has each exception, with a note that names the episode; raising again adds no second note (R2)."""
    rollout([(1, 1.0)]).raise_if_failed()
    failed = rollout([(1, 1.0), (2, None)])
    for _ in range(2):
        with pytest.raises(ExceptionGroup, match="1 of 2 episodes failed") as raised:
            failed.raise_if_failed()
    (one,) = raised.value.exceptions
    assert one.__notes__ == ["in episode 1 (w1, seed 2), after 2 ticks"]
