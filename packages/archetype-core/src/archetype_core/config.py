"""Plain configuration, with no behaviour of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from types import MappingProxyType
from typing import Any

from archetype_core.argument import is_count


@dataclass(frozen=True, slots=True)
class RunConfig:
    """How to run: ``run_id=None`` goes on with the active run, a new id starts a run at the current tick."""

    steps: int = 1
    run_id: str | None = None
    inputs: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    debug: bool = False
    """Write what each tick did to standard error: its phases, and a few rows of every table."""

    def __post_init__(self) -> None:
        if not is_count(self.steps):
            raise ValueError(f"steps is a number of ticks, 0 or more, not {self.steps!r}")
        if self.run_id == "" or not isinstance(self.run_id, str | None):
            raise ValueError(f"run_id is a non-empty string, not {self.run_id!r}")


DEFAULT_NAMESPACE = "default"
_NAMESPACE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class StorageConfig:
    """Where a world's history is kept. The scheme of ``uri`` chooses the adapter, unless ``backend`` names it.

    A ``namespace`` is a place of its own below ``uri``: worlds of one are not seen in another.
    """

    uri: str = "memory:"
    namespace: str = DEFAULT_NAMESPACE
    backend: str | None = None
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        given: object = self.uri
        if not isinstance(given, str) or not given:
            raise ValueError(f"uri is an address or a path, not {given!r}")
        space: object = self.namespace
        if not isinstance(space, str) or not _NAMESPACE.fullmatch(space):
            raise ValueError(f"namespace is a name of letters, digits, '_', '-' and '.', not {self.namespace!r}")

    @property
    def address(self) -> str:
        """``uri``, and the namespace where it is not the default one."""
        if self.namespace == DEFAULT_NAMESPACE:
            return self.uri
        return f"{self.uri.rstrip('/')}/{self.namespace}" if not self.uri.endswith(":") else self.uri + self.namespace


DURABILITIES = ("tick", "interval", "exit")


@dataclass(frozen=True, slots=True)
class CacheConfig:
    """How a journal keeps ticks: when they are on disk, and how many may wait before the store behind it gets them.

    ``durability="tick"`` is on disk before ``step`` returns. ``"interval"`` may lose the last ``interval_s`` seconds when
    the power fails, ``"exit"`` all since the store was opened; neither loses anything when only the process dies.
    ``rows`` and ``megabytes`` that wait, or ``idle_s`` seconds without a tick, start a hand-over.
    """

    durability: str = "tick"
    interval_s: float = 0.1
    rows: int = 4_000_000
    megabytes: float = 256.0
    idle_s: float = 5.0

    def __post_init__(self) -> None:
        if self.durability not in DURABILITIES:
            raise ValueError(f"durability is one of {', '.join(DURABILITIES)}, not {self.durability!r}")
        if not is_count(self.rows) or self.rows == 0:
            raise ValueError(f"rows is a number of rows, 1 or more, not {self.rows!r}")
        for name in ("interval_s", "megabytes", "idle_s"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < inf:
                raise ValueError(f"{name} is a number above 0, not {value!r}")
