"""Sealing: moves ticks to the store beneath, many at once, and removes from the journal what that store has.

A crash between any two steps is harmless. First the store beneath commits. Then a small transaction registers how
far it got. Then the sealed rows are removed, a few at a time. Until the second step the ticks are still the journal's, and
the next sealing finds that the store has them already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from archetype_core.config import CacheConfig
from archetype_core.errors import ArchetypeError, CommitError, CorruptStore, TickConflict, WorldNotFound
from archetype_core.schema import Archetype, Column, Snapshot
from archetype_core.store import IS_ACTIVE, PublishingStore, Rows, Scan, Store, TickCommit, digest_table
from archetype_journal.catalog import CatalogUpdate, SegmentEntry
from archetype_journal.handle import JournalHandle
from archetype_journal.open_handles import chunk_owner
from archetype_journal.reader import SealedWrite, View
from archetype_journal.record import Place, TickRecord, pack, row_id

_ROWS_PER_DROP = 256
"""This many rows are removed in one transaction, so that commits find room in between."""


@dataclass(frozen=True, slots=True)
class _SealedSegment:
    """A segment, its last sealed tick, and the record that the journal keeps of that tick."""

    segment: int
    tick: int
    record: TickRecord


class Sealer:
    """Moves the ticks of worlds that no other open handle writes from a journal to the store beneath."""

    def __init__(self, handle: JournalHandle, store: Store, cache: CacheConfig) -> None:
        self._handle = handle
        self._store = store
        self._cache = cache
        self.conflicts: dict[str, TickConflict] = {}
        """By world: the conflict if another writer continued the world in the store beneath."""

    def seal(self) -> int:
        """Seal every tick, remove the sealed rows, and return the number of ticks.

        A world that fails does not keep the others from being sealed; the first failure is raised at the end.
        """
        done: dict[int, int] = {}
        count = 0
        failures: list[Exception] = []
        with self._handle.reader.read() as view:
            for unsealed in self._unsealed(view):
                try:
                    for entry, last in unsealed:
                        if last > done.get(entry.id, entry.sealed):
                            sealed = self._seal_segment(view, entry, last)
                            self._register(sealed)
                            count += sealed.tick - done.get(entry.id, entry.sealed)
                            done[entry.id] = sealed.tick
                except ArchetypeError as failure:
                    failures.append(failure)
        if isinstance(self._store, PublishingStore):
            try:
                self._store.publish()
            except ArchetypeError as failure:
                failures.append(failure)
        self._remove_sealed()
        if failures:
            raise failures[0]
        return count

    def _unsealed(self, view: View) -> Iterator[list[tuple[SegmentEntry, int]]]:
        """For each world, its segments with unsealed ticks and the last of these, ancestors first."""
        others = self._handle.other_tokens()
        for world_id in view.worlds:
            world = view.world(world_id)
            if world is not None and world.token not in others:
                active = view.segment(world.segment)
                lineage = list(view.lineage(active, active.last))
                yield [(one, last) for one, last in reversed(lineage) if last > one.sealed]

    def _seal_segment(self, view: View, entry: SegmentEntry, last: int) -> _SealedSegment:
        stored = last_stored_tick(self._store, entry)
        world_id = entry.segment.world_id
        if stored > entry.sealed and not self._has_same_ticks(view, entry, min(stored, entry.last)):
            self.conflicts[world_id] = TickConflict(world_id, stored + 1, entry.sealed + 1)
            raise self.conflicts[world_id]
        self.conflicts.pop(world_id, None)
        last = max(last, min(stored, entry.last))
        commits: list[TickCommit] = []
        rows = size = 0
        for commit in self._commits(view, entry, max(stored, entry.sealed) + 1, last):
            commits.append(commit)
            rows += sum(written.num_rows for written in commit.written.values())
            size += len(commit.continuation)
            # Bounds the memory that the commits take.
            if rows >= self._cache.rows or size >= self._cache.megabytes * 2**20:
                self._commit(commits)
                commits, rows, size = [], 0, 0
        self._commit(commits)
        record = view.record(entry, last)
        first = entry.first
        spans = {table: (begin - first, end - first) for table, (begin, end) in view.write_spans(entry, last).items()}
        # The bytes that the record may refer to are removed with the other sealed ones.
        kept = replace(
            record, continuation=view.continuation(entry, last), listed_at=last - first, writes={}, write_spans=spans
        )
        return _SealedSegment(entry.id, last, kept)

    def _has_same_ticks(self, view: View, entry: SegmentEntry, last: int) -> bool:
        """Whether the store's ticks after the last registered one are those of the journal.

        They are after an interrupted sealing. They differ if another journal continued the same world.
        """
        for commit in self._commits(view, entry, entry.sealed + 1, last):
            head = self._store.head(entry.segment.world_id, at=commit.tick)
            theirs = (head.attempt, head.next_entity_id, tuple(head.applied), head.continuation)
            if theirs != (commit.attempt, commit.next_entity_id, tuple(commit.applied), commit.continuation):
                return False
            # Carried tables are compared at the last tick only: they are the same at the ticks before.
            tables = dict(commit.tables() if commit.tick == last else commit.written.items())
            live = {name: rows.live.num_rows for name, rows in tables.items() if rows.live.num_rows}
            if not live.items() <= head.live.items() or (commit.tick == last and live != dict(head.live)):
                return False
            for name, rows in tables.items():
                ours = rows.to_arrow()
                scan = Scan(name, entry.segment, commit.tick, commit.tick, tuple(ours.column_names))
                found = pa.Table.from_batches(list(self._store.scan(scan)), scan.schema(rows.live.archetype.schema))
                if ours.num_rows != found.num_rows or digest_table(ours) != digest_table(found):
                    return False
        return True

    def _commit(self, commits: list[TickCommit]) -> None:
        if not self._handle.database.syncs_every_commit:
            # After a power cut the store beneath must not be ahead of the journal.
            self._handle.database.sync()
        try:
            self._store.commit(commits)
        except ArchetypeError:
            raise
        # An adapter may raise its engine's own errors.
        except Exception as failure:
            reason = f"{type(failure).__name__}: {failure}"
            raise CommitError(f"{self._store!r} could not commit: {reason}; its ticks stay in the journal") from failure

    def _commits(self, view: View, entry: SegmentEntry, first: int, last: int) -> Iterator[TickCommit]:
        cache: dict[Place, Column] = {}
        tables = view.tables(entry, last)
        live = {name for name in tables if self._is_live(view, entry, tables[name].id, first - 1)}
        for tick in range(first, last + 1):
            record = view.record(entry, tick)
            written: dict[str, Rows] = {}
            for table_id, write in record.writes.items():
                rows = view.rows(entry, table_id, tick, cache)
                name = view.catalog.table(table_id).name
                if not isinstance(rows, Rows):
                    raise CorruptStore(name, f"tick {tick} says that it wrote the table, but has no rows of it")
                written[name] = Rows(_decoded(rows.live), _decoded(rows.tombstones) if rows.tombstones else None)
                if write.live:
                    live.add(name)
                else:
                    live.discard(name)
            read = partial(self._carried_rows, view, entry, tick, cache)
            carried = _Carried(live - written.keys(), read)
            yield TickCommit(
                entry.segment,
                tick,
                written,
                record.next_entity_id,
                carried,
                record.applied,
                record.attempt,
                view.continuation(entry, tick),
            )

    def _carried_rows(
        self, view: View, entry: SegmentEntry, tick: int, cache: dict[Place, Column], name: str
    ) -> Snapshot:
        """The live rows of a table that a tick did not write."""
        table = view.tables(entry, tick)[name]
        rows = view.rows(entry, table.id, tick, cache)
        if isinstance(rows, SealedWrite):
            rows = read_sealed_rows(self._store, rows, table.schema, name)
        if rows is None:
            raise CorruptStore(name, f"it is live at tick {tick}, but has no rows")
        return _decoded(rows.live)

    def _is_live(self, view: View, entry: SegmentEntry, table_id: int, tick: int) -> bool:
        """Whether a table has live rows at a tick, which may be the last one of the segment's parent."""
        if tick < entry.first:
            parent = view.parent(entry)
            if parent is None:
                return False
            entry, tick = parent
        write = view.find_write(entry, table_id, tick)
        if isinstance(write, SealedWrite):
            table = view.catalog.table(table_id).name
            head = self._store.head(write.entry.segment.world_id, at=write.tick)
            return bool(head.live.get(table))
        return write is not None and write[2].live > 0

    def _register(self, sealed: _SealedSegment) -> None:
        """Record how far the store beneath got."""
        database = self._handle.database
        with database.translated_errors(), database.write_lock, database.transaction() as connection:
            update = CatalogUpdate(self._handle.catalog, connection)
            entry = update.segment(sealed.segment)
            if entry.sealed < sealed.tick:
                update.advance_segment(entry, sealed=sealed.tick)
                number = row_id(entry.id, sealed.tick - entry.first)
                connection.execute("UPDATE tick SET record = ? WHERE id = ?", (pack(number, sealed.record), number))
            update.finish()

    def _remove_sealed(self) -> None:
        """Remove the rows of sealed ticks, and the chunk files, that no unsealed tick refers to."""
        with self._handle.reader.read() as view:
            entries = view.segments()
            used = set(_used_sources(view, entries, {}))
            rows = [number for entry in entries for number in view.sealed_row_ids(entry) if number not in used]
            files = [number for number in view.file_ids() if -number not in used]
            lasts = {entry.id: entry.last for entry in entries}
        for begin in range(0, max(len(rows), bool(files)), _ROWS_PER_DROP):
            self._remove(rows[begin : begin + _ROWS_PER_DROP], [] if begin else files, lasts)

    def _remove(self, rows: list[int], files: list[int], lasts: Mapping[int, int]) -> None:
        database = self._handle.database
        with database.translated_errors(), database.write_lock:
            with database.transaction() as connection:
                update = CatalogUpdate(self._handle.catalog, connection)
                view = View(database.path, self._handle.catalog, connection, update.before)
                entries = view.segments()
                # Ticks that were committed since may refer to rows that were unused.
                used = set(_used_sources(view, entries, lasts))
                kept = {row_id(one.id, one.sealed - one.first) for one in entries}
                for number in rows:
                    if number in kept:
                        if number not in used:
                            connection.execute("UPDATE tick SET data = NULL WHERE id = ?", (number,))
                    elif number not in used:
                        connection.execute("DELETE FROM tick WHERE id = ?", (number,))
                names = self._removable_files(view, [number for number in files if -number not in used])
                for number in names:
                    connection.execute("DELETE FROM file WHERE id = ?", (number,))
                update.raise_generation()
                update.finish()
            # The write lock is still held: no commit can begin to refer to these files.
            for name in names.values():
                (database.path / name).unlink(missing_ok=True)

    def _removable_files(self, view: View, numbers: Iterable[int]) -> dict[int, str]:
        """Those of some chunk files that no open handle appends to, by id."""
        others = self._handle.other_tokens()
        named = {number: view.file_name(number) for number in numbers}
        return {
            number: name
            for number, name in named.items()
            if name != self._handle.writer.current_file and chunk_owner(name) not in others
        }


class _Carried(Mapping[str, Snapshot]):
    """The live tables that a tick did not write, read only when the store beneath asks for them."""

    def __init__(self, names: Iterable[str], read: Callable[[str], Snapshot]) -> None:
        self._names = frozenset(names)
        self._read = read

    def __getitem__(self, name: str) -> Snapshot:
        if name not in self._names:
            raise KeyError(name)
        return self._read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._names))

    def __len__(self) -> int:
        return len(self._names)


def _decoded(snapshot: Snapshot) -> Snapshot:
    """A snapshot with every column decoded, so that it outlives its view."""
    return snapshot.with_columns({})


def _used_sources(view: View, entries: Iterable[SegmentEntry], lasts: Mapping[int, int]) -> Iterator[int]:
    """The sources that unsealed ticks refer to; of each segment only the ticks after ``lasts``."""
    for entry in entries:
        for tick in range(max(entry.sealed, lasts.get(entry.id, entry.sealed)) + 1, entry.last + 1):
            record = view.record(entry, tick)
            for write in record.writes.values():
                yield from (place[0] for place in write.places)
            if not isinstance(record.continuation, bytes):
                yield record.continuation[0]


def last_stored_tick(store: Store, entry: SegmentEntry) -> int:
    """The last tick of a segment that a store has; the one before the segment's first if it has none."""
    segment = entry.segment
    try:
        timeline = store.timeline(segment.world_id)
    except WorldNotFound:
        return entry.first - 1
    for span in timeline.spans:
        if (span.segment.world_id, span.segment.run_id) == (segment.world_id, segment.run_id):
            if span.segment != segment:
                raise CorruptStore(repr(store), f"it holds {span.segment}, and the journal holds {segment}")
            return span.last
    return entry.first - 1


def read_sealed_rows(store: Store, write: SealedWrite, schema: pa.Schema, table: str) -> Rows | None:
    """The rows of a sealed write; with its tombstones only if its tick is the requested one."""
    archetype = Archetype.from_schema(schema)
    columns = (*archetype.schema.names, IS_ACTIVE)
    scan = Scan(table, write.entry.segment, write.tick, write.tick, columns)
    found = pa.Table.from_batches(list(store.scan(scan)), scan.schema(archetype.schema))
    is_active = found.column(IS_ACTIVE)
    live = Snapshot.from_arrow(archetype, found.filter(is_active).drop_columns([IS_ACTIVE]))
    if not write.is_requested_tick:
        return Rows(live) if live.num_rows else None
    tombstones = Snapshot.from_arrow(archetype, found.filter(pc.invert(is_active)).drop_columns([IS_ACTIVE]))
    return Rows(live, tombstones if tombstones.num_rows else None) if found.num_rows else None
