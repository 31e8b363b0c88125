"""The Lance store: one Lance table per archetype, and a log whose newest record says what of them counts."""

from __future__ import annotations

import os
import re
import socket
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from archetype_core.errors import (
    CommitError,
    CorruptStore,
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
    Span,
    TickCommit,
    Timeline,
    WorldRecord,
    check_successors,
)
from archetype_journal import BackgroundTask, make_directory
from archetype_store_lance.ann_cache import Recall
from archetype_store_lance.engine import Overtaken, writing
from archetype_store_lance.lock import WriterLock
from archetype_store_lance.log import Log
from archetype_store_lance.log_files import DIRECTORY, LocalShelf, shelf_of
from archetype_store_lance.lookup import Lookup
from archetype_store_lance.place import Place
from archetype_store_lance.record import CommitRecord
from archetype_store_lance.row_index import Mark, mark_rows, tile_rows
from archetype_store_lance.row_layout import Layout, Tile, Write, tiles
from archetype_store_lance.scanning import Piece, Scanner
from archetype_store_lance.state import SegmentEntry, Standing, State, TableState
from archetype_store_lance.table import Change, Tables, stored_schema
from archetype_store_lance.upkeep import Upkeep

if TYPE_CHECKING:
    from archetype_core.store import Search

_OURS = re.compile(r"_[0-9a-f]{16}\.lance$")
_ATTEMPTS = 20
_GRACE = timedelta(hours=1)


class _Progress:
    """How far a scan got: the tick that it is in, and how many of its rows were given."""

    def __init__(self, tick: int) -> None:
        self.tick = tick
        self.rows = 0

    def note(self, piece: Piece) -> None:
        """A piece was read."""
        last = int(piece.ticks[-1])
        rows = len(piece) - int(np.searchsorted(piece.ticks, last))
        self.rows = rows + (self.rows if last == self.tick else 0)
        self.tick = last

    def rest(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """The pieces without the rows that were given."""
        left = self.rows
        for piece in pieces:
            if left < len(piece):
                yield piece.after(left) if left else piece
            left = max(0, left - len(piece))


class LanceStore:
    """Keeps every tick of many worlds in Lance tables, on this machine or in an object store; atomic by itself.

    A commit costs one insert per table that it writes and one file of the log, so it pays to commit many ticks at once, as
    a journal in front of it does. Readers in this and other processes see each commit at once, whole.
    """

    def __init__(self, uri: str | Path, storage_options: Mapping[str, str] | None = None, *, tidy: bool = True) -> None:
        """``tidy=False`` leaves what killed writers left to ``tidy``: the caller sees first whether it is no more than that."""
        self.place = Place.of(uri, storage_options)
        self.owner = f"process {os.getpid()} on {socket.gethostname()}"
        self._process = os.getpid()
        self._is_open = True
        local = self.place.local
        with writing(str(self.place)):
            shelf = shelf_of(self.place)
        if local is not None:
            with writing(str(local)):
                make_directory(local / DIRECTORY)
        self.tables = Tables(self.place)
        self._recall = None if local is None else Recall(local, self.tables)
        self._lock = WriterLock(local / DIRECTORY / "lock" if local else None)
        self._log = Log(shelf, str(self.place))
        with self._lock.held():
            if isinstance(shelf, LocalShelf):
                with writing(str(local)):
                    shelf.sweep()
            if not self._log.exists():
                self._refuse_orphans()
                if self._recall is not None:
                    self._recall.clear()
                self._log.begin()
        if tidy:
            self.tidy()
        if self._recall is not None:
            self._recall.sweep()
        self._upkeep = Upkeep(self._log, self.tables, self._lock, _GRACE)
        self._chore = BackgroundTask("archetype-lance", self._keep)
        # A store that nobody closed ends with the last reference to it, or with the process.
        self._end = weakref.finalize(self, _finish, self._upkeep, self._chore)

    def __repr__(self) -> str:
        return f"LanceStore({self.place.root!r})"

    @property
    def capabilities(self) -> frozenset[Capability]:
        return frozenset({Capability.TIME_TRAVEL, Capability.PERSISTENCE, Capability.SHARED, Capability.SEARCH})

    def _refuse_orphans(self) -> None:
        """Tables without a log are what is left of a store, and no empty place."""
        local = self.place.local
        if local is None:
            return
        for path in sorted(local.glob("*.lance")):
            if _OURS.search(path.name):
                raise CorruptStore(str(local), f"table {path.name} is there, and the log that says what counts is gone")

    def tidy(self) -> None:
        """Remove what writers that were killed left beside what counts."""
        with self._lock.held():
            for table in self._log.state().tables:
                with suppress(CommitError, OSError):
                    if self.tables.is_untidy(table):
                        self.tables.sweep(table, _GRACE)

    # Writing.

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        self._check_open()
        if not ticks:
            return
        check_successors(ticks)
        local = self.place.local is not None
        with self._lock.held():
            self._check_open()
            for _ in range(_ATTEMPTS):
                state = self._log.state()
                _check(state, ticks)
                try:
                    with self.tables.restoring():
                        if self._append(state, ticks) is not None:
                            break
                except Overtaken:
                    continue
                except (CommitError, CorruptStore):
                    # Where there is no lock, what this one looked at may have been removed by one that was faster.
                    if local or self._log.anew().number == state.number:
                        raise
            else:
                raise CommitError(f"{self!r}: other writers were faster {_ATTEMPTS} times; try again")
        self._chore.ask()

    def _append(self, state: State, ticks: Sequence[TickCommit]) -> State | None:
        first, last = ticks[0], ticks[-1]
        segment = first.segment
        number = state.find(segment.world_id, segment.run_id)
        number = len(state.branches) if number is None else number
        constant = {"world_id": segment.world_id, "run_id": segment.run_id}
        places: list[tuple[int, int, Tile]] = []
        changes: list[tuple[int, Any]] = []
        standing: dict[int, Standing] = {}
        before = state.branches[number].tables if number < len(state.branches) else {}
        fresh = len(state.tables)
        for name, writes in _by_table(ticks).items():
            index = state.table(name)
            schema = writes[0].rows.live.archetype.schema
            table = state.tables[index] if index is not None else TableState(name, schema)
            if index is None:
                index, fresh = fresh, fresh + 1
            change, made = self._write(table, writes, constant)
            if index >= len(state.tables):
                files = change.added if change else {}
                version, rows = (change.version, change.rows) if change else (None, 0)
                changes.append((index, TableState(name, schema, version, rows, files).to_json()))
            elif change is not None:
                changes.append((index, change.to_json()))
            places += [(number, index, tile) for tile in made]
            standing[index] = Standing(before[index].first if index in before else made[0].first, made[-1])
        places.sort(key=lambda place: place[1])
        branch = SegmentEntry(segment, last.tick, last.next_entity_id, last.applied, self.owner, standing)
        header = {"tables": sorted(changes), "branch": [number, branch.to_json()], "first": first.tick}
        record = CommitRecord({}, tile_rows(places), mark_rows(number, _marks(ticks)))
        return self._log.append(state, header, record)

    def _write(
        self, table: TableState, writes: Sequence[Write], constant: dict[str, str]
    ) -> tuple[Change | None, list[Tile]]:
        made: list[Tile] = []
        layout = Layout(stored_schema(table.schema), constant)

        def batches() -> Iterator[pa.RecordBatch]:
            for tile, within in tiles(writes, table.rows):
                made.append(tile)
                if tile.rows:
                    yield from layout.batches(tile, within)

        stream = batches()
        head = next(stream, None)
        if head is None:
            return None, made
        return self.tables.append(table, chain([head], stream)), made

    # Reading.

    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        self._check_open()
        state = self._log.state()
        number = state.find(scan.segment.world_id, scan.segment.run_id)
        if number is None:
            raise TickNotFound(scan.segment.name, scan.first, None, None)
        branch = state.branches[number]
        for tick in (scan.first, scan.last):
            if not branch.segment.first_tick <= tick <= branch.last:
                raise TickNotFound(scan.segment.name, tick, branch.segment.first_tick, branch.last)
        table = state.table(scan.table)
        if table is None or not self._is_seen(state, number, table):
            return pa.RecordBatchReader.from_batches(pa.schema([]), [])
        schema = scan.schema(state.tables[table].schema)
        scanner = Scanner(self.tables, scan, schema)
        return pa.RecordBatchReader.from_batches(schema, self._batches(scanner, scan, state, number, table))

    def _is_seen(self, state: State, number: int, table: int) -> bool:
        """Whether a segment or one that it grew from wrote a table."""
        branch, last = state.branches[number], state.branches[number].last
        while True:
            standing = branch.tables.get(table)
            if standing is not None and standing.first <= last:
                return True
            parent = branch.segment.parent
            if parent is None:
                return False
            branch, last = state.branches[state.keys[parent.world_id, parent.run_id]], parent.tick

    def _batches(self, scanner: Scanner, scan: Scan, state: State, number: int, table: int) -> Iterator[pa.RecordBatch]:
        done = _Progress(scan.first)
        while True:
            shown = Lookup(self._log, state).shown(number, table, done.tick, scan.last)
            try:
                for piece in done.rest(scanner.pieces(state.tables[table], shown)):
                    batch = scanner.read(state.tables[table], piece)
                    done.note(piece)
                    yield batch
                return
            except FileNotFoundError as failure:
                state = self._log.fresher(state, failure)
            except CorruptStore:
                # It was brought together with other files since its place was looked up; or it is really gone.
                newer = self._log.anew()
                if newer.tables[table].version == state.tables[table].version:
                    raise
                state = newer

    def search(self, search: Search) -> pa.Table:
        """The best of a table's rows at a tick; reads one column of what that tick shows, or asks an index of it."""
        # It brings the engine of lazy frames along.
        from archetype_core.read import ranked

        found = None if search.exact or self._recall is None else self._recalled(self._recall, search)
        return ranked(self, search) if found is None else found

    def _recalled(self, recall: Recall, search: Search) -> pa.Table | None:
        """What an index of the rows that stand at a tick answers; ``None`` where there is no such index."""
        self._check_open()
        state = self._log.state()
        number, table = state.find(search.segment.world_id, search.segment.run_id), state.table(search.table)
        if number is None or table is None:
            return None
        branch = state.branches[number]
        if not branch.segment.first_tick <= search.tick <= branch.last:
            return None
        try:
            shown = Lookup(self._log, state).at(number, table, search.tick)
        except FileNotFoundError:
            # Merged away since the state was read, which a scan looks after.
            return None
        if shown is None:
            return None
        return recall.answer(search, state.tables[table], shown.tile, search.tick if shown.at is None else shown.at)

    def head(self, world_id: str, *, at: int | None = None) -> Head:
        self._check_open()
        state = self._log.state()
        while True:
            try:
                return self._head(state, world_id, at)
            except FileNotFoundError as failure:
                state = self._log.fresher(state, failure)

    def _head(self, state: State, world_id: str, at: int | None) -> Head:
        spans = self._spans(state, world_id)
        timeline = Timeline(spans, {})
        tick = timeline.last if at is None else at
        span = timeline.at(tick)
        if span is None:
            raise TickNotFound(spans[-1].segment.name, tick, timeline.first, timeline.last)
        number = state.keys[span.segment.world_id, span.segment.run_id]
        lookup = Lookup(self._log, state)
        live: dict[str, int] = {}
        for table in self._tables_of(state, spans):
            found = lookup.at(number, table, tick)
            if found is not None and found.tile.live:
                live[state.tables[table].name] = found.tile.live
        mark = lookup.mark(number, tick)
        applied = mark.applied if mark.tick == tick else ()
        return Head(span.segment, tick, mark.next_entity_id, applied, live)

    def timeline(self, world_id: str) -> Timeline:
        self._check_open()
        state = self._log.state()
        spans = self._spans(state, world_id)
        tables = {state.tables[one].name: state.tables[one].schema for one in self._tables_of(state, spans)}
        return Timeline(spans, tables)

    def _spans(self, state: State, world_id: str) -> tuple[Span, ...]:
        number = state.worlds.get(world_id)
        if number is None:
            raise WorldNotFound(world_id, sorted(state.worlds))
        branch = state.branches[number]
        found, last = [], branch.last
        while True:
            found.append(Span(branch.segment, branch.segment.first_tick, last))
            parent = branch.segment.parent
            if parent is None:
                return tuple(reversed(found))
            branch, last = state.branches[state.keys[parent.world_id, parent.run_id]], parent.tick

    def _tables_of(self, state: State, spans: Sequence[Span]) -> list[int]:
        """The tables that were written in some spans."""
        found: dict[int, None] = {}
        for span in reversed(spans):
            branch = state.branches[state.keys[span.segment.world_id, span.segment.run_id]]
            found |= dict.fromkeys(one for one, standing in branch.tables.items() if standing.first <= span.last)
        return list(found)

    def worlds(self) -> tuple[WorldRecord, ...]:
        self._check_open()
        state = self._log.state()
        return tuple(
            WorldRecord(world_id, branch.segment.name, branch.segment.run_id, branch.last)
            for world_id, branch in ((one, state.branches[number]) for one, number in state.worlds.items())
        )

    def files(self, scan: Scan) -> tuple[str, ...]:
        del scan  # these are no Parquet files
        self._check_open()
        raise UnsupportedCapability(repr(self), Capability.FILES)

    # Keeping it small, and the end.

    def compact(self, progress: Callable[[int, int], None] | None = None) -> int:
        """Bring small pieces together and remove what nobody needs, now; the number of tables that had some."""
        self._check_open()
        return self._upkeep.run(whole=True, progress=progress)

    def _keep(self) -> None:
        if self._is_open:
            self._upkeep.try_run()

    def close(self) -> None:
        if os.getpid() != self._process or not self._is_open:
            return
        self._is_open = False
        self._end()

    def _check_open(self) -> None:
        if not self._is_open:
            raise StoreClosed(repr(self))
        if os.getpid() != self._process:
            raise StoreClosed(f"{self!r}, which another process opened, in its copy that fork made,")


def _by_table(ticks: Sequence[TickCommit]) -> dict[str, list[Write]]:
    found: dict[str, list[Write]] = {}
    for commit in ticks:
        for name, rows in commit.written.items():
            found.setdefault(name, []).append(Write(commit.tick, rows))
    return found


def _marks(ticks: Sequence[TickCommit]) -> Iterator[Mark]:
    known: tuple[int, tuple[str, ...]] | None = None
    for commit in ticks:
        told = (commit.next_entity_id, tuple(commit.applied))
        if told != known or told[1]:
            yield Mark(commit.tick, *told)
        known = told


def _check(state: State, ticks: Sequence[TickCommit]) -> None:
    first = ticks[0]
    segment = first.segment
    number = state.worlds.get(segment.world_id)
    head = None if number is None else state.branches[number]
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
        branch = None if above is None else state.branches[above]
        if branch is None or not branch.segment.first_tick <= segment.parent.tick <= branch.last:
            raise CommitError(f"segment {segment.run_id} grows from {segment.parent}, which this store does not hold")


def _finish(upkeep: Upkeep, chore: BackgroundTask) -> None:
    upkeep.stop()
    chore.stop()
