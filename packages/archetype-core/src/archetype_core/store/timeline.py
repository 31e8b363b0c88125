"""Segments, timelines and heads: the ticks a world's history consists of, and its newest one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Point:
    """One committed tick: its world, its run and its number."""

    world_id: str
    run_id: str
    tick: int


@dataclass(frozen=True, slots=True)
class Segment:
    """Consecutive ticks of one world in one run; a fork or a new run starts another segment.

    ``parent`` is the tick that the segment continues from, ``None`` for a world that started empty.
    """

    world_id: str
    run_id: str
    first_tick: int
    parent: Point | None
    name: str
    seed: int


@dataclass(frozen=True, slots=True)
class Head:
    """A committed tick of a world, and what is needed to continue from it."""

    segment: Segment
    tick: int
    next_entity_id: int
    applied: tuple[str, ...]
    live: Mapping[str, int]
    """The number of active rows per table; tables without any are left out."""
    attempt: str = ""
    """The attempt that committed this tick."""
    continuation: bytes = b""
    """What the world continues from beside its rows, as it was committed with this tick."""


@dataclass(frozen=True, slots=True)
class WorldRecord:
    """A world in a store, with its active run and newest tick."""

    world_id: str
    name: str
    run_id: str
    tick: int


@dataclass(frozen=True, slots=True)
class Span:
    """The ticks of a segment from ``first`` to ``last``, both included."""

    segment: Segment
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Timeline:
    """A world's tick history: its segments and those of its ancestors, oldest first, and every table they wrote."""

    spans: tuple[Span, ...]
    tables: Mapping[str, pa.Schema]

    @property
    def first(self) -> int:
        """The oldest tick."""
        return self.spans[0].first

    @property
    def last(self) -> int:
        """The newest tick."""
        return self.spans[-1].last

    def between(self, first: int | None = None, last: int | None = None) -> tuple[Span, ...]:
        """Return the spans between two ticks, clipped to them; ``None`` means the oldest or newest tick."""
        if not self.spans:
            return ()
        low = self.first if first is None else first
        high = self.last if last is None else last
        cut = (Span(span.segment, max(span.first, low), min(span.last, high)) for span in self.spans)
        return tuple(span for span in cut if span.first <= span.last)

    def at(self, tick: int) -> Span | None:
        """Return the span of a single tick, or ``None`` if the timeline does not have it."""
        found = self.between(tick, tick)
        return found[0] if found else None

    def own(self, world_id: str) -> Timeline:
        """Return the timeline without the ancestors of a world."""
        return Timeline(tuple(span for span in self.spans if span.segment.world_id == world_id), self.tables)
