"""Configuration of runs, storage and journals: validated values without behaviour."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf
from types import MappingProxyType
from typing import Any

from archetype_core.argument import config_of, is_count


@dataclass(frozen=True, slots=True)
class RunConfig:
    """How many ticks to run, and in which run.

    ``run_id=None`` continues the active run; a new id starts a new run at the current tick. ``inputs`` are passed to the
    processors that name them.
    """

    steps: int = 1
    run_id: str | None = None
    inputs: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    debug: bool = False
    """Print each tick's phases and a few rows of every table to standard error."""

    def __post_init__(self) -> None:
        if not is_count(self.steps):
            raise ValueError(f"steps must be an int, 0 or more, not {self.steps!r}")
        if self.run_id == "" or not isinstance(self.run_id, str | None):
            raise ValueError(f"run_id must be a non-empty string or None, not {self.run_id!r}")
        inputs: object = self.inputs
        if not isinstance(inputs, Mapping):
            raise TypeError(f"inputs must be a mapping from names to values, not {inputs!r}")


def step_config(config: RunConfig | None) -> RunConfig:
    """The configuration of one tick; ``ValueError`` for one of another number of ticks."""
    config = config_of(RunConfig, config)
    if config.steps != 1:
        raise ValueError(f"step runs one tick, and config.steps is {config.steps}: use run(config=config)")
    return config


def run_config(steps: int | None, config: RunConfig | None) -> RunConfig:
    """The configuration of a run; ``ValueError`` if ``steps`` and ``config`` give two numbers of ticks."""
    config = config_of(RunConfig, config)
    if steps is None:
        return config
    wanted = RunConfig(steps=steps).steps
    if config.steps not in (1, wanted):
        raise ValueError(f"steps is {steps} and config.steps is {config.steps}: pass one of them")
    return replace(config, steps=wanted)


DEFAULT_NAMESPACE = "default"
_NAMESPACE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class StorageConfig:
    """The store of a world: the scheme of ``uri`` selects the adapter unless ``backend`` names it.

    A ``namespace`` is a separate store below ``uri``: worlds of one namespace are invisible in another. ``options`` are
    keyword arguments of the adapter.
    """

    uri: str = "memory:"
    namespace: str = DEFAULT_NAMESPACE
    backend: str | None = None
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        given: object = self.uri
        if not isinstance(given, str) or not given:
            raise ValueError(f"uri must be a non-empty address or path, not {given!r}")
        space: object = self.namespace
        if not isinstance(space, str) or not _NAMESPACE.fullmatch(space):
            raise ValueError(
                f"namespace must consist of letters, digits, '_', '-' and '.', and not begin with '.', not {self.namespace!r}"
            )

    @property
    def address(self) -> str:
        """``uri`` with the namespace appended unless it is the default one."""
        if self.namespace == DEFAULT_NAMESPACE:
            return self.uri
        return f"{self.uri.rstrip('/')}/{self.namespace}" if not self.uri.endswith(":") else self.uri + self.namespace


DURABILITIES = ("tick", "interval", "exit")


@dataclass(frozen=True, slots=True)
class CacheConfig:
    """When a journal syncs ticks to disk, and when it seals them into the store behind it.

    ``durability="tick"`` syncs before ``step`` returns. In a power cut ``"interval"`` may lose the last ``interval_s``
    seconds, and ``"exit"`` everything since the store was opened; neither loses anything if only the process dies.
    Sealing starts at ``rows`` or ``megabytes`` of unsealed ticks, or after ``idle_s`` seconds without a tick.
    """

    durability: str = "tick"
    interval_s: float = 0.1
    rows: int = 4_000_000
    megabytes: float = 256.0
    idle_s: float = 5.0

    def __post_init__(self) -> None:
        if self.durability not in DURABILITIES:
            raise ValueError(f"durability must be one of {', '.join(DURABILITIES)}, not {self.durability!r}")
        if not is_count(self.rows) or self.rows == 0:
            raise ValueError(f"rows must be an int, 1 or more, not {self.rows!r}")
        for name in ("interval_s", "megabytes", "idle_s"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < inf:
                raise ValueError(f"{name} must be a number above 0, not {value!r}")
