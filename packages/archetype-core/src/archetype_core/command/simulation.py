"""Commands that run ticks, with their configurations and results."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from archetype_core.argument import checked_seed, config_of, is_count
from archetype_core.command.command import Command, spelled
from archetype_core.config import RunConfig, step_config
from archetype_core.engine.tick import RunResult
from archetype_core.engine.view import WorldView
from archetype_core.schema.component import Component

Progress = Callable[[int, int], None]
"""Called with (done, total) steps or episodes; from any thread, at a limited rate."""

EndReason = Literal["max_steps", "termination", "terminal_component", "failed"]


@dataclass(frozen=True, slots=True)
class StepResult:
    """A committed tick."""

    world_id: str
    run_id: str
    tick: int
    applied: int
    """The number of commands it applied, direct and queued."""
    duration_s: float


@dataclass(frozen=True, slots=True)
class EpisodeConfig:
    """When an episode ends: after ``max_steps``, when ``termination`` is true, or when any entity has ``terminal_component``.

    ``termination`` is called after each tick with a view of the world, and may be a coroutine function.
    """

    max_steps: int = 1000
    termination: Callable[[WorldView], bool | Awaitable[bool]] | None = None
    terminal_component: type[Component] | None = None
    run_config: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        if not is_count(self.max_steps):
            raise ValueError(f"max_steps is a number of ticks, 0 or more, not {self.max_steps!r}")
        if self.termination is not None and not callable(self.termination):
            raise TypeError(f"termination is a function of a world, not {self.termination!r}")
        kind: object = self.terminal_component
        if kind is not None and not (isinstance(kind, type) and issubclass(kind, Component)):
            raise TypeError(f"terminal_component is a component class, not {kind!r}")

    def describe(self) -> dict[str, Any]:
        """Its payload in the audit row."""
        return {
            "max_steps": self.max_steps,
            "termination": None if self.termination is None else getattr(self.termination, "__qualname__", "?"),
            "terminal_component": None if self.terminal_component is None else self.terminal_component.__name__,
            "run_id": self.run_config.run_id,
            "inputs": sorted(self.run_config.inputs),
        }


@dataclass(frozen=True, slots=True)
class EpisodeResult:
    """The result of an episode. A failed one has the reason in ``error``; its ticks up to the failure stay in history."""

    world_id: str
    name: str
    run_id: str
    seed: int
    episode: int
    """Its index in the rollout, from 0."""
    first_tick: int
    final_tick: int
    """The last committed tick; lower than ``first_tick`` if there is none."""
    reason: EndReason
    duration_s: float
    error: str | None = None

    @property
    def terminated(self) -> bool:
        """Whether it ended by its own condition rather than by ``max_steps``."""
        return self.reason in ("termination", "terminal_component")

    @property
    def duration_steps(self) -> int:
        """The number of committed ticks."""
        return self.final_tick - self.first_tick + 1


@dataclass(frozen=True, slots=True)
class RolloutConfig:
    """``num_episodes`` forks of a world, each an episode with its own seed.

    ``parallel`` is how many run at a time; True is the number of CPUs. ``seeds`` are used in order if given, otherwise
    derived from the base world's seed, so that the same rollout gives the same episodes again.
    """

    num_episodes: int = 1
    episode_config: EpisodeConfig = field(default_factory=EpisodeConfig)
    parallel: bool | int = False
    name_prefix: str = "ep"
    destroy_forks_on_complete: bool = False
    seeds: Sequence[int] | None = None
    resources: Literal["share", "copy"] | Mapping[type, object] = "share"

    def __post_init__(self) -> None:
        if not is_count(self.num_episodes) or self.num_episodes == 0:
            raise ValueError(f"num_episodes is a number of episodes, 1 or more, not {self.num_episodes!r}")
        if not isinstance(self.parallel, bool) and (not is_count(self.parallel) or self.parallel == 0):
            raise ValueError(f"parallel is True, False or a number of episodes at a time, not {self.parallel!r}")
        if self.seeds is not None:
            if len(self.seeds) != self.num_episodes:
                raise ValueError(f"{len(self.seeds)} seeds for {self.num_episodes} episodes: give one each")
            for seed in self.seeds:
                checked_seed(seed)


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


_NO_INPUTS: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Step(Command[StepResult]):
    """Run one tick."""

    kind: ClassVar[str] = "step"
    config: RunConfig = field(default_factory=RunConfig)
    inputs: Mapping[str, Any] = field(default_factory=lambda: _NO_INPUTS)

    def __post_init__(self) -> None:
        step_config(self.config)

    def describe(self) -> Mapping[str, Any]:
        return {"run_id": self.config.run_id, "inputs": sorted({*self.config.inputs, *self.inputs})}


@dataclass(frozen=True, slots=True)
class Run(Command[RunResult]):
    """Run several ticks under one run id."""

    kind: ClassVar[str] = "run"
    config: RunConfig
    inputs: Mapping[str, Any] = field(default_factory=lambda: _NO_INPUTS)
    progress: Progress | None = None

    def __post_init__(self) -> None:
        config_of(RunConfig, self.config)

    @property
    def weight(self) -> int:
        return max(1, self.config.steps)

    def describe(self) -> Mapping[str, Any]:
        inputs = sorted({*self.config.inputs, *self.inputs})
        return {"steps": self.config.steps, "run_id": self.config.run_id, "inputs": inputs}


@dataclass(frozen=True, slots=True)
class RunEpisode(Command[EpisodeResult]):
    """Run the world as an episode."""

    kind: ClassVar[str] = "run_episode"
    config: EpisodeConfig = field(default_factory=EpisodeConfig)
    progress: Progress | None = None

    def __post_init__(self) -> None:
        config_of(EpisodeConfig, self.config)

    def describe(self) -> Mapping[str, Any]:
        return self.config.describe()


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
        config = self.config
        return {
            "num_episodes": config.num_episodes,
            "parallel": config.parallel,
            "name_prefix": config.name_prefix,
            "destroy_forks_on_complete": config.destroy_forks_on_complete,
            "resources": config.resources
            if isinstance(config.resources, str)
            else sorted(spelled(kind) for kind in config.resources),
            "episode": config.episode_config.describe(),
        }
