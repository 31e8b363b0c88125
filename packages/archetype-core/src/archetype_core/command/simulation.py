"""Commands that run ticks, with their results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar

from archetype_core.argument import config_of
from archetype_core.command.command import Command
from archetype_core.config import RunConfig, step_config
from archetype_core.engine.tick import RunResult

Progress = Callable[[int, int], None]
"""Called with (done, total) steps or episodes; from any thread, at a limited rate."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """A committed tick."""

    world_id: str
    run_id: str
    tick: int
    applied: int
    """The number of commands it applied, direct and queued."""
    duration_s: float


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
