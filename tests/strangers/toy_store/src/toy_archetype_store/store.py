"""A durable store in few lines: a folder with one file per commit, which is read into memory when it is opened."""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from archetype_core.errors import (
    CommitError,
    StoreClosed,
    TickConflict,
    TickNotFound,
    UnsupportedCapability,
    WorldNotFound,
)
from archetype_core.store import (
    Capability,
    Head,
    Point,
    Scan,
    Segment,
    Span,
    TickCommit,
    Timeline,
    WorldRecord,
    check_successors,
    project,
)
from toy_archetype_store.commit_file import read_commit, write_commit


class ToyStore:
    """Keeps all ticks in memory and in files. Only one handle may be open per folder."""

    capabilities: frozenset[Capability] = frozenset({Capability.TIME_TRAVEL, Capability.PERSISTENCE})

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        # The ticks of every segment, by world id and run id, and the newest tick of every world.
        self._segments: dict[tuple[str, str], list[TickCommit]] = {}
        self._newest: dict[str, TickCommit] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self._lock_file = (folder / "lock").open("w")
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # The store does not claim SHARED, so it refuses a second handle.
            self._lock_file.close()
            raise UnsupportedCapability(repr(self), Capability.SHARED) from None
        files = sorted(folder.glob("*.arrow"))
        for path in files:
            self._add(list(read_commit(path)))
        self._next_file = len(files)

    def __repr__(self) -> str:
        return f"ToyStore({str(self._folder)!r})"

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        """Store ticks: all of them, or none and raise."""
        self._check_open()
        if not ticks:
            return
        # Store carried tables like written ones: then no read needs an earlier tick.
        ticks = [replace(tick, written=dict(tick.tables()), carried={}) for tick in ticks]
        with self._lock:
            self._check_follows(ticks)
            write_commit(self._folder / f"{self._next_file:09}.arrow", ticks)
            # The commit is durable from here on: show it.
            self._next_file += 1
            self._add(ticks)

    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        """Stream the rows of a table, tick by tick."""
        self._check_open()
        with self._lock:
            # A copy, so that later commits do not change an open stream.
            ticks = list(self._segments.get((scan.segment.world_id, scan.segment.run_id), ()))
        first, last = (ticks[0].tick, ticks[-1].tick) if ticks else (None, None)
        for tick in (scan.first, scan.last):
            if first is None or last is None or not first <= tick <= last:
                raise TickNotFound(scan.segment.name, tick, first, last)
        table = self.timeline(scan.segment.world_id).tables.get(scan.table)
        if table is None:
            return pa.RecordBatchReader.from_batches(pa.schema([]), [])
        schema = scan.schema(table)

        def batches() -> Iterator[pa.RecordBatch]:
            for tick in ticks[scan.first - ticks[0].tick : scan.last - ticks[0].tick + 1]:
                rows = tick.written.get(scan.table)
                if rows is not None:
                    yield project(rows.live, scan, tick.tick, True, schema)
                if rows is not None and rows.tombstones is not None:
                    yield project(rows.tombstones, scan, tick.tick, False, schema)

        return pa.RecordBatchReader.from_batches(schema, batches())

    def head(self, world_id: str, *, at: int | None = None) -> Head:
        """Return what a world needs to continue from its newest tick, or from an older one."""
        timeline = self.timeline(world_id)
        number = timeline.last if at is None else at
        span = timeline.at(number)
        if span is None:
            raise TickNotFound(timeline.spans[-1].segment.name, number, timeline.first, timeline.last)
        segment = span.segment
        tick = self._segments[segment.world_id, segment.run_id][number - segment.first_tick]
        live = {name: rows.live.num_rows for name, rows in tick.written.items() if rows.live.num_rows}
        return Head(segment, number, tick.next_entity_id, tick.applied, live, tick.attempt, tick.continuation)

    def timeline(self, world_id: str) -> Timeline:
        """Return the segments of a world's history, oldest first, and all its tables."""
        self._check_open()
        with self._lock:
            if world_id not in self._newest:
                raise WorldNotFound(world_id, sorted(self._newest))
            point: Point | None = _point(self._newest[world_id])
            spans: list[Span] = []
            tables: dict[str, pa.Schema] = {}
            while point is not None:
                ticks = self._segments[point.world_id, point.run_id]
                segment = ticks[0].segment
                spans.append(Span(segment, segment.first_tick, point.tick))
                for tick in ticks[: point.tick - segment.first_tick + 1]:
                    tables.update((name, rows.live.archetype.schema) for name, rows in tick.written.items())
                point = segment.parent
        return Timeline(tuple(reversed(spans)), tables)

    def worlds(self) -> tuple[WorldRecord, ...]:
        """Return every world with its newest tick."""
        self._check_open()
        with self._lock:
            newest = self._newest.items()
            return tuple(WorldRecord(key, tick.segment.name, tick.segment.run_id, tick.tick) for key, tick in newest)

    def files(self, scan: Scan) -> tuple[str, ...]:
        """Refuse: the store does not claim FILES."""
        self._check_open()
        raise UnsupportedCapability(repr(self), Capability.FILES)

    def close(self) -> None:
        """Close the store and unlock its folder."""
        self._lock_file.close()

    def _check_open(self) -> None:
        if self._lock_file.closed:
            raise StoreClosed(repr(self))

    def _add(self, ticks: Sequence[TickCommit]) -> None:
        segment = ticks[0].segment
        self._segments.setdefault((segment.world_id, segment.run_id), []).extend(ticks)
        self._newest[segment.world_id] = ticks[-1]

    def _check_follows(self, ticks: Sequence[TickCommit]) -> None:
        check_successors(ticks)
        segment, first = ticks[0].segment, ticks[0].tick
        newest = self._newest.get(segment.world_id)
        expected = segment.first_tick if newest is None else newest.tick + 1
        if first != expected:
            raise TickConflict(segment.world_id, expected, first)
        if newest is None:
            # A new world, or a fork of a tick that must exist.
            if segment.parent is not None and not self._holds(segment.parent):
                raise CommitError(f"{self!r} does not hold {segment.parent}, so it cannot be forked")
        elif segment != newest.segment and not self._is_next_run(segment, newest):
            raise TickConflict(segment.world_id, expected, first)

    def _holds(self, point: Point) -> bool:
        ticks = self._segments.get((point.world_id, point.run_id))
        return ticks is not None and ticks[0].tick <= point.tick <= ticks[-1].tick

    def _is_next_run(self, segment: Segment, newest: TickCommit) -> bool:
        return segment.parent == _point(newest) and (segment.world_id, segment.run_id) not in self._segments


def _point(tick: TickCommit) -> Point:
    return Point(tick.segment.world_id, tick.segment.run_id, tick.tick)


def open_toy(uri: str) -> ToyStore:
    """Open the store of an address such as ``toy:folder``."""
    return ToyStore(Path(uri.partition(":")[2]))
