"""Plain configuration, with no behaviour of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any


def is_count(value: object) -> bool:
    """Whether a value is a whole number, 0 or more; True and False are not."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


@dataclass(frozen=True, slots=True)
class RunConfig:
    """How to run: ``run_id=None`` goes on with the active run, a new id starts a run at the current tick."""

    steps: int = 1
    run_id: str | None = None
    inputs: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        if not is_count(self.steps):
            raise ValueError(f"steps is a number of ticks, 0 or more, not {self.steps!r}")
        if self.run_id == "" or not isinstance(self.run_id, str | None):
            raise ValueError(f"run_id is a non-empty string, not {self.run_id!r}")


@dataclass(frozen=True, slots=True)
class StorageConfig:
    """Where a world's history is kept. The scheme of ``uri`` chooses the adapter, unless ``backend`` names it."""

    uri: str = "memory:"
    namespace: str = "default"
    backend: str | None = None
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
