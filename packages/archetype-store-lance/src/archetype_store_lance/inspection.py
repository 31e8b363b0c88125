"""Verifies a whole store, file by file, without changing anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pyarrow as pa

from archetype_core.errors import ArchetypeError, CommitError, CorruptStore
from archetype_journal import IN_FRONT, SegmentStatus, read_segments
from archetype_journal import verify as verify_journal
from archetype_store_lance.address import Address
from archetype_store_lance.engine_errors import reading
from archetype_store_lance.journal_marker import JournalMarker
from archetype_store_lance.log import HEAD, MISSING, Log
from archetype_store_lance.log_files import LogFiles, log_files_of
from archetype_store_lance.report import LanceFinding, LanceReport
from archetype_store_lance.row_check import COLUMNS, misplaced_rows, ticks_between
from archetype_store_lance.state import StoreState, TableState
from archetype_store_lance.stored_file import damage
from archetype_store_lance.table import Tables

Progress = Callable[[int, int], None]
"""Called with the number of finished steps and of all steps."""

_TRIES = 20
"""How often a check that fails is repeated while writers are at work."""
_RESTORE = "restore it from a backup"
_LOST = "its ticks are refused until it is restored from a backup; all other ticks can be read"


class _LanceInspection:
    """One walk through a store and the journal in front of it."""

    def __init__(self, address: Address, files: LogFiles, journal: Path | None, progress: Progress | None) -> None:
        self._address = address
        self._journal = journal
        self._progress = progress
        self._report = LanceReport(str(address))
        self._done = self._steps = 0
        self._files = files
        self._log = Log(files, str(address))

    def run(self) -> LanceReport:
        """Check everything and report it."""
        state = self._check_log()
        if state is not None:
            self._steps = len(state.tables) + len(state.segments) + 1
            self._report.worlds, self._report.segments = len(state.worlds), len(state.segments)
            self._report.tables = len(state.tables)
            tables = Tables(self._address)
            for number in range(len(state.segments)):
                self._check_segment(state, number)
                self._step()
            for number in range(len(state.tables)):
                self._check_table(state, tables, number)
                self._step()
        if self._journal is not None:
            self._check_journal(self._journal, is_empty=state is None)
        self._step()
        return self._report

    def _step(self) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, max(self._done, self._steps))

    def _add(
        self,
        place: str,
        problem: str,
        remedy: str,
        world: str | None = None,
        ticks: tuple[int, int] | None = None,
        *,
        is_harmless: bool = False,
    ) -> None:
        self._report.findings.append(LanceFinding(place, problem, remedy, world, ticks, is_harmless))

    def _until_stable(self, state: StoreState, check: Callable[[StoreState], bool]) -> StoreState:
        """Run a check; if it fails and the state is newer by then, drop its findings and check the newer state."""
        kept = len(self._report.findings)
        for _ in range(_TRIES):
            if check(state):
                break
            newer = self._newest()
            if newer is None or (newer.number, newer.generation) == (state.number, state.generation):
                break
            state = newer
            del self._report.findings[kept:]
        else:
            check(state)
        return state

    def _newest(self) -> StoreState | None:
        try:
            return self._log.reread()
        except CorruptStore:
            return None

    def _check_log(self) -> StoreState | None:
        where = f"{self._address} log"
        try:
            if not self._log.exists():
                self._add(where, "there is no log", f"if there was a store here, {_RESTORE}")
                return None
            state = self._log.state()
        except CorruptStore as failure:
            self._add(failure.place, failure.reason, _RESTORE)
            return None
        names = self._files.names()
        self._report.files += len(names)
        if state.number and HEAD not in names:
            self._add(f"{where} {HEAD}", "it is missing", "the next commit writes it", is_harmless=True)
        return self._until_stable(state, self._check_indexes)

    def _check_indexes(self, state: StoreState) -> bool:
        is_sound = True
        for ref in state.indexes:
            try:
                self._log.index(ref)
            except (CorruptStore, FileNotFoundError) as failure:
                is_sound = False
                reason = failure.reason if isinstance(failure, CorruptStore) else MISSING
                for number, ticks in ref.spans.items():
                    world = state.segments[number].segment.name
                    self._add(f"{self._address} log {ref.name}", reason, _LOST, world, ticks)
        return is_sound

    def _check_segment(self, state: StoreState, number: int) -> None:
        """Check that the parent is there and that the log covers every tick."""
        entry = state.segments[number]
        segment = entry.segment
        self._report.ticks += entry.last - segment.first_tick + 1
        if segment.parent is not None and (segment.parent.world_id, segment.parent.run_id) not in state.segment_numbers:
            self._add(f"segment {segment.run_id}", f"its parent {segment.parent} is missing", _RESTORE)
        due = segment.first_tick
        for first, last in sorted(ref.spans[number] for ref in state.indexes if number in ref.spans):
            if first != due:
                self._add_gap(segment.name, due, first - 1)
            due = last + 1
        if due != entry.last + 1:
            self._add_gap(segment.name, due, entry.last)

    def _add_gap(self, world: str | None, first: int, last: int) -> None:
        self._add(f"{self._address} log", "it has no entries for these ticks", _RESTORE, world, (first, last))

    def _check_table(self, state: StoreState, tables: Tables, number: int) -> None:
        sound: set[str] = set()
        stable = self._until_stable(state, lambda state: self._is_intact(state, tables, number, sound))
        self._report.files += len(stable.tables[number].files)

    def _is_intact(self, state: StoreState, tables: Tables, number: int, sound: set[str]) -> bool:
        """Check the files and rows of a table. ``sound`` collects files that need no second read."""
        table = state.tables[number]
        if table.version is None:
            return True
        directory = tables.directory(table.name)
        if directory is not None:
            damaged = {}
            for name in table.files.keys() - sound:
                problem = damage(directory / name, *table.files[name])
                if problem is None:
                    sound.add(name)
                else:
                    damaged[name] = problem
            if damaged:
                self._add_damage(state, tables, number, damaged)
                return False
            if tables.has_leftovers(table):
                problem = "there are files that the log does not list: a writer was killed, or is at work"
                self._add(str(directory), problem, "they are removed when the store is next opened", is_harmless=True)
        return self._are_rows_intact(state, tables, number, table)

    def _are_rows_intact(self, state: StoreState, tables: Tables, number: int, table: TableState) -> bool:
        uri = tables.uri(table.name)
        # In an object store files have no checksums, so all columns are read.
        batches = tables.rows(table, COLUMNS if tables.directory(table.name) else None)
        try:
            rows, wrong = misplaced_rows(state, number, self._groups(state), batches)
        except ArchetypeError as failure:
            reason = failure.reason if isinstance(failure, CorruptStore) else str(failure)
            self._add_rows(state, number, uri, reason, (0, table.rows))
            return False
        if rows != table.rows:
            self._add_rows(state, number, uri, f"it has {rows} rows of {table.rows}", (0, table.rows))
        elif wrong is not None:
            self._add_rows(state, number, uri, "rows are not at the positions that the log gives", wrong)
        return rows == table.rows and wrong is None

    def _groups(self, state: StoreState) -> Iterator[pa.Table]:
        """The row groups in the log, without those that cannot be read, which are reported already."""
        for ref in state.indexes:
            with suppress(CorruptStore, FileNotFoundError):
                yield self._log.index(ref).record.row_groups

    def _add_damage(self, state: StoreState, tables: Tables, number: int, damaged: Mapping[str, str]) -> None:
        """Report damaged files with the worlds and ticks whose rows they hold."""
        table = state.tables[number]
        try:
            spans = tables.spans(table)
        except ArchetypeError:
            spans = {}
        for name, problem in damaged.items():
            place = f"{tables.directory(table.name)}/{name}"
            self._add_rows(state, number, place, problem, spans.get(name, (0, table.rows)))

    def _add_rows(self, state: StoreState, table: int, place: str, problem: str, rows: tuple[int, int]) -> None:
        """Report a problem with the worlds and ticks whose rows lie between two positions."""
        found = list(ticks_between(table, self._groups(state), rows))
        for number, ticks in found:
            self._add(place, problem, _LOST, state.segments[number].segment.name, ticks)
        if not found:
            self._add(place, problem, _LOST)

    def _check_journal(self, journal: Path, *, is_empty: bool) -> None:
        if journal.is_dir():
            for finding in verify_journal(journal).findings:
                ticks = None if finding.tick is None else (finding.tick, finding.tick)
                remedy = "archetype_journal.repair saves what can be saved"
                self._add(finding.place, finding.problem, remedy, finding.world, ticks)
            self._compare_with_journal(journal, is_empty=is_empty)
        local = self._address.local
        if local is not None and JournalMarker(self._files, local).is_lost(journal):
            self._add(str(journal), "the journal is missing, and with it the ticks that only it had", _RESTORE)

    def _compare_with_journal(self, journal: Path, *, is_empty: bool) -> None:
        # Read the journal before and after the store: it seals ticks after the store has them, and the store has no tick
        # that the journal did not have before.
        before = _segments(journal)
        state = None if is_empty else self._newest()
        after = _segments(journal)
        if before is None or after is None:
            return  # reported by verify_journal
        for key, one in before.items():
            segment = one.segment
            number = None if state is None else state.find(*key)
            last = segment.first_tick - 1 if state is None or number is None else state.segments[number].last
            self._report.ticks += max(0, one.last - max(last, one.sealed))
            if one.sealed > last:
                problem = f"the journal has sealed ticks up to {one.sealed}, and the store has them up to {last}"
                self._add(str(self._address), problem, _RESTORE, segment.name, (last + 1, one.sealed))
            now = after.get(key, one)
            if last > now.last > now.sealed:
                problem = f"it has unsealed ticks up to {now.last}, and the store has ticks up to {last} without them"
                self._add(str(journal), problem, _RESTORE, segment.name, (now.sealed + 1, last))


def _segments(journal: Path) -> dict[tuple[str, str], SegmentStatus] | None:
    """The segments of a journal by world and run; ``None`` if it cannot be read."""
    try:
        return {(one.segment.world_id, one.segment.run_id): one for one in read_segments(journal)}
    except (CorruptStore, CommitError):
        return None


def verify(
    uri: str | Path,
    *,
    journal: str | Path | None = None,
    storage_options: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    log_files: LogFiles | None = None,
) -> LanceReport:
    """Check every file of a store and of the journal in front of it. Costs a read of all of it; may run beside writers.

    ``journal`` is the journal's directory, by default the one that a local store was last opened with. ``log_files`` replaces
    the files of the log, as in ``LanceStore``.
    """
    address = Address.parse(uri, storage_options)
    if address.local is not None and not address.local.is_dir():
        raise CommitError(f"{address} is not a directory: there is no store to verify")
    with reading(str(address)):
        files = log_files or log_files_of(address)
        if journal is None and address.local is not None:
            journal = JournalMarker(files, address.local).journal() or address.local / IN_FRONT
        return _LanceInspection(address, files, None if journal is None else Path(journal), progress).run()
