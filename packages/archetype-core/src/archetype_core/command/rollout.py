"""The command that runs a rollout, with its configuration and result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa

from archetype_core.argument import check_text, checked_seed, config_of, is_count
from archetype_core.command.command import Command, spelled
from archetype_core.command.episode import EpisodeConfig, EpisodeResult
from archetype_core.command.estimate import Estimate, Interval
from archetype_core.command.simulation import Progress
from archetype_core.errors import UnpairedSeeds
from archetype_core.read.label import Labels, checked_labels, is_simple, label_columns, simple_fields
from archetype_core.user_traceback import door

if TYPE_CHECKING:
    from daft import DataFrame

SharedResources = Literal["share", "copy"] | Mapping[type, object]


@dataclass(frozen=True, slots=True)
class RolloutConfig:
    """``num_episodes`` forks of a world, each an episode with its own seed.

    ``parallel`` is how many run at a time: False is one, True one for each CPU. ``seeds`` are used in order if given,
    otherwise derived from the base world's seed, so that the same rollout gives the same episodes again. The forks are
    destroyed when their episodes end, unless ``destroy_forks_on_complete`` is False; their histories stay readable.

    ``labels`` and ``resources`` are one mapping for all episodes, or a sequence with one for each. Labels, and the simple fields
    of resources that were given for each episode, are columns of queries and results.

    A rollout with a ``name`` is resumed when it is run again with the same configuration: finished episodes are not run again.
    """

    num_episodes: int = 1
    episode_config: EpisodeConfig = field(default_factory=EpisodeConfig)
    parallel: bool | int = False
    name_prefix: str = "ep"
    destroy_forks_on_complete: bool = True
    seeds: Sequence[int] | None = None
    resources: SharedResources | Sequence[Mapping[type, object]] = "share"
    labels: Labels | Sequence[Labels] = field(default_factory=dict)
    name: str | None = None

    @door
    def __post_init__(self) -> None:
        if not is_count(self.num_episodes) or self.num_episodes == 0:
            raise ValueError(f"num_episodes is a number of episodes, 1 or more, not {self.num_episodes!r}")
        if not isinstance(self.parallel, bool) and (not is_count(self.parallel) or self.parallel == 0):
            raise ValueError(f"parallel is True, False or a number of episodes at a time, not {self.parallel!r}")
        if self.name is not None:
            check_text("rollout name", self.name)
        if self.seeds is not None:
            numbers: Any = self.seeds
            seeds = numbers.tolist() if isinstance(numbers, np.ndarray) else numbers
            self._check_count("seeds", seeds)
            # As plain ints, which the ledger can store: those of numpy are taken too.
            object.__setattr__(self, "seeds", tuple(checked_seed(seed) for seed in seeds))
        if not isinstance(self.resources, str | Mapping):
            self._check_count("resources", self.resources)
            given: Sequence[object] = self.resources
            if odd := [one for one in given if not isinstance(one, Mapping)]:
                raise TypeError(f"the resources of an episode are a mapping of types to objects, not {odd[0]!r}")
        if not isinstance(self.labels, Mapping):
            self._check_count("labels", self.labels)
        label_columns([{**self.labels_of(one), **self.parameters_of(one)} for one in range(self.num_episodes)])

    def _check_count(self, name: str, given: object) -> None:
        if not isinstance(given, Sequence) or isinstance(given, str):
            raise TypeError(f"{name} must be a sequence with one item for each episode, not {given!r}")
        if len(given) != self.num_episodes:
            raise ValueError(
                f"{len(given)} {name} for {self.num_episodes} episodes: give one each, or num_episodes={len(given)}"
            )

    def labels_of(self, episode: int) -> Labels:
        """Return the labels of an episode."""
        return checked_labels(self.labels if isinstance(self.labels, Mapping) else self.labels[episode])

    def resources_of(self, episode: int) -> SharedResources:
        """Return what an episode's fork does with resources."""
        given = self.resources
        return given if isinstance(given, str | Mapping) else given[episode]

    def parameters_of(self, episode: int) -> Labels:
        """Return the simple fields of the resources that were given for this episode alone, as ``wind__speed`` for a ``Wind``."""
        if isinstance(self.resources, str | Mapping):
            return {}
        return {
            f"{kind.__name__.lower()}__{name}": value
            for kind, resource in self.resources[episode].items()
            for name, value in simple_fields(resource).items()
        }

    def identity(self) -> dict[str, Any]:
        """Return what must be the same for a named rollout to be resumed, as JSON-able data.

        Functions and classes count by their names, and objects by their simple fields.
        """
        per_episode = not isinstance(self.resources, str | Mapping)
        inputs = self.episode_config.run_config.inputs
        return {
            "num_episodes": self.num_episodes,
            "name_prefix": self.name_prefix,
            "seeds": None if self.seeds is None else list(self.seeds),
            **self.episode_config.describe(),
            "inputs": {name: value if is_simple(value) else spelled(value) for name, value in inputs.items()},
            "labels": [self.labels_of(one) for one in range(self.num_episodes)],
            "resources": [_identity(self.resources_of(one)) for one in range(self.num_episodes if per_episode else 1)],
        }

    def describe(self) -> dict[str, Any]:
        """Its payload in the audit row."""
        given: Any = self.resources
        if isinstance(given, Mapping):
            given = sorted(spelled(kind) for kind in given)
        elif not isinstance(given, str):
            given = sorted({spelled(kind) for one in given for kind in one})
        return {
            "name": self.name,
            "num_episodes": self.num_episodes,
            "parallel": self.parallel,
            "name_prefix": self.name_prefix,
            "destroy_forks_on_complete": self.destroy_forks_on_complete,
            "resources": given,
            "labels": [one.name for one in label_columns([self.labels_of(one) for one in range(self.num_episodes)])],
            "episode": self.episode_config.describe(),
        }


def _identity(resources: SharedResources) -> Any:
    if isinstance(resources, str):
        return resources
    return {spelled(kind): simple_fields(resource) for kind, resource in resources.items()}


@dataclass(frozen=True, slots=True)
class RolloutResult:
    """The episodes of a rollout, in order."""

    rollout_id: str
    base_world_id: str
    episodes: tuple[EpisodeResult, ...]
    duration_s: float

    @property
    def num_episodes(self) -> int:
        """The number of episodes, failed ones included."""
        return len(self.episodes)

    @property
    def failed(self) -> tuple[EpisodeResult, ...]:
        """The episodes that failed."""
        return tuple(one for one in self.episodes if one.error is not None)

    @property
    def total_duration_steps(self) -> int:
        """The number of committed ticks of all episodes."""
        return sum(one.duration_steps for one in self.episodes)

    @property
    def scores(self) -> dict[int, float]:
        """The scores by episode; episodes that failed or have no score are left out."""
        return {one.episode: one.score for one in self.episodes if one.score is not None}

    @property
    def estimate(self) -> Estimate:
        """The scores with their mean and interval, and how many episodes are left out."""
        scores = self.scores
        return Estimate(scores, self.num_episodes - len(scores))

    @property
    def mean(self) -> float:
        """The mean score; ``ValueError`` if no episode has one."""
        return self.estimate.mean

    def interval(self, confidence: float = 0.95) -> Interval:
        """Return Student's interval of the mean score; ``ValueError`` for fewer than two scores."""
        return self.estimate.interval(confidence)

    def paired(self, other: RolloutResult) -> Estimate:
        """Return how much higher this rollout scores than another on the same seeds, seed by seed.

        A pair of which one episode failed is left out. ``UnpairedSeeds`` if the two have different seeds, or no pair has two
        scores. A seed that occurs several times is paired in the order of the episodes.
        """
        ours, theirs = _by_seed(self), _by_seed(other)
        if ours.keys() != theirs.keys():
            here, there = ours.keys() - theirs.keys(), theirs.keys() - ours.keys()
            raise UnpairedSeeds(sorted(seed for seed, _ in here), sorted(seed for seed, _ in there))
        pairs = [(one, theirs[key]) for key, one in ours.items()]
        values = {
            one.episode: one.score - another.score
            for one, another in pairs
            if one.score is not None and another.score is not None
        }
        if not values:
            raise UnpairedSeeds
        return Estimate(values, len(pairs) - len(values))

    def frame(self) -> DataFrame:
        """Return a frame with a row for each episode.

        Its columns are ``name``, ``episode``, ``seed``, the labels and resource fields, ``reason``, ``steps``, ``score`` and
        ``error``.
        """
        import daft

        given = [{**one.labels, **one.parameters} for one in self.episodes]
        extra = [(one, [row.get(one.name) for row in given]) for one in label_columns(given)]
        columns: list[tuple[pa.Field, list[Any]]] = [
            (pa.field("name", pa.large_string()), [one.name for one in self.episodes]),
            (pa.field("episode", pa.int64()), [one.episode for one in self.episodes]),
            (pa.field("seed", pa.int64()), [one.seed for one in self.episodes]),
            *extra,
            (pa.field("reason", pa.large_string()), [one.reason for one in self.episodes]),
            (pa.field("steps", pa.int64()), [one.duration_steps for one in self.episodes]),
            (pa.field("score", pa.float64()), [one.score for one in self.episodes]),
            (pa.field("error", pa.large_string()), [one.error for one in self.episodes]),
        ]
        arrays = [pa.array(values, column.type) for column, values in columns]
        return daft.from_arrow(pa.Table.from_arrays(arrays, schema=pa.schema([column for column, _ in columns])))

    @door
    def raise_if_failed(self) -> None:
        """Raise an ``ExceptionGroup`` of what the failed episodes raised; nothing if none failed."""
        failed = self.failed
        if failed:
            text = f"{len(failed)} of {self.num_episodes} episodes failed"
            raise ExceptionGroup(text, [_noted(one) for one in failed])


def _noted(failed: EpisodeResult) -> Exception:
    """The exception of a failed episode, with a note that names the episode."""
    exception = failed.exception or RuntimeError(failed.error)
    note = f"in episode {failed.episode} ({failed.name}, seed {failed.seed}), after {failed.duration_steps} ticks"
    if note not in getattr(exception, "__notes__", ()):
        exception.add_note(note)
    return exception


def _by_seed(result: RolloutResult) -> dict[tuple[int, int], EpisodeResult]:
    """The episodes by seed and by how often that seed occurred before."""
    counts: Counter[int] = Counter()
    found: dict[tuple[int, int], EpisodeResult] = {}
    for one in result.episodes:
        found[one.seed, counts[one.seed]] = one
        counts[one.seed] += 1
    return found


@dataclass(frozen=True, slots=True)
class RunRollout(Command[RolloutResult]):
    """Fork the world into episodes and run them; the world itself does not change."""

    kind: ClassVar[str] = "run_rollout"
    config: RolloutConfig = field(default_factory=RolloutConfig)
    progress: Progress | None = None

    def __post_init__(self) -> None:
        config_of(RolloutConfig, self.config)

    @property
    def weight(self) -> int:
        return self.config.num_episodes

    def describe(self) -> Mapping[str, Any]:
        return self.config.describe()
