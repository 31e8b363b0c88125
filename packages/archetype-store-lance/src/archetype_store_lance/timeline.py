"""Answers about worlds, segments and ticks from one state of the log."""

from __future__ import annotations

from collections.abc import Iterator

from archetype_core.errors import TickNotFound, WorldNotFound
from archetype_core.store import Head, Segment, Span, Timeline, WorldRecord
from archetype_store_lance.log import Log
from archetype_store_lance.state import StoreState
from archetype_store_lance.visibility import Visibility


def segment_of(state: StoreState, segment: Segment, first: int, last: int) -> int:
    """The number of a segment that has all ticks from one to another; ``TickNotFound`` otherwise."""
    number = state.find(segment.world_id, segment.run_id)
    if number is None:
        raise TickNotFound(segment.name, first, None, None)
    entry = state.segments[number]
    for tick in (first, last):
        if not entry.segment.first_tick <= tick <= entry.last:
            raise TickNotFound(segment.name, tick, entry.segment.first_tick, entry.last)
    return number


def has_table(state: StoreState, number: int, table: int) -> bool:
    """Whether a segment or one of its ancestors wrote a table, up to where the segment begins."""
    for above, last in _lineage(state, number):
        known = state.segments[above].tables.get(table)
        if known is not None and known.first <= last:
            return True
    return False


def worlds_of(state: StoreState) -> tuple[WorldRecord, ...]:
    """Every world with its newest tick."""
    entries = ((world_id, state.segments[number]) for world_id, number in state.worlds.items())
    return tuple(WorldRecord(world_id, one.segment.name, one.segment.run_id, one.last) for world_id, one in entries)


def timeline_of(state: StoreState, world_id: str) -> Timeline:
    """A world's segments and the tables that they wrote; ``WorldNotFound``."""
    spans = _spans(state, world_id)
    tables = {state.tables[one].name: state.tables[one].schema for one in _tables(state, spans)}
    return Timeline(spans, tables)


def head_of(log: Log, state: StoreState, world_id: str, at: int | None) -> Head:
    """A world's newest tick, or the one at ``at``; ``WorldNotFound``, ``TickNotFound``."""
    spans = _spans(state, world_id)
    timeline = Timeline(spans, {})
    tick = timeline.last if at is None else at
    span = timeline.at(tick)
    if span is None:
        raise TickNotFound(spans[-1].segment.name, tick, timeline.first, timeline.last)
    number = state.segment_numbers[span.segment.world_id, span.segment.run_id]
    visibility = Visibility(log, state)
    live: dict[str, int] = {}
    for table in _tables(state, spans):
        found = visibility.at(number, table, tick)
        if found is not None and found.group.live:
            live[state.tables[table].name] = found.group.live
    entry = visibility.tick_entry(number, tick)
    applied = entry.applied if entry.tick == tick else ()
    return Head(span.segment, tick, entry.next_entity_id, applied, live, entry.attempt, entry.continuation)


def _lineage(state: StoreState, number: int) -> Iterator[tuple[int, int]]:
    """A segment and its ancestors, each with its last tick in this history."""
    entry, last = state.segments[number], state.segments[number].last
    while True:
        yield number, last
        parent = entry.segment.parent
        if parent is None:
            return
        number, last = state.segment_numbers[parent.world_id, parent.run_id], parent.tick
        entry = state.segments[number]


def _spans(state: StoreState, world_id: str) -> tuple[Span, ...]:
    number = state.worlds.get(world_id)
    if number is None:
        raise WorldNotFound(world_id, sorted(state.worlds))
    found = ((state.segments[one].segment, last) for one, last in _lineage(state, number))
    return tuple(reversed([Span(segment, segment.first_tick, last) for segment, last in found]))


def _tables(state: StoreState, spans: tuple[Span, ...]) -> list[int]:
    """The tables that were written in some spans."""
    found: dict[int, None] = {}
    for span in reversed(spans):
        entry = state.segments[state.segment_numbers[span.segment.world_id, span.segment.run_id]]
        found |= dict.fromkeys(one for one, known in entry.tables.items() if known.first <= span.last)
    return list(found)
