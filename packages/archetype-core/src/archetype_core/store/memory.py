"""A store in this process's memory: the default for tests and short scripts, and the reference other stores are held to.

Nothing is copied: it keeps the very snapshots that the engine commits. A *named* memory store outlives its handles, so
that reopening works within a process; an unnamed one ends with its last handle.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import pyarrow as pa

from archetype_core.errors import (
    CommitError,
    StoreClosed,
    TickConflict,
    TickNotFound,
    UnsupportedCapability,
    WorldNotFound,
)
from archetype_core.store.commit import Rows, TickCommit, check_successors
from archetype_core.store.port import Capability
from archetype_core.store.request import Scan, project
from archetype_core.store.timeline import Head, Point, Segment, Span, Timeline, WorldRecord


@dataclass(slots=True)
class _Places:
    """Where the rows of one table are: the ticks that wrote it, ascending, and what they wrote."""

    schema: pa.Schema
    ticks: list[int] = field(default_factory=list)
    rows: list[Rows] = field(default_factory=list)

    def at(self, tick: int) -> tuple[int, Rows] | None:
        index = bisect_right(self.ticks, tick) - 1
        return None if index < 0 else (self.ticks[index], self.rows[index])


@dataclass(slots=True)
class _SegmentRows:
    """One segment and everything committed to it."""

    segment: Segment
    ids: list[int] = field(default_factory=list)
    applied: list[tuple[str, ...]] = field(default_factory=list)
    tables: dict[str, _Places] = field(default_factory=dict)

    @property
    def last(self) -> int:
        return self.segment.first_tick + len(self.ids) - 1


class _Space:
    """The data behind one or more handles."""

    kept: ClassVar[dict[str, _Space]] = {}

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.branches: dict[tuple[str, str], _SegmentRows] = {}
        self.worlds: dict[str, _SegmentRows] = {}

    def branch(self, world_id: str, run_id: str) -> _SegmentRows:
        return self.branches[world_id, run_id]

    def rows(self, branch: _SegmentRows, table: str, tick: int) -> Rows | None:
        """What a table shows at a tick: as written then, or the active rows of the last tick that wrote it."""
        here: _SegmentRows | None = branch
        first = tick
        while here is not None:
            places = here.tables.get(table)
            found = places.at(tick) if places else None
            if found is not None:
                written, rows = found
                return rows if written == first else Rows(rows.live) if rows.live.num_rows else None
            parent = here.segment.parent
            if parent is None:
                return None
            tick, here = parent.tick, self.branches[parent.world_id, parent.run_id]
        return None


class MemoryStore:
    """Keeps every tick in memory, shared by reference with the engine; gone with the process.

    Only a named one can be opened twice, so only a named one claims to persist and to be shared.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name
        self._is_open = True
        self._space = _Space.kept.setdefault(name, _Space()) if name else _Space()

    def __repr__(self) -> str:
        return f"MemoryStore({self.name!r})"

    @property
    def capabilities(self) -> frozenset[Capability]:
        lasting = {Capability.PERSISTENCE, Capability.SHARED} if self.name else set()
        return frozenset({Capability.TIME_TRAVEL, *lasting})

    @staticmethod
    def forget(name: str) -> None:
        """Drop a named store's data once its open handles are gone."""
        _Space.kept.pop(name, None)

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        space = self._open()
        if not ticks:
            return
        # Everything that can fail runs before the first change, so a half-made commit cannot exist.
        staged = [
            (commit, [(name, rows, rows.live.archetype.schema) for name, rows in commit.written.items()])
            for commit in ticks
        ]
        with space.lock:
            self._check(space, ticks)
            for commit, written in staged:
                key = (commit.segment.world_id, commit.segment.run_id)
                branch = space.branches.get(key)
                if branch is None:
                    branch = space.branches[key] = _SegmentRows(commit.segment)
                for name, rows, schema in written:
                    places = branch.tables.get(name)
                    if places is None:
                        places = branch.tables[name] = _Places(schema)
                    places.ticks.append(commit.tick)
                    places.rows.append(rows)
                branch.ids.append(commit.next_entity_id)
                branch.applied.append(commit.applied)
                space.worlds[commit.segment.world_id] = branch

    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        space = self._open()
        with space.lock:
            branch = space.branches.get((scan.segment.world_id, scan.segment.run_id))
            if branch is None:
                raise TickNotFound(scan.segment.name, scan.first, None, None)
            for tick in (scan.first, scan.last):
                if not branch.segment.first_tick <= tick <= branch.last:
                    raise TickNotFound(scan.segment.name, tick, branch.segment.first_tick, branch.last)
            table = self._schema(space, branch, scan.table)
        if table is None:
            return pa.RecordBatchReader.from_batches(pa.schema([]), [])
        schema = scan.schema(table)

        def batches() -> Iterator[pa.RecordBatch]:
            for tick in range(scan.first, scan.last + 1):
                rows = space.rows(branch, scan.table, tick)
                if rows is None:
                    continue
                if rows.live.num_rows:
                    yield project(rows.live, scan, tick, True, schema)
                if rows.tombstones:
                    yield project(rows.tombstones, scan, tick, False, schema)

        return pa.RecordBatchReader.from_batches(schema, batches())

    def head(self, world_id: str, *, at: int | None = None) -> Head:
        space = self._open()
        timeline = self.timeline(world_id)
        tick = timeline.last if at is None else at
        span = timeline.at(tick)
        if span is None:
            raise TickNotFound(timeline.spans[-1].segment.name, tick, timeline.first, timeline.last)
        branch = space.branch(span.segment.world_id, span.segment.run_id)
        index = tick - branch.segment.first_tick
        found = ((name, space.rows(branch, name, tick)) for name in timeline.tables)
        live = {name: rows.live.num_rows for name, rows in found if rows is not None and rows.live.num_rows}
        return Head(branch.segment, tick, branch.ids[index], branch.applied[index], live)

    def timeline(self, world_id: str) -> Timeline:
        space = self._open()
        with space.lock:
            branch = space.worlds.get(world_id)
            if branch is None:
                raise WorldNotFound(world_id, sorted(space.worlds))
            spans: list[Span] = []
            tables: dict[str, pa.Schema] = {}
            last = branch.last
            while True:
                spans.append(Span(branch.segment, branch.segment.first_tick, last))
                for name, places in branch.tables.items():
                    if places.ticks[0] <= last:
                        tables.setdefault(name, places.schema)
                parent = branch.segment.parent
                if parent is None:
                    break
                last, branch = parent.tick, space.branch(parent.world_id, parent.run_id)
        return Timeline(tuple(reversed(spans)), tables)

    def worlds(self) -> tuple[WorldRecord, ...]:
        space = self._open()
        with space.lock:
            return tuple(
                WorldRecord(world_id, branch.segment.name, branch.segment.run_id, branch.last)
                for world_id, branch in space.worlds.items()
            )

    def files(self, scan: Scan) -> tuple[str, ...]:
        del scan  # there are none to name
        self._open()
        raise UnsupportedCapability(repr(self), Capability.FILES)

    def close(self) -> None:
        self._is_open = False

    def _open(self) -> _Space:
        if not self._is_open:
            raise StoreClosed(repr(self))
        return self._space

    @staticmethod
    def _schema(space: _Space, branch: _SegmentRows, table: str) -> pa.Schema | None:
        last = branch.last
        while True:
            places = branch.tables.get(table)
            if places is not None and places.ticks[0] <= last:
                return places.schema
            parent = branch.segment.parent
            if parent is None:
                return None
            last, branch = parent.tick, space.branch(parent.world_id, parent.run_id)

    @staticmethod
    def _check(space: _Space, ticks: Sequence[TickCommit]) -> None:
        check_successors(ticks)
        first = ticks[0]
        segment = first.segment
        head = space.worlds.get(segment.world_id)
        tip = Point(head.segment.world_id, head.segment.run_id, head.last) if head else segment.parent
        expected = tip.tick + 1 if tip else segment.first_tick
        if first.tick != expected:
            raise TickConflict(segment.world_id, expected, first.tick)
        if head is not None and head.segment != segment:
            if (segment.world_id, segment.run_id) in space.branches or segment.parent != tip:
                raise TickConflict(segment.world_id, expected, first.tick)
        elif head is None and segment.parent is not None:
            parent = space.branches.get((segment.parent.world_id, segment.parent.run_id))
            if parent is None or not parent.segment.first_tick <= segment.parent.tick <= parent.last:
                raise CommitError(
                    f"segment {segment.run_id} grows from {segment.parent}, which this store does not hold"
                )


def open_memory(uri: str) -> MemoryStore:
    """The store behind ``memory:`` (a new one) or ``memory:name`` (one per name and process)."""
    return MemoryStore(uri.partition(":")[2].strip("/"))
