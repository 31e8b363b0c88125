"""Plain configuration, with no behaviour of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, slots=True)
class RunConfig:
    """How to run: ``run_id=None`` goes on with the active run, a new id starts a run at the current tick."""

    steps: int = 1
    run_id: str | None = None
    inputs: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        if not isinstance(self.steps, int) or isinstance(self.steps, bool) or self.steps < 0:
            raise ValueError(f"steps is a number of ticks, 0 or more, not {self.steps!r}")
        if self.run_id is not None and (not isinstance(self.run_id, str) or not self.run_id):
            raise ValueError(f"run_id is a non-empty string, not {self.run_id!r}")


@dataclass(frozen=True, slots=True)
class StorageConfig:
    """Where a world's history is kept. The scheme of ``uri`` chooses the adapter, unless ``backend`` names it."""

    uri: str = "memory:"
    namespace: str = "default"
    backend: str | None = None
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
