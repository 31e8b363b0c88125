"""Where a world stands and how it got there: its segments, its timeline, and the newest tick of each world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Point:
    """A place in history: the end of a tick of a run of a world."""

    world_id: str
    run_id: str
    tick: int


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of consecutive ticks with one world and one run; a fork or a new run begins another one.

    ``parent`` is the last tick that it shares with the segment it grew from, ``None`` for a world made from nothing.
    """

    world_id: str
    run_id: str
    first_tick: int
    parent: Point | None
    name: str
    seed: int


@dataclass(frozen=True, slots=True)
class Head:
    """A committed tick of a world and what is needed to go on from it."""

    segment: Segment
    tick: int
    next_entity_id: int
    applied: tuple[str, ...]
    live: Mapping[str, int]
    """Active rows of every table that has any."""


@dataclass(frozen=True, slots=True)
class WorldRecord:
    """A world that a store holds."""

    world_id: str
    name: str
    run_id: str
    tick: int


@dataclass(frozen=True, slots=True)
class Span:
    """The part of a segment between two ticks, both included."""

    segment: Segment
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Timeline:
    """A world's history: its segments back through its ancestors, oldest first, and every table they wrote."""

    spans: tuple[Span, ...]
    tables: Mapping[str, pa.Schema]

    @property
    def first(self) -> int:
        return self.spans[0].first

    @property
    def last(self) -> int:
        return self.spans[-1].last

    def between(self, first: int | None = None, last: int | None = None) -> tuple[Span, ...]:
        """The spans that cover the given ticks, cut to them."""
        if not self.spans:
            return ()
        low = self.first if first is None else first
        high = self.last if last is None else last
        cut = (Span(span.segment, max(span.first, low), min(span.last, high)) for span in self.spans)
        return tuple(span for span in cut if span.first <= span.last)

    def at(self, tick: int) -> Span | None:
        """The one-tick span of a tick, or ``None`` where the history has no such tick."""
        found = self.between(tick, tick)
        return found[0] if found else None

    def own(self, world_id: str) -> Timeline:
        """The same history without the ancestors of a world."""
        return Timeline(tuple(span for span in self.spans if span.segment.world_id == world_id), self.tables)
