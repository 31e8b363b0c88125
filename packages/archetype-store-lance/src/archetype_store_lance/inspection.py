"""Walks a whole store, file by file, and says what is wrong with it and what follows from that; changes nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from archetype_core.errors import ArchetypeError, CommitError, CorruptStore
from archetype_core.schema import ENTITY_ID
from archetype_core.store import RUN_ID, TICK, WORLD_ID
from archetype_journal import FILE, Catalog, JournaledStore, SegmentEntry, View, read_only
from archetype_journal import verify as verify_journal
from archetype_store_lance.engine import reading
from archetype_store_lance.log import GONE, HEAD, Log
from archetype_store_lance.log_files import shelf_of
from archetype_store_lance.opening import JOURNAL, is_without_journal, journal_of, open_lance
from archetype_store_lance.place import Place
from archetype_store_lance.row_layout import Positions, Tile
from archetype_store_lance.state import State, TableState
from archetype_store_lance.table import Tables, damage

Progress = Callable[[int, int], None]
"""Called with how many steps are done, and how many there are."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it was written."""

    place: str
    problem: str
    remedy: str
    world: str | None = None
    ticks: tuple[int, int] | None = None
    """The first and the last tick that are touched by it, if that is known."""
    is_harmless: bool = False

    def __str__(self) -> str:
        at = f"ticks {self.ticks[0]} to {self.ticks[1]} of " if self.ticks else ""
        world = f"{at}world {self.world!r}, " if self.world else ""
        return f"{world}{self.place}: {self.problem}; {self.remedy}"


@dataclass(slots=True)
class Report:
    """What ``verify`` saw."""

    place: str
    findings: list[Finding] = field(default_factory=list)
    worlds: int = 0
    segments: int = 0
    ticks: int = 0
    tables: int = 0
    files: int = 0

    @property
    def is_sound(self) -> bool:
        """Whether everything that matters is as it was written."""
        return all(one.is_harmless for one in self.findings)

    def __str__(self) -> str:
        counts = f"{self.worlds} worlds, {self.segments} segments, {self.ticks} ticks, {self.tables} tables, {self.files} files"
        lines = [f"  {one}" for one in self.findings]
        head = f"{self.place} is sound: {counts}" if self.is_sound else f"{self.place} is damaged ({counts} looked at):"
        return "\n".join([head, *lines])


_LOOKS = 20
"""So often something that is not sound is looked at again while others write."""
_PASSED = 65_536
_ALL = 1 << 62
_BACKUP = "take it from a backup"
_LOST = "its ticks are refused until it is back from a backup; all others can be read"


class Inspection:
    """One walk through a store and the journal before it."""

    def __init__(self, place: Place, journal: Path | None, progress: Progress | None) -> None:
        self._place = place
        self._journal = journal
        self._progress = progress
        self._report = Report(str(place))
        self._done = self._steps = 0
        self._log = Log(shelf_of(place), str(place))

    def run(self) -> Report:
        """All there is to say."""
        state = self._state()
        if state is not None:
            self._steps = len(state.tables) + len(state.branches) + 1
            self._report.worlds, self._report.segments = len(state.worlds), len(state.branches)
            self._report.tables = len(state.tables)
            tables = Tables(self._place)
            for number in range(len(state.branches)):
                self._segment(state, number)
                self._step()
            for number in range(len(state.tables)):
                self._table(state, tables, number)
                self._step()
        if self._journal is not None and self._journal.is_dir():
            self._before(self._journal, is_empty=state is None)
        if self._journal is not None and is_without_journal(self._place, self._journal):
            self._found(str(self._journal), "it is gone, and with it all ticks that only it had", _BACKUP)
        self._step()
        return self._report

    def _step(self) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, max(self._done, self._steps))

    def _found(self, place: str, problem: str, remedy: str, **more: object) -> None:
        self._report.findings.append(Finding(place, problem, remedy, **more))  # type: ignore[arg-type]  # reason: its fields

    def _state(self) -> State | None:
        where = f"{self._place} log"
        try:
            if not self._log.exists():
                self._found(where, "there is no log", "if a store was here, it is gone: " + _BACKUP)
                return None
            state = self._log.state()
        except CorruptStore as failure:
            self._found(failure.place, failure.reason, _BACKUP)
            return None
        names = self._log.shelf.names()
        self._report.files += len(names)
        if state.number and HEAD not in names:
            self._found(f"{where} {HEAD}", "it is not there", "the next commit writes it", is_harmless=True)
        return self._settled(state, self._blocks)

    def _settled(self, state: State, look: Callable[[State], bool]) -> State:
        """Look at a part of the store; again, and at no more than is new, where it is not sound and was another meanwhile."""
        kept = len(self._report.findings)
        for _ in range(_LOOKS):
            if look(state):
                break
            newer = self._newer()
            if newer is None or (newer.number, newer.generation) == (state.number, state.generation):
                break
            state = newer
            del self._report.findings[kept:]
        else:
            look(state)
        return state

    def _newer(self) -> State | None:
        try:
            return self._log.anew()
        except CorruptStore:
            return None

    def _blocks(self, state: State) -> bool:
        """Whether what says where rows lie is as it was written."""
        is_sound = True
        for ref in state.blocks:
            try:
                self._log.block(ref)
            except (CorruptStore, FileNotFoundError) as failure:
                is_sound = False
                reason = failure.reason if isinstance(failure, CorruptStore) else GONE
                for number, ticks in ref.spans.items():
                    world = state.branches[number].segment.name
                    self._found(f"{self._place} log {ref.name}", reason, _LOST, world=world, ticks=ticks)
        return is_sound

    def _segment(self, state: State, number: int) -> None:
        branch = state.branches[number]
        segment = branch.segment
        self._report.ticks += branch.last - segment.first_tick + 1
        if segment.parent is not None and (segment.parent.world_id, segment.parent.run_id) not in state.keys:
            self._found(f"segment {segment.run_id}", f"it grows from {segment.parent}, which is not there", _BACKUP)
        due = segment.first_tick
        for first, last in sorted(ref.spans[number] for ref in state.blocks if number in ref.spans):
            if first != due:
                self._found(
                    f"{self._place} log", "nothing tells of them", _BACKUP, world=segment.name, ticks=(due, first - 1)
                )
            due = last + 1
        if due != branch.last + 1:
            ticks = (due, branch.last)
            self._found(f"{self._place} log", "nothing tells of them", _BACKUP, world=segment.name, ticks=ticks)

    def _table(self, state: State, tables: Tables, number: int) -> None:
        """Whether a table's files are as they were written, and its rows where the log says."""
        sound: set[str] = set()
        settled = self._settled(state, lambda state: self._is_whole(state, tables, number, sound))
        self._report.files += len(settled.tables[number].files)

    def _is_whole(self, state: State, tables: Tables, number: int, sound: set[str]) -> bool:
        table = state.tables[number]
        if table.version is None:
            return True
        directory, uri = tables.directory(table.name), tables.uri(table.name)
        if directory is not None:
            bad = {}
            for name in table.files.keys() - sound:
                problem = damage(directory / name, *table.files[name])
                if problem is None:
                    sound.add(name)
                else:
                    bad[name] = problem
            if bad:
                self._damaged(state, tables, number, table, bad)
                return False
            if tables.is_untidy(table):
                remedy = "it is removed when the store is next opened"
                self._found(
                    str(directory),
                    "a writer that was killed left something, or one is at work",
                    remedy,
                    is_harmless=True,
                )
        # Where files have no checksums, only reading shows what is wrong with them.
        batches = tables.rows(table, [TICK, ENTITY_ID, WORLD_ID, RUN_ID] if directory else None)
        try:
            rows, strangers = self._misplaced(state, number, batches)
        except ArchetypeError as failure:
            reason = failure.reason if isinstance(failure, CorruptStore) else str(failure)
            self._touched(state, number, uri, reason, (0, table.rows))
            return False
        if rows != table.rows:
            self._touched(state, number, uri, f"it has {rows} rows of {table.rows}", (0, table.rows))
        elif strangers is not None:
            self._touched(state, number, uri, "rows are not where the log says that they lie", strangers)
        return rows == table.rows and strangers is None

    def _misplaced(
        self, state: State, table: int, batches: Iterator[pa.RecordBatch]
    ) -> tuple[int, tuple[int, int] | None]:
        """How many rows there are, and between which positions are others than the log says, if there are any."""
        found = [tiles.filter(pc.equal(tiles.column("table"), table)) for tiles in self._tiles(state)]
        known = pa.concat_tables(found).sort_by("start").drop_columns("table").to_pylist() if found else []
        rows, wrong = _Rows(batches, state), []
        for values in known:
            branch, tile = values.pop("branch"), Tile(**values)
            rows.drop(tile.start - rows.passed)
            branches, ticks, ids = rows.take(tile.rows)
            if not (tile.holds(ticks, ids) and (branches == branch).all()):
                wrong += [tile.start, tile.start + tile.rows]
        rows.drop(_ALL)
        return rows.passed, (min(wrong), max(wrong)) if wrong else None

    def _tiles(self, state: State) -> Iterator[pa.Table]:
        """Where rows lie, block by block; those that cannot be read are told of elsewhere."""
        for ref in state.blocks:
            with suppress(CorruptStore, FileNotFoundError):
                yield self._log.block(ref).record.tiles

    def _damaged(self, state: State, tables: Tables, number: int, table: TableState, bad: Mapping[str, str]) -> None:
        """Which ticks of which worlds lie in damaged files."""
        directory = tables.directory(table.name)
        try:
            places = tables.fragments(table)
        except ArchetypeError:
            places = {}
        for name, problem in bad.items():
            self._touched(state, number, f"{directory}/{name}", problem, places.get(name, (0, table.rows)))

    def _touched(self, state: State, table: int, place: str, problem: str, rows: tuple[int, int]) -> None:
        found = False
        for number, ticks in self._within(state, table, rows):
            found = True
            self._found(place, problem, _LOST, world=state.branches[number].segment.name, ticks=ticks)
        if not found:
            self._found(place, problem, _LOST)

    def _within(self, state: State, table: int, rows: tuple[int, int]) -> Iterator[tuple[int, tuple[int, int]]]:
        """The segments and ticks whose rows lie between two positions of a table."""
        spans: dict[int, tuple[int, int]] = {}
        for tiles in self._tiles(state):
            columns = {name: tiles.column(name).to_numpy() for name in tiles.column_names}
            ends = columns["start"] + columns["ticks"] * columns["live"] + columns["gone"]
            chosen = (columns["table"] == table) & (columns["start"] < rows[1]) & (ends > rows[0])
            for index in np.flatnonzero(chosen):
                branch, first = int(columns["branch"][index]), int(columns["first"][index])
                last = first + int(columns["ticks"][index]) - 1
                before = spans.get(branch, (first, last))
                spans[branch] = (min(before[0], first), max(before[1], last))
        yield from spans.items()

    def _before(self, journal: Path, *, is_empty: bool) -> None:
        """What is wrong with the journal, and between it and the store."""
        for finding in verify_journal(journal).findings:
            ticks = None if finding.tick is None else (finding.tick, finding.tick)
            remedy = "archetype_journal.repair takes what can be saved"
            self._found(finding.place, finding.problem, remedy, world=finding.world, ticks=ticks)
        # What the journal says it handed over was handed over before it said so, and what the store has was in the journal
        # before: so one is read before the store is looked at, and the other after.
        before = _branches(journal)
        state = None if is_empty else self._newer()
        after = _branches(journal)
        if before is None or after is None:
            return  # told above
        for key, branch in before.items():
            segment = branch.segment
            number = None if state is None else state.find(*key)
            last = segment.first_tick - 1 if state is None or number is None else state.branches[number].last
            self._report.ticks += max(0, branch.last - max(last, branch.sealed))
            if branch.sealed > last:
                problem = f"the journal handed over ticks to {branch.sealed}, and the store has them to {last}"
                self._found(str(self._place), problem, _BACKUP, world=segment.name, ticks=(last + 1, branch.sealed))
            now = after.get(key, branch)
            if last > now.last > now.sealed:
                problem = f"ticks to {now.last} wait in the journal, and the store has gone on to {last} without them"
                self._found(str(journal), problem, _BACKUP, world=segment.name, ticks=(now.sealed + 1, last))


def _branches(journal: Path) -> dict[tuple[str, str], SegmentEntry] | None:
    """The segments of a journal by world and run; ``None`` where it cannot be read."""
    if not (journal / FILE).is_file():
        return None
    try:
        with closing(read_only(journal / FILE)) as connection:
            connection.execute("BEGIN")
            catalog = Catalog(str(journal))
            found = View(journal, catalog, connection, catalog.counts(connection)).branches()
    except (sqlite3.Error, CorruptStore):
        return None
    return {(one.segment.world_id, one.segment.run_id): one for one in found}


class _Rows:
    """Of rows as they lie the segments, by their numbers, the ticks and the entities, taken in order."""

    def __init__(self, batches: Iterator[pa.RecordBatch], state: State) -> None:
        self._parts = (_places(one, state) for one in batches)
        self._left = np.empty((3, 0), np.int64)
        self.passed = 0

    def take(self, count: int) -> Positions:
        """So many rows that come next, fewer at the end."""
        parts, have = [self._left], self._left.shape[1]
        while have < count and (part := next(self._parts, None)) is not None:
            parts.append(part)
            have += part.shape[1]
        whole = self._left if len(parts) == 1 else np.concatenate(parts, axis=1)
        self._left = whole[:, count:]
        self.passed += min(count, have)
        return whole[:, :count]

    def drop(self, count: int) -> None:
        """Pass over rows, a few at a time."""
        end = self.passed + count
        while self.passed < end and self.take(min(_PASSED, end - self.passed)).size:
            pass


def _places(batch: pa.RecordBatch, state: State) -> Positions:
    """Where each row of a batch belongs: the number of its segment, or -1 for none that is known, its tick and its entity."""
    worlds, runs = (batch.column(name).dictionary_encode() for name in (WORLD_ID, RUN_ID))
    pairs = worlds.indices.to_numpy() * len(runs.dictionary) + runs.indices.to_numpy()
    found, which = np.unique(pairs, return_inverse=True)
    names = (divmod(int(pair), len(runs.dictionary)) for pair in found)
    keys = [(worlds.dictionary[world].as_py(), runs.dictionary[run].as_py()) for world, run in names]
    numbers = np.array([state.keys.get(key, -1) for key in keys], np.int64)
    return np.stack([numbers[which], batch.column(TICK).to_numpy(), batch.column(ENTITY_ID).to_numpy()])


def verify(
    uri: str | Path,
    *,
    journal: str | Path | None = None,
    storage_options: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Look at every file of a store and of the journal before it. Costs a read of all of it; may run beside its writers."""
    place = Place.of(uri, storage_options)
    if journal is None and place.local is not None:
        journal = journal_of(place) or place.local / JOURNAL
    if place.local is not None and not place.local.is_dir():
        raise CommitError(f"{place} is no directory: there is no store to look at")
    with reading(str(place)):
        return Inspection(place, None if journal is None else Path(journal), progress).run()


def compact(
    uri: str | Path, *, storage_options: Mapping[str, str] | None = None, progress: Progress | None = None
) -> int:
    """Bring a store's small pieces together and remove what nobody needs; the number of tables that had some.

    A store does that by itself, a little at a time; this does all there is, beside its writers if there are any.
    """
    # It brings the engine along.
    from archetype_store_lance.store import LanceStore

    place = Place.of(uri, storage_options)
    journal = journal_of(place)
    store = LanceStore(place.root, place.options) if journal is None else open_lance(place.root, journal=journal)
    with closing(store):
        beneath = store.beneath if isinstance(store, JournaledStore) else store
        assert isinstance(beneath, LanceStore)
        return beneath.compact(progress)
