"""Handing ticks over to the store beneath: many at once, in the background, and letting go of what it has.

The order makes every instant safe to die at. The store beneath commits; then a small transaction says how far it got; then
the rows it took the place of are dropped, a few at a time. Until the second step the ticks are still the journal's, and a
hand-over that was cut off there is found complete by the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from archetype_core.errors import ArchetypeError, CommitError, CorruptStore, TickConflict, WorldNotFound
from archetype_core.schema import Archetype, Column, Snapshot
from archetype_core.store import IS_ACTIVE, Rows, Scan, Store, TickCommit, digest_table
from archetype_journal.catalog import Entry, SegmentEntry
from archetype_journal.open_handles import owner_of
from archetype_journal.open_journal import OpenJournal
from archetype_journal.reader import Beneath, View
from archetype_journal.record import Place, TickRecord, pack, row_id

_SLICE = 256
"""So many rows are dropped at a time, with room for ticks in between."""


@dataclass(frozen=True, slots=True)
class _Sealed:
    """How far a segment is in the store beneath, and what is kept here of its ticks up to there."""

    segment: int
    tick: int
    keyframe: TickRecord


class Sealer:
    """Moves the ticks of worlds that nobody else is writing from a journal to the store beneath."""

    def __init__(self, handle: OpenJournal, store: Store, rows: int) -> None:
        self._handle = handle
        self._store = store
        self._rows = rows
        self.conflicts: dict[str, TickConflict] = {}
        """The worlds that somebody else went on with in the store beneath, not through this journal."""

    def seal(self) -> int:
        """Hand over all there is, and drop it; the number of ticks that went.

        What one world cannot get rid of does not keep the others; its failure is raised at the end.
        """
        done: dict[int, int] = {}
        count = 0
        failures: list[Exception] = []
        with self._handle.reader.read() as view:
            for line in self._due(view):
                try:
                    for branch, last in line:
                        if last > done.get(branch.id, branch.sealed):
                            sealed = self._hand_over(view, branch, last)
                            self._settle(sealed)
                            count += sealed.tick - done.get(branch.id, branch.sealed)
                            done[branch.id] = sealed.tick
                except ArchetypeError as failure:
                    failures.append(failure)
        self._sweep()
        if failures:
            raise failures[0]
        return count

    def _due(self, view: View) -> Iterator[list[tuple[SegmentEntry, int]]]:
        """The segments with ticks to hand over and the last of these, by world; what a segment grew from comes before it."""
        others = self._handle.others()
        for world_id in view.worlds:
            tenure = view.tenure(world_id)
            if tenure is not None and tenure.token not in others:
                active = view.branch(tenure.segment)
                line = list(view.lineage(active, active.last))
                yield [(one, last) for one, last in reversed(line) if last > one.sealed]

    def _hand_over(self, view: View, branch: SegmentEntry, last: int) -> _Sealed:
        there = held(self._store, branch)
        world_id = branch.segment.world_id
        if there > branch.sealed and not self._is_ours(view, branch, min(there, branch.last)):
            self.conflicts[world_id] = TickConflict(world_id, there + 1, branch.sealed + 1)
            raise self.conflicts[world_id]
        self.conflicts.pop(world_id, None)
        last = max(last, min(there, branch.last))
        commits: list[TickCommit] = []
        waiting = 0
        for commit in self._commits(view, branch, max(there, branch.sealed) + 1, last):
            commits.append(commit)
            waiting += sum(rows.num_rows for rows in commit.written.values())
            # So that no more than this is in memory at a time.
            if waiting >= self._rows:
                self._commit(commits)
                commits, waiting = [], 0
        self._commit(commits)
        record = view.record(branch, last)
        first = branch.first
        entries = {form: (begin - first, end - first) for form, (begin, end) in view.book(branch, last).items()}
        return _Sealed(branch.id, last, TickRecord(record.next_entity_id, record.applied, last - first, {}, entries))

    def _is_ours(self, view: View, branch: SegmentEntry, last: int) -> bool:
        """Whether what the store has after the ticks that were said to be handed over is what waits here.

        A hand-over that was cut off leaves that behind; so does another journal from which the same world was gone on with,
        and then it is something else.
        """
        for commit in self._commits(view, branch, branch.sealed + 1, last):
            head = self._store.head(branch.segment.world_id, at=commit.tick)
            if (head.next_entity_id, tuple(head.applied)) != (commit.next_entity_id, tuple(commit.applied)):
                return False
            # What a tick did not write it shows as the one before did; that is looked at where it ends.
            tables = dict(commit.tables() if commit.tick == last else commit.written.items())
            live = {name: rows.live.num_rows for name, rows in tables.items() if rows.live.num_rows}
            if not live.items() <= head.live.items() or (commit.tick == last and live != dict(head.live)):
                return False
            for name, rows in tables.items():
                here = rows.to_arrow()
                scan = Scan(name, branch.segment, commit.tick, commit.tick, tuple(here.column_names))
                there = pa.Table.from_batches(list(self._store.scan(scan)), scan.schema(rows.live.archetype.schema))
                if here.num_rows != there.num_rows or digest_table(here) != digest_table(there):
                    return False
        return True

    def _commit(self, commits: list[TickCommit]) -> None:
        if not self._handle.database.waits:
            # The store beneath must not outlive what it got its ticks from: after a power cut it would be ahead.
            self._handle.database.sync()
        try:
            self._store.commit(commits)
        except ArchetypeError:
            raise
        # A store is an adapter over an engine with errors of its own, which are not the journal's.
        except Exception as failure:
            raise CommitError(f"{self._store!r} took nothing: {type(failure).__name__}: {failure}") from failure

    def _commits(self, view: View, branch: SegmentEntry, first: int, last: int) -> Iterator[TickCommit]:
        kept: dict[Place, Column] = {}
        tables = view.tables(branch, last)
        standing = {name for name in tables if self._stands(view, branch, tables[name].id, first - 1)}
        for tick in range(first, last + 1):
            record = view.record(branch, tick)
            written: dict[str, Rows] = {}
            for form, part in record.parts.items():
                rows = view.rows(branch, form, tick, kept)
                name = view.catalog.table(form).name
                if not isinstance(rows, Rows):
                    raise CorruptStore(name, f"tick {tick} says it wrote it, and did not")
                written[name] = Rows(_read(rows.live), _read(rows.tombstones) if rows.tombstones else None)
                if part.live:
                    standing.add(name)
                else:
                    standing.discard(name)
            idle = partial(self._standing, view, branch, tick, kept)
            carried = _Carried(standing - written.keys(), idle)
            yield TickCommit(branch.segment, tick, written, record.next_entity_id, carried, record.applied)

    def _standing(self, view: View, branch: SegmentEntry, tick: int, kept: dict[Place, Column], name: str) -> Snapshot:
        """The rows of a table that a tick did not write."""
        table = view.tables(branch, tick)[name]
        rows = view.rows(branch, table.id, tick, kept)
        if isinstance(rows, Beneath):
            rows = rows_beneath(self._store, rows, table.schema, name)
        if rows is None:
            raise CorruptStore(name, f"it stands at tick {tick}, and has no rows")
        return _read(rows.live)

    def _stands(self, view: View, branch: SegmentEntry, form: int, tick: int) -> bool:
        """Whether a table has active rows at the tick before the first that goes."""
        if tick < branch.first:
            grown = view.parent(branch)
            if grown is None:
                return False
            branch, tick = grown
        found = view.part(branch, form, tick)
        if isinstance(found, Beneath):
            table = view.catalog.table(form).name
            head = self._store.head(found.branch.segment.world_id, at=found.tick)
            return bool(head.live.get(table))
        return found is not None and found[2].live > 0

    def _settle(self, sealed: _Sealed) -> None:
        """Say how far the store beneath got."""
        database = self._handle.database
        with database.told(), database.writing, database.transaction() as connection:
            entry = Entry(self._handle.reader.catalog, connection)
            branch = entry.branch(sealed.segment)
            if branch.sealed < sealed.tick:
                entry.advance(branch, sealed=sealed.tick)
                number = row_id(branch.id, sealed.tick - branch.first)
                connection.execute("UPDATE tick SET record = ? WHERE id = ?", (pack(number, sealed.keyframe), number))
            entry.finish()

    def _sweep(self) -> None:
        """Drop the rows of sealed ticks that nothing refers to, and files likewise."""
        with self._handle.reader.read() as view:
            branches = view.branches()
            used = set(_sources(view, branches, {}))
            rows = [number for branch in branches for number in view.sealed_rows(branch) if number not in used]
            files = [number for number in view.file_numbers() if -number not in used]
            lasts = {branch.id: branch.last for branch in branches}
        for begin in range(0, max(len(rows), bool(files)), _SLICE):
            self._drop(rows[begin : begin + _SLICE], [] if begin else files, lasts)

    def _drop(self, rows: list[int], files: list[int], lasts: Mapping[int, int]) -> None:
        database = self._handle.database
        with database.told(), database.writing:
            with database.transaction() as connection:
                entry = Entry(self._handle.reader.catalog, connection)
                view = View(database.path, self._handle.reader.catalog, connection, entry.before)
                branches = view.branches()
                # Ticks that came since may refer to what was free to go.
                used = set(_sources(view, branches, lasts))
                keyframes = {row_id(one.id, one.sealed - one.first) for one in branches}
                for number in rows:
                    if number in keyframes:
                        if number not in used:
                            connection.execute("UPDATE tick SET data = NULL WHERE id = ?", (number,))
                    elif number not in used:
                        connection.execute("DELETE FROM tick WHERE id = ?", (number,))
                names = self._drop_files(view, [number for number in files if -number not in used])
                for number in names:
                    connection.execute("DELETE FROM file WHERE id = ?", (number,))
                entry.let_go()
                entry.finish()
            # Still nobody writes: no tick that is being made can come to refer to a file that goes.
            for name in names.values():
                (database.path / name).unlink(missing_ok=True)

    def _drop_files(self, view: View, numbers: Iterable[int]) -> dict[int, str]:
        """Of these files those that nobody is appending to."""
        others = self._handle.others()
        named = {number: view.file(number) for number in numbers}
        return {
            number: name
            for number, name in named.items()
            if name != self._handle.writer.current_file and owner_of(name) not in others
        }


class _Carried(Mapping[str, Snapshot]):
    """The tables that stand unchanged at a tick, read when a store beneath wants them: most do not."""

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


def _read(snapshot: Snapshot) -> Snapshot:
    """The rows with every column read, for whoever keeps them longer than the journal does."""
    return snapshot.with_columns({})


def _sources(view: View, branches: Iterable[SegmentEntry], lasts: Mapping[int, int]) -> Iterator[int]:
    """What the records of unsealed ticks refer to, of each segment those after the given tick."""
    for branch in branches:
        for tick in range(max(branch.sealed, lasts.get(branch.id, branch.sealed)) + 1, branch.last + 1):
            for part in view.record(branch, tick).parts.values():
                yield from (place[0] for place in part.places)


def held(store: Store, branch: SegmentEntry) -> int:
    """The last tick of a segment that a store has; the one before its first if it has none."""
    segment = branch.segment
    try:
        timeline = store.timeline(segment.world_id)
    except WorldNotFound:
        return branch.first - 1
    for span in timeline.spans:
        if (span.segment.world_id, span.segment.run_id) == (segment.world_id, segment.run_id):
            if span.segment != segment:
                raise CorruptStore(repr(store), f"it holds {span.segment}, the journal {segment}")
            return span.last
    return branch.first - 1


def rows_beneath(store: Store, place: Beneath, schema: pa.Schema, table: str) -> Rows | None:
    """What a store beneath shows of a table at a tick; without its tombstones where a later tick looks back at it."""
    archetype = Archetype.from_schema(schema)
    columns = (*archetype.schema.names, IS_ACTIVE)
    scan = Scan(table, place.branch.segment, place.tick, place.tick, columns)
    found = pa.Table.from_batches(list(store.scan(scan)), scan.schema(archetype.schema))
    active = found.column(IS_ACTIVE)
    live = Snapshot.from_arrow(archetype, found.filter(active).drop_columns([IS_ACTIVE]))
    if not place.is_own:
        return Rows(live) if live.num_rows else None
    gone = Snapshot.from_arrow(archetype, found.filter(pc.invert(active)).drop_columns([IS_ACTIVE]))
    return Rows(live, gone if gone.num_rows else None) if found.num_rows else None
