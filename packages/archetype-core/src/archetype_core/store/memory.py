"""The in-memory store: the default for tests and short scripts, and the reference for every other store.

It copies nothing: it keeps the snapshots that the engine commits. A *named* memory store outlives its handles, so it can be
reopened within the process; an unnamed one ends with its last handle.
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
class _TableWrites:
    schema: pa.Schema
    ticks: list[int] = field(default_factory=list)
    rows: list[Rows] = field(default_factory=list)

    def latest(self, tick: int) -> tuple[int, Rows] | None:
        """The newest write at or before a tick, with its tick."""
        index = bisect_right(self.ticks, tick) - 1
        return None if index < 0 else (self.ticks[index], self.rows[index])


@dataclass(slots=True)
class _CommittedSegment:
    segment: Segment
    ids: list[int] = field(default_factory=list)
    applied: list[tuple[str, ...]] = field(default_factory=list)
    attempts: list[str] = field(default_factory=list)
    continuations: list[bytes] = field(default_factory=list)
    tables: dict[str, _TableWrites] = field(default_factory=dict)

    @property
    def last(self) -> int:
        return self.segment.first_tick + len(self.ids) - 1


class _Contents:
    named: ClassVar[dict[str, _Contents]] = {}

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.branches: dict[tuple[str, str], _CommittedSegment] = {}
        self.worlds: dict[str, _CommittedSegment] = {}

    def branch(self, world_id: str, run_id: str) -> _CommittedSegment:
        return self.branches[world_id, run_id]

    def rows(self, branch: _CommittedSegment, table: str, tick: int) -> Rows | None:
        """A table at a tick: the rows written at that tick, or the active rows of the newest write before it."""
        here: _CommittedSegment | None = branch
        first = tick
        while here is not None:
            writes = here.tables.get(table)
            found = writes.latest(tick) if writes else None
            if found is not None:
                written, rows = found
                return rows if written == first else Rows(rows.live) if rows.live.num_rows else None
            parent = here.segment.parent
            if parent is None:
                return None
            tick, here = parent.tick, self.branches[parent.world_id, parent.run_id]
        return None


class MemoryStore:
    """A store in this process's memory, sharing the engine's rows by reference; it ends with the process.

    Only a named store can be opened twice, so only a named one claims ``PERSISTENCE`` and ``SHARED``.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name
        self._is_open = True
        self._space = _Contents.named.setdefault(name, _Contents()) if name else _Contents()

    def __repr__(self) -> str:
        return f"MemoryStore({self.name!r})"

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Time travel; if the store is named, persistence and sharing too."""
        lasting = {Capability.PERSISTENCE, Capability.SHARED} if self.name else set()
        return frozenset({Capability.TIME_TRAVEL, *lasting})

    @staticmethod
    def forget(name: str) -> None:
        """Drop a named store; handles that are still open keep its data."""
        _Contents.named.pop(name, None)

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        """Store consecutive ticks of one segment; see ``Store.commit``."""
        space = self._open()
        if not ticks:
            return
        # Everything that can fail runs before the first change, so that no commit is stored in part.
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
                    branch = space.branches[key] = _CommittedSegment(commit.segment)
                for name, rows, schema in written:
                    writes = branch.tables.get(name)
                    if writes is None:
                        writes = branch.tables[name] = _TableWrites(schema)
                    writes.ticks.append(commit.tick)
                    writes.rows.append(rows)
                branch.ids.append(commit.next_entity_id)
                branch.applied.append(commit.applied)
                branch.attempts.append(commit.attempt)
                branch.continuations.append(commit.continuation)
                space.worlds[commit.segment.world_id] = branch

    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        """Stream rows; ``where`` is ignored."""
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
        """Return the newest tick of a world, or tick ``at``."""
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
        attempt, continuation = branch.attempts[index], branch.continuations[index]
        return Head(branch.segment, tick, branch.ids[index], branch.applied[index], live, attempt, continuation)

    def timeline(self, world_id: str) -> Timeline:
        """Return a world's segments, ancestors included, and their tables."""
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
                for name, writes in branch.tables.items():
                    if writes.ticks[0] <= last:
                        tables.setdefault(name, writes.schema)
                parent = branch.segment.parent
                if parent is None:
                    break
                last, branch = parent.tick, space.branch(parent.world_id, parent.run_id)
        return Timeline(tuple(reversed(spans)), tables)

    def worlds(self) -> tuple[WorldRecord, ...]:
        """Return every world with at least one tick."""
        space = self._open()
        with space.lock:
            return tuple(
                WorldRecord(world_id, branch.segment.name, branch.segment.run_id, branch.last)
                for world_id, branch in space.worlds.items()
            )

    def files(self, scan: Scan) -> tuple[str, ...]:
        """Raise ``UnsupportedCapability``: there are no files."""
        del scan
        self._open()
        raise UnsupportedCapability(repr(self), Capability.FILES)

    def close(self) -> None:
        """Close this handle; idempotent."""
        self._is_open = False

    def _open(self) -> _Contents:
        if not self._is_open:
            raise StoreClosed(repr(self))
        return self._space

    @staticmethod
    def _schema(space: _Contents, branch: _CommittedSegment, table: str) -> pa.Schema | None:
        last = branch.last
        while True:
            writes = branch.tables.get(table)
            if writes is not None and writes.ticks[0] <= last:
                return writes.schema
            parent = branch.segment.parent
            if parent is None:
                return None
            last, branch = parent.tick, space.branch(parent.world_id, parent.run_id)

    @staticmethod
    def _check(space: _Contents, ticks: Sequence[TickCommit]) -> None:
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
                raise CommitError(f"the parent of segment {segment.run_id}, {segment.parent}, is not in this store")


def open_memory(uri: str) -> MemoryStore:
    """Open ``memory:`` (a new store) or ``memory:name`` (one store per name and process)."""
    return MemoryStore(uri.partition(":")[2].strip("/"))
