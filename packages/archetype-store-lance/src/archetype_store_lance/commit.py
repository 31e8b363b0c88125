"""Turns the ticks of one commit into appended rows and one record of the log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import pyarrow as pa

from archetype_core.errors import CommitError, TickConflict
from archetype_core.store import Point, TickCommit
from archetype_store_lance.log import Log
from archetype_store_lance.record import CommitRecord
from archetype_store_lance.row_index import TickEntry, group_table, tick_table
from archetype_store_lance.row_layout import RowGroup, RowLayout, Write, row_groups
from archetype_store_lance.state import LogSegment, SegmentTable, StoreState, TableChange, TableState
from archetype_store_lance.table import Tables, stored_schema


def check_expected(state: StoreState, ticks: Sequence[TickCommit]) -> None:
    """Refuse ticks that do not follow the world's head (``TickConflict``) or whose parent is missing (``CommitError``)."""
    first = ticks[0]
    segment = first.segment
    number = state.worlds.get(segment.world_id)
    head = None if number is None else state.segments[number]
    tip = Point(head.segment.world_id, head.segment.run_id, head.last) if head else segment.parent
    expected = tip.tick + 1 if tip else segment.first_tick
    owner = head.owner if head else None
    if first.tick != expected:
        raise TickConflict(segment.world_id, expected, first.tick, owner)
    if head is not None and head.segment != segment:
        if state.find(segment.world_id, segment.run_id) is not None or segment.parent != tip:
            raise TickConflict(segment.world_id, expected, first.tick, owner)
    elif head is None and segment.parent is not None:
        above = state.find(segment.parent.world_id, segment.parent.run_id)
        entry = None if above is None else state.segments[above]
        if entry is None or not entry.segment.first_tick <= segment.parent.tick <= entry.last:
            raise CommitError(f"segment {segment.run_id} grows from {segment.parent}, which this store does not have")


def append(log: Log, tables: Tables, owner: str, state: StoreState, ticks: Sequence[TickCommit]) -> StoreState | None:
    """Write the rows of some ticks to their tables, then the record; ``None`` if another writer's record was first."""
    first, last = ticks[0], ticks[-1]
    segment = first.segment
    number = state.find(segment.world_id, segment.run_id)
    number = len(state.segments) if number is None else number
    constant = {"world_id": segment.world_id, "run_id": segment.run_id}
    groups: list[tuple[int, int, RowGroup]] = []
    changes: list[tuple[int, Any]] = []
    written: dict[int, SegmentTable] = {}
    before = state.segments[number].tables if number < len(state.segments) else {}
    unused = len(state.tables)
    for name, writes in _by_table(ticks).items():
        index = state.table(name)
        schema = writes[0].rows.live.archetype.schema
        table = state.tables[index] if index is not None else TableState(name, schema)
        if index is None:
            index, unused = unused, unused + 1
        change, made = _append_rows(tables, table, writes, constant)
        if index >= len(state.tables):
            files = change.added if change else {}
            version, rows = (change.version, change.rows) if change else (None, 0)
            changes.append((index, TableState(name, schema, version, rows, files).to_json()))
        elif change is not None:
            changes.append((index, change.to_json()))
        groups += [(number, index, group) for group in made]
        written[index] = SegmentTable(before[index].first if index in before else made[0].first, made[-1])
    groups.sort(key=lambda found: found[1])
    entry = LogSegment(segment, last.tick, owner, written)
    header = {"tables": sorted(changes), "segment": [number, entry.to_json()], "first": first.tick}
    record = CommitRecord({}, group_table(groups), tick_table(number, _tick_entries(ticks)))
    return log.append(state, header, record)


def _append_rows(
    tables: Tables, table: TableState, writes: Sequence[Write], constant: Mapping[str, str]
) -> tuple[TableChange | None, list[RowGroup]]:
    made: list[RowGroup] = []
    layout = RowLayout(stored_schema(table.schema), constant, tables.limits)

    def batches() -> Iterator[pa.RecordBatch]:
        for group, members in row_groups(writes, table.rows, tables.limits):
            made.append(group)
            if group.rows:
                yield from layout.batches(group, members)

    stream = batches()
    head = next(stream, None)
    if head is None:
        return None, made
    return tables.append(table, chain([head], stream)), made


def _by_table(ticks: Sequence[TickCommit]) -> dict[str, list[Write]]:
    found: dict[str, list[Write]] = {}
    for commit in ticks:
        for name, rows in commit.written.items():
            found.setdefault(name, []).append(Write(commit.tick, rows))
    return found


def _tick_entries(ticks: Sequence[TickCommit]) -> Iterator[TickEntry]:
    """The entries of some ticks, without those that repeat the one before."""
    known: tuple[int, tuple[str, ...], str, bytes] | None = None
    for commit in ticks:
        values = (commit.next_entity_id, tuple(commit.applied), commit.attempt, commit.continuation)
        if values != known or values[1]:
            yield TickEntry(commit.tick, *values)
        known = values
