"""The command that runs an episode, with its configuration and result."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from archetype_core.argument import config_of, is_count
from archetype_core.command.command import Command, spelled
from archetype_core.command.simulation import Progress
from archetype_core.config import RunConfig
from archetype_core.engine.view import WorldView
from archetype_core.read.label import Labels
from archetype_core.schema.component import Component
from archetype_core.user_traceback import door

EndReason = Literal["max_steps", "termination", "terminal_component", "failed"]


@dataclass(frozen=True, slots=True)
class EpisodeConfig:
    """When an episode ends: after ``max_steps``, when ``termination`` is true, or when any entity has ``terminal_component``.

    ``termination`` is called after each tick with a view of the world, and may be a coroutine function. So may ``score``,
    which is called once, at the end, and returns a finite number; it runs in a thread, so it may collect frames.
    """

    max_steps: int = 1000
    termination: Callable[[WorldView], bool | Awaitable[bool]] | None = None
    terminal_component: type[Component] | None = None
    run_config: RunConfig = field(default_factory=RunConfig)
    score: Callable[[WorldView], float | Awaitable[float]] | None = None

    def __post_init__(self) -> None:
        if not is_count(self.max_steps):
            raise ValueError(f"max_steps is a number of ticks, 0 or more, not {self.max_steps!r}")
        for name in ("termination", "score"):
            given = getattr(self, name)
            if given is not None and not callable(given):
                raise TypeError(f"{name} is a function of a world, not {given!r}")
        kind: object = self.terminal_component
        if kind is not None and not (isinstance(kind, type) and issubclass(kind, Component)):
            raise TypeError(f"terminal_component is a component class, not {kind!r}")

    def describe(self) -> dict[str, Any]:
        """Its payload in the audit row."""
        return {
            "max_steps": self.max_steps,
            "termination": _function_name(self.termination),
            "terminal_component": None if self.terminal_component is None else self.terminal_component.__name__,
            "score": _function_name(self.score),
            "run_id": self.run_config.run_id,
            "inputs": sorted(self.run_config.inputs),
        }


def _function_name(function: object) -> str | None:
    return None if function is None else getattr(function, "__qualname__", None) or spelled(function)


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
    score: float | None = None
    labels: Labels = field(default_factory=dict, hash=False)
    """The labels that the rollout's configuration gives it."""
    parameters: Labels = field(default_factory=dict, hash=False)
    """The simple fields of the resources that were given for this episode: ``wind__speed`` of a ``Wind``."""
    exception: Exception | None = field(default=None, compare=False, repr=False)
    """What was raised, if it failed."""

    @property
    def terminated(self) -> bool:
        """Whether it ended by its own condition rather than by ``max_steps``."""
        return self.reason in ("termination", "terminal_component")

    @property
    def duration_steps(self) -> int:
        """The number of committed ticks."""
        return self.final_tick - self.first_tick + 1

    @door
    def raise_if_failed(self) -> None:
        """Raise what the episode failed with; nothing if it did not fail."""
        if self.error is not None:
            raise self.exception or RuntimeError(self.error)


@dataclass(frozen=True, slots=True)
class RunEpisode(Command[EpisodeResult]):
    """Run the world as an episode. A failure is part of the result."""

    kind: ClassVar[str] = "run_episode"
    config: EpisodeConfig = field(default_factory=EpisodeConfig)
    progress: Progress | None = None

    def __post_init__(self) -> None:
        config_of(EpisodeConfig, self.config)

    def describe(self) -> Mapping[str, Any]:
        return self.config.describe()
