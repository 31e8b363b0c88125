"""Writes ticks: encodes the columns that are new, decides where their bytes go, and writes the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from weakref import WeakKeyDictionary

import pyarrow as pa

from archetype_core.errors import CommitError, TickConflict
from archetype_core.schema import Column, Snapshot
from archetype_core.store import TickCommit
from archetype_journal import chunk
from archetype_journal.catalog import CatalogUpdate, SegmentEntry, WorldEntry
from archetype_journal.open_handles import OwnerFile
from archetype_journal.reader import View
from archetype_journal.record import Continuation, Place, TableWrite, TickRecord, pack, row_id

MAX_ROW_BYTES = 256 * 1024
"""More new bytes than this go into a chunk file: SQLite writes a blob twice, to its log and to the database."""

_MAX_INLINE_BYTES = 1024
"""A longer continuation lies beside the new columns, so that records, which are read often, stay small."""
_TABLES_PER_TICK = 8
"""A tick with few tables lists every table's write span; with n tables, all spans are listed about once every n/8 ticks."""
_MAX_STATES = 4096


@dataclass(frozen=True, slots=True)
class _NewPiece:
    """A column or continuation that a commit writes, and where its bytes are."""

    tick: int
    """Index of the tick within the commit."""
    piece: int
    """Index of the buffer within the tick's bytes."""
    offset: int
    """Offset within that buffer."""
    encoding: int


@dataclass(slots=True)
class _PreparedTick:
    """One tick, encoded: its new bytes, and a place for every column of every table and for a long continuation."""

    commit: TickCommit
    pieces: list[pa.Buffer] = field(default_factory=list)
    checksums: list[int] = field(default_factory=list)
    size: int = 0
    file: tuple[str, int] | None = None
    """The chunk file that has the bytes, and their offset; ``None`` if they go into the row."""
    writes: list[tuple[str, pa.Schema, int, int, list[Place | _NewPiece]]] = field(default_factory=list)
    """For each table: name, schema, live rows, tombstones, places."""
    continuation: bytes | _NewPiece = b""

    def add(self, index: int, data: pa.Buffer, encoding: int) -> _NewPiece:
        """Add new bytes; ``index`` is that of the tick within its commit."""
        piece = _NewPiece(index, len(self.pieces), self.size, encoding)
        self.pieces.append(data)
        self.size += data.size
        return piece


@dataclass(slots=True)
class PreparedCommit:
    """A commit that is encoded and waits for its transaction; its chunk files are on disk already."""

    generation: int
    """The generation when this was prepared; in a later one the places it refers to may be removed."""
    ticks: list[_PreparedTick] = field(default_factory=list)
    columns: dict[Column, _NewPiece] = field(default_factory=dict)

    # Set by `Writer.write`, valid once the transaction is committed.
    entry: SegmentEntry | None = None
    write_spans: dict[int, tuple[int, int]] = field(default_factory=dict)
    listed_at: int = 0
    file_ids: dict[str, int] = field(default_factory=dict)

    @property
    def world_id(self) -> str:
        """The id of the world that it continues."""
        return self.ticks[0].commit.segment.world_id

    @property
    def last(self) -> int:
        """Its last tick."""
        return self.ticks[-1].commit.tick

    @property
    def row_bytes(self) -> int:
        """About how many bytes go into the database."""
        return sum(tick.size for tick in self.ticks if tick.file is None)

    @property
    def volume(self) -> tuple[int, int]:
        """How many rows it writes, and how many bytes are new."""
        rows = sum(live + tombstones for tick in self.ticks for _, _, live, tombstones, _ in tick.writes)
        return rows, sum(tick.size for tick in self.ticks)

    def _source(self, entry: SegmentEntry, index: int) -> int:
        tick = self.ticks[index]
        if tick.file is not None:
            return -self.file_ids[tick.file[0]]
        return row_id(entry.id, tick.commit.tick - entry.first)

    def stored_continuation(self, entry: SegmentEntry, tick: _PreparedTick) -> Continuation:
        """The continuation of a tick of this commit, or its place in the journal."""
        found = tick.continuation
        return self.stored_place(entry, found) if isinstance(found, _NewPiece) else found

    def stored_place(self, entry: SegmentEntry, place: Place | _NewPiece) -> Place:
        """The place of a column in the journal, also of one that this commit writes."""
        if not isinstance(place, _NewPiece):
            return place
        tick = self.ticks[place.tick]
        offset = place.offset if tick.file is None else tick.file[1] + place.offset
        source = self._source(entry, place.tick)
        return (source, offset, tick.pieces[place.piece].size, tick.checksums[place.piece], place.encoding)


@dataclass(slots=True)
class _SegmentState:
    """The write spans of a segment as of its last tick, kept by the handle that writes it."""

    last: int
    write_spans: dict[int, tuple[int, int]]
    listed_at: int


class Writer:
    """Encodes commits and writes their rows. A column object that was written before is not written again."""

    def __init__(self, directory: Path, owner_file: OwnerFile) -> None:
        self._directory = directory
        self._owner_file = owner_file
        self._file = chunk.ChunkFile(directory, owner_file.token)
        self._file_ids: dict[str, int] = {}
        self._written: WeakKeyDictionary[Column, Place] = WeakKeyDictionary()
        self._states: dict[int, _SegmentState] = {}
        self._generation = 0

    @property
    def current_file(self) -> str:
        """The name of the chunk file that large columns are appended to."""
        return self._file.name

    def close(self) -> None:
        """Close the chunk file; idempotent."""
        self._file.close()

    def prepare(self, ticks: Sequence[TickCommit]) -> PreparedCommit:
        """Encode the new columns, and sync large ones to a chunk file. Several threads may prepare at once."""
        prepared = PreparedCommit(self._generation)
        for index, commit in enumerate(ticks):
            tick = _PreparedTick(commit)
            prepared.ticks.append(tick)
            for name, rows in commit.written.items():
                places = self._places(prepared, index, rows.live)
                tombstones = rows.tombstones.num_rows if rows.tombstones is not None else 0
                if rows.tombstones is not None and tombstones:
                    places += self._places(prepared, index, rows.tombstones)
                tick.writes.append((name, rows.live.archetype.schema, rows.live.num_rows, tombstones, places))
            tick.continuation = commit.continuation
            if len(commit.continuation) > _MAX_INLINE_BYTES:
                tick.continuation = tick.add(index, pa.py_buffer(commit.continuation), chunk.RAW_VALUES)
            if tick.size > MAX_ROW_BYTES:
                file, begin, tick.checksums = self._file.append(tick.pieces)
                tick.file = (file, begin)
            else:
                tick.checksums = [chunk.checksum(piece) for piece in tick.pieces]
        return prepared

    def _places(self, prepared: PreparedCommit, index: int, rows: Snapshot) -> list[Place | _NewPiece]:
        if not rows.num_rows:
            return []
        tick = prepared.ticks[index]
        places: list[Place | _NewPiece] = []
        for field_index, name in enumerate(rows.archetype.schema.names):
            column = rows.columns[name]
            place = self._written.get(column) or prepared.columns.get(column)
            if place is None:
                encoding, data = chunk.encode(column.arrow, rows.archetype.schema.field(field_index))
                place = prepared.columns[column] = tick.add(index, data, encoding)
            places.append(place)
        return places

    def is_stale(self, view: View, generation: int, prepared: PreparedCommit) -> bool:
        """Whether a row or file that a prepared commit refers to has been removed since."""
        if prepared.generation == generation:
            return False
        places = [place for tick in prepared.ticks for write in tick.writes for place in write[4]]
        sources = {place[0] for place in places if not isinstance(place, _NewPiece)}
        files = {tick.file[0] for tick in prepared.ticks if tick.file is not None}
        return not (all(map(view.has_source, sources)) and all((self._directory / name).exists() for name in files))

    def forget_removed(self, view: View, generation: int) -> None:
        """Stop referring to rows and files that were removed."""
        if generation == self._generation:
            return
        written = list(self._written.items())
        present = {source for source in {place[0] for _, place in written} if view.has_source(source)}
        for column, place in written:
            if place[0] not in present:
                self._written.pop(column, None)
        self._file_ids = {name: number for name, number in self._file_ids.items() if view.has_source(-number)}
        self._states.clear()
        self._generation = generation

    def write(self, update: CatalogUpdate, view: View, prepared: PreparedCommit) -> None:
        """Check that a commit is its world's next one, and write its rows; inside a transaction."""
        ticks = [tick.commit for tick in prepared.ticks]
        entry, world = check_next(update, ticks)
        segment, last = ticks[0].segment, ticks[-1].tick
        if entry is None:
            entry = update.add_segment(segment, last)
            state = _SegmentState(entry.first - 1, {}, entry.first - 1)
        else:
            state = self._state(view, entry)
            entry = update.advance_segment(entry, last=last)
        for tick in prepared.ticks:
            if tick.file is not None:
                name = tick.file[0]
                number = self._file_ids.get(name) or prepared.file_ids.get(name)
                prepared.file_ids[name] = number or update.add_file(name)
        touched, listed_at = prepared.write_spans, state.listed_at
        for tick in prepared.ticks:
            number = tick.commit.tick
            writes: dict[int, TableWrite] = {}
            for name, schema, live, tombstones, places in tick.writes:
                table = update.table_id(name, schema)
                span = touched.get(table) or state.write_spans.get(table)
                touched[table] = (span[0] if span else number, number)
                stored = tuple(prepared.stored_place(entry, place) for place in places)
                writes[table] = TableWrite(live, tombstones, stored)
            spans = None
            if number == entry.first or number - listed_at > len(state.write_spans) // _TABLES_PER_TICK:
                listed_at = number
                known = {**state.write_spans, **touched}
                spans = {table: (begin - entry.first, end - entry.first) for table, (begin, end) in known.items()}
            commit, row = tick.commit, row_id(entry.id, number - entry.first)
            listed = listed_at - entry.first
            continuation = prepared.stored_continuation(entry, tick)
            record = TickRecord(
                commit.next_entity_id, commit.applied, commit.attempt, continuation, listed, writes, spans
            )
            update.add_tick(row, pack(row, record), b"".join(tick.pieces) if tick.file is None else None)
        update.set_writer(world, segment.world_id, entry.id, self._owner_file.name, self._owner_file.token)
        prepared.entry, prepared.listed_at = entry, listed_at

    def after_commit(self, prepared: PreparedCommit) -> None:
        """Remember where the new columns are, once their transaction is committed."""
        entry = prepared.entry
        assert entry is not None
        for column, new in prepared.columns.items():
            self._written[column] = prepared.stored_place(entry, new)
        self._file_ids.update(prepared.file_ids)
        state = self._states.pop(entry.id, None)
        if state is None:
            state = _SegmentState(entry.last, {}, entry.first - 1)
        state.last, state.listed_at = entry.last, prepared.listed_at
        state.write_spans.update(prepared.write_spans)
        self._states[entry.id] = state
        if len(self._states) > _MAX_STATES:
            del self._states[next(iter(self._states))]

    def _state(self, view: View, entry: SegmentEntry) -> _SegmentState:
        """The write spans of a segment; read if another handle wrote its last tick."""
        state = self._states.get(entry.id)
        if state is None or state.last != entry.last:
            # When they were last listed is not looked up: the next tick lists them.
            state = _SegmentState(entry.last, dict(view.write_spans(entry, entry.last)), entry.first - 1)
            self._states[entry.id] = state
        return state


def check_next(update: CatalogUpdate, ticks: Sequence[TickCommit]) -> tuple[SegmentEntry | None, WorldEntry | None]:
    """The stored segment and world that these ticks continue, if there are any.

    Called inside the transaction, so that no other handle can pass the same check: ``TickConflict`` if the ticks do not
    follow the world's last one.
    """
    first = ticks[0]
    segment, parent = first.segment, first.segment.parent
    world = update.world(segment.world_id)
    active = update.segment(world.segment) if world else None
    last = active.last if active else parent.tick if parent else segment.first_tick - 1
    conflict = TickConflict(segment.world_id, last + 1, first.tick, world.owner if world else None)
    if first.tick != last + 1:
        raise conflict
    if active is not None and active.segment == segment:
        return active, world
    known = update.find_segment(segment.world_id, segment.run_id)
    if active is not None:
        end = (segment.world_id, active.segment.run_id)
        is_next = known is None and parent is not None and (parent.world_id, parent.run_id) == end
        if not is_next:
            raise conflict
    elif parent is not None:
        origin = update.find_segment(parent.world_id, parent.run_id)
        if origin is None or not origin.first <= parent.tick <= origin.last:
            raise CommitError(
                f"segment {segment.run_id} starts from {parent}, which this store does not hold: "
                "commit the parent's ticks to it first"
            )
    return known, world
