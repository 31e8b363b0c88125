"""Plain data about worlds, processors, hooks and resources; never the live objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class WorldInfo:
    """The state of a world at the time of the request."""

    world_id: str
    name: str
    run_id: str
    seed: int | None
    """``None`` for a world that is only in the store."""
    tick: int
    """The next tick to run."""
    storage: str
    is_live: bool
    """Whether the gate holds it in memory."""
    entities: int = 0
    archetypes: Mapping[str, int] | None = None
    """The number of entities per archetype, by component names; only for a live world."""
    parent: str | None = None
    """The world it was forked from."""
    queued: int = 0
    """Commands that wait in its queue."""
    pending: int = 0
    """Mutations staged for its next tick."""
    stepped_at: datetime | None = None
    """When its last tick was committed, if in this process."""


@dataclass(frozen=True, slots=True)
class ProcessorInfo:
    """A registered processor."""

    qualname: str
    priority: float
    components: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HookInfo:
    """A registered hook."""

    event_type: str
    handler_qualname: str
    mode: str
    fail_fast: bool


@dataclass(frozen=True, slots=True)
class ResourceInfo:
    """A registered resource."""

    qualname: str
