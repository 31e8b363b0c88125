"""Writing ticks: which columns are new, where their bytes go, and the rows that say so."""

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
from archetype_journal.catalog import Entry, SegmentEntry, Tenure
from archetype_journal.open_handles import Presence
from archetype_journal.reader import View
from archetype_journal.record import Part, Place, TickRecord, pack, row_id

INLINE_BYTES = 256 * 1024
"""Above this a file, appended to and synced first, is cheaper than a blob, which goes to disk twice."""

_TABLES_PER_TICK = 8
"""All tables are listed in every tick if there are few, and the less often the more there are."""
_BOOKS = 4096


@dataclass(frozen=True, slots=True)
class _New:
    """Bytes of a commit that is being made: which of its ticks holds them, which of its pieces, and where."""

    tick: int
    piece: int
    offset: int
    form: int


@dataclass(slots=True)
class _Draft:
    """One tick made ready: its new bytes, and a place for every column of every table."""

    commit: TickCommit
    pieces: list[pa.Buffer] = field(default_factory=list)
    sums: list[int] = field(default_factory=list)
    size: int = 0
    file: tuple[str, int] | None = None
    """The file that the bytes were appended to, and where."""
    parts: list[tuple[str, pa.Schema, int, int, list[Place | _New]]] = field(default_factory=list)


@dataclass(slots=True)
class Prepared:
    """A commit made ready outside of any transaction: bytes encoded, large ones on disk."""

    generation: int
    """As of when the places that it refers to were there."""
    drafts: list[_Draft] = field(default_factory=list)
    columns: dict[Column, _New] = field(default_factory=dict)

    # Known once it is stored, and true once the transaction is through.
    branch: SegmentEntry | None = None
    touched: dict[int, tuple[int, int]] = field(default_factory=dict)
    listed: int = 0
    files: dict[str, int] = field(default_factory=dict)

    @property
    def world_id(self) -> str:
        return self.drafts[0].commit.segment.world_id

    @property
    def size(self) -> int:
        """About how many bytes go into the database."""
        return sum(draft.size for draft in self.drafts if draft.file is None)

    @property
    def bulk(self) -> tuple[int, int]:
        """The rows that it wrote and the bytes that were new."""
        rows = sum(live + gone for draft in self.drafts for _, _, live, gone, _ in draft.parts)
        return rows, sum(draft.size for draft in self.drafts)

    def source(self, branch: SegmentEntry, tick: int) -> int:
        """Where the new bytes of one of its ticks are: a row, or a file."""
        draft = self.drafts[tick]
        if draft.file is not None:
            return -self.files[draft.file[0]]
        return row_id(branch.id, draft.commit.tick - branch.first)

    def place(self, branch: SegmentEntry, place: Place | _New) -> Place:
        """A place as it is stored."""
        if not isinstance(place, _New):
            return place
        draft = self.drafts[place.tick]
        offset = place.offset if draft.file is None else draft.file[1] + place.offset
        source = self.source(branch, place.tick)
        return (source, offset, draft.pieces[place.piece].size, draft.sums[place.piece], place.form)


@dataclass(slots=True)
class _Book:
    """The tables of a segment that this handle writes, as of its last tick."""

    last: int
    entries: dict[int, tuple[int, int]]
    listed: int


class Writer:
    """Turns commits into rows. A column object that was written before is referred to, not written again."""

    def __init__(self, directory: Path, presence: Presence) -> None:
        self._directory = directory
        self._presence = presence
        self._file = chunk.ChunkFile(directory, presence.token)
        self._files: dict[str, int] = {}
        self._written: WeakKeyDictionary[Column, Place] = WeakKeyDictionary()
        self._books: dict[int, _Book] = {}
        self._generation = 0

    @property
    def current_file(self) -> str:
        """The name of the file that large columns are being appended to."""
        return self._file.name

    def close(self) -> None:
        """Let go of the file; idempotent."""
        self._file.close()

    def prepare(self, ticks: Sequence[TickCommit]) -> Prepared:
        """Encode everything new and sync what is large; nothing refers to it yet. Several threads may do so at once."""
        prepared = Prepared(self._generation)
        for index, commit in enumerate(ticks):
            draft = _Draft(commit)
            prepared.drafts.append(draft)
            for name, rows in commit.written.items():
                places = self._places(prepared, index, rows.live)
                gone = rows.tombstones.num_rows if rows.tombstones is not None else 0
                if rows.tombstones is not None and gone:
                    places += self._places(prepared, index, rows.tombstones)
                draft.parts.append((name, rows.live.archetype.schema, rows.live.num_rows, gone, places))
            if draft.size > INLINE_BYTES:
                file, begin, draft.sums = self._file.append(draft.pieces)
                draft.file = (file, begin)
            else:
                draft.sums = [chunk.checksum(piece) for piece in draft.pieces]
        return prepared

    def _places(self, prepared: Prepared, tick: int, rows: Snapshot) -> list[Place | _New]:
        if not rows.num_rows:
            return []
        draft = prepared.drafts[tick]
        places: list[Place | _New] = []
        for index, name in enumerate(rows.archetype.schema.names):
            column = rows.columns[name]
            place = self._written.get(column) or prepared.columns.get(column)
            if place is None:
                form, data = chunk.encode(column.arrow, rows.archetype.schema.field(index))
                place = prepared.columns[column] = _New(tick, len(draft.pieces), draft.size, form)
                draft.pieces.append(data)
                draft.size += data.size
            places.append(place)
        return places

    def is_stale(self, view: View, generation: int, prepared: Prepared) -> bool:
        """Whether something that a prepared commit refers to has been let go of since."""
        if prepared.generation == generation:
            return False
        places = [place for draft in prepared.drafts for part in draft.parts for place in part[4]]
        sources = {place[0] for place in places if not isinstance(place, _New)}
        files = {draft.file[0] for draft in prepared.drafts if draft.file is not None}
        return not (all(map(view.has, sources)) and all((self._directory / name).exists() for name in files))

    def forget(self, view: View, generation: int) -> None:
        """Stop referring to what is no longer there."""
        if generation == self._generation:
            return
        written = list(self._written.items())
        there = {source for source in {place[0] for _, place in written} if view.has(source)}
        for column, place in written:
            if place[0] not in there:
                self._written.pop(column, None)
        self._files = {name: number for name, number in self._files.items() if view.has(-number)}
        self._books.clear()
        self._generation = generation

    def store(self, entry: Entry, view: View, prepared: Prepared) -> None:
        """Check that a prepared commit is due, and write its rows; inside a transaction."""
        ticks = [draft.commit for draft in prepared.drafts]
        branch, tenure = due(entry, ticks)
        segment, last = ticks[0].segment, ticks[-1].tick
        if branch is None:
            branch = entry.open(segment, last)
            book = _Book(branch.first - 1, {}, branch.first - 1)
        else:
            book = self._book(view, branch)
            branch = entry.advance(branch, last=last)
        for draft in prepared.drafts:
            if draft.file is not None:
                name = draft.file[0]
                prepared.files[name] = self._files.get(name) or prepared.files.get(name) or entry.file(name)
        touched, listed = prepared.touched, book.listed
        for draft in prepared.drafts:
            tick = draft.commit.tick
            parts: dict[int, Part] = {}
            for name, schema, live, gone, places in draft.parts:
                form = entry.form(name, schema)
                begun = touched.get(form) or book.entries.get(form)
                touched[form] = (begun[0] if begun else tick, tick)
                parts[form] = Part(live, gone, tuple(prepared.place(branch, place) for place in places))
            entries = None
            if tick == branch.first or tick - listed > len(book.entries) // _TABLES_PER_TICK:
                listed = tick
                known = {**book.entries, **touched}
                entries = {form: (begin - branch.first, end - branch.first) for form, (begin, end) in known.items()}
            commit, number = draft.commit, row_id(branch.id, tick - branch.first)
            record = TickRecord(commit.next_entity_id, commit.applied, listed - branch.first, parts, entries)
            entry.write(number, pack(number, record), b"".join(draft.pieces) if draft.file is None else None)
        entry.hold(tenure, segment.world_id, branch.id, self._presence.name, self._presence.token)
        prepared.branch, prepared.listed = branch, listed

    def committed(self, prepared: Prepared) -> None:
        """Remember where the new columns are, now that they are there for good."""
        branch = prepared.branch
        assert branch is not None
        for column, new in prepared.columns.items():
            self._written[column] = prepared.place(branch, new)
        self._files.update(prepared.files)
        book = self._books.pop(branch.id, None)
        if book is None:
            book = _Book(branch.last, {}, branch.first - 1)
        book.last, book.listed = branch.last, prepared.listed
        book.entries.update(prepared.touched)
        self._books[branch.id] = book
        if len(self._books) > _BOOKS:
            del self._books[next(iter(self._books))]

    def _book(self, view: View, branch: SegmentEntry) -> _Book:
        """The tables of a segment; read where this handle did not write its last tick."""
        book = self._books.get(branch.id)
        if book is None or book.last != branch.last:
            # Its lists are not looked for: the next tick writes one.
            book = _Book(branch.last, dict(view.book(branch, branch.last)), branch.first - 1)
            self._books[branch.id] = book
        return book


def due(entry: Entry, ticks: Sequence[TickCommit]) -> tuple[SegmentEntry | None, Tenure | None]:
    """The segment that these ticks go on with, if it is there, and who holds the world.

    Asked inside the transaction, where nobody else can answer too: ``TickConflict`` if they do not follow the world's last.
    """
    first = ticks[0]
    segment, parent = first.segment, first.segment.parent
    tenure = entry.tenure(segment.world_id)
    active = entry.branch(tenure.segment) if tenure else None
    last = active.last if active else parent.tick if parent else segment.first_tick - 1
    conflict = TickConflict(segment.world_id, last + 1, first.tick, tenure.owner if tenure else None)
    if first.tick != last + 1:
        raise conflict
    if active is not None and active.segment == segment:
        return active, tenure
    known = entry.find(segment.world_id, segment.run_id)
    if active is not None:
        end = (segment.world_id, active.segment.run_id)
        is_next = known is None and parent is not None and (parent.world_id, parent.run_id) == end
        if not is_next:
            raise conflict
    elif parent is not None:
        grown = entry.find(parent.world_id, parent.run_id)
        if grown is None or not grown.first <= parent.tick <= grown.last:
            raise CommitError(f"segment {segment.run_id} grows from {parent}, which this store does not hold")
    return known, tenure
