"""The Lance store: one Lance table per archetype, and a log whose newest record names what counts."""

from __future__ import annotations

import os
import re
import socket
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from archetype_core.errors import (
    CommitError,
    CommitUncertain,
    CorruptStore,
    StorageReadOnly,
    StoreClosed,
    UnsupportedCapability,
)
from archetype_core.store import Capability, Head, Scan, TickCommit, Timeline, WorldRecord, check_successors
from archetype_journal import BackgroundTask, make_directory
from archetype_store_lance.address import Address
from archetype_store_lance.commit import append, check_expected
from archetype_store_lance.compaction import Compactor
from archetype_store_lance.engine_errors import RecordInDoubt, WriteConflict, writing
from archetype_store_lance.limits import Limits
from archetype_store_lance.log import Log
from archetype_store_lance.log_files import DIRECTORY, LocalLogFiles, LogFiles, log_files_of
from archetype_store_lance.scanner import Scanner, ScanProgress
from archetype_store_lance.segment_file import publish
from archetype_store_lance.state import StoreState
from archetype_store_lance.table import Tables
from archetype_store_lance.timeline import has_table, head_of, segment_of, timeline_of, worlds_of
from archetype_store_lance.visibility import Visibility
from archetype_store_lance.writer_lock import WriterLock

if TYPE_CHECKING:
    from archetype_core.store import Search

_TABLE = re.compile(r"_[0-9a-f]{16}\.lance$")
_TRIES = 20
_GRACE = timedelta(hours=1)
"""The age at which unused files in an object store are removed; their writer is dead by then."""


class LanceStore:
    """Keeps every tick of many worlds in Lance tables, in a local directory or an object store; atomic by itself.

    A commit costs one insert per written table and one file of the log, so commit many ticks at once, as the journal in front
    of it does. Readers in this and other processes see each commit at once and whole.
    """

    def __init__(
        self,
        uri: str | Path,
        storage_options: Mapping[str, str] | None = None,
        *,
        read_only: bool = False,
        sweep: bool = True,
        background: bool = True,
        limits: Limits | None = None,
        log_files: LogFiles | None = None,
    ) -> None:
        """Open a store, and create it if the place is empty; ``CorruptStore`` if the log is damaged or missing.

        - ``storage_options`` go to the object store: keys, region, endpoint.
        - ``read_only`` creates and changes nothing: every method that would is ``StorageReadOnly``.
        - ``sweep=False`` does not remove leftovers of killed writers; call ``sweep`` after your own checks.
        - ``background=False`` compacts only when ``compact`` is called.
        - ``limits`` are the thresholds of layout and compaction.
        - ``log_files`` replaces the files of the log, for services and tests that need a port of their own.
        """
        self.address = Address.parse(uri, storage_options)
        self.owner = f"process {os.getpid()} on {socket.gethostname()}"
        self.is_read_only = read_only
        self._process = os.getpid()
        self._is_open = True
        local = self.address.local
        if log_files is None:
            with writing(str(self.address)):
                log_files = log_files_of(self.address)
        if local is not None and not read_only:
            with writing(str(local)):
                make_directory(local / DIRECTORY)
        limits = limits or Limits()
        self._tables = Tables(self.address, limits)
        self._lock = WriterLock(local / DIRECTORY / "lock" if local else None)
        self._log = Log(log_files, str(self.address), limits)
        if not read_only:
            self._prepare(log_files)
        if sweep and not read_only:
            self.sweep()
        else:
            # Refuses a damaged log, or one of another format, before a caller creates anything beside it.
            self._log.state()
        self._compactor = Compactor(self._log, self._tables, self._lock, limits, _GRACE)
        self._compaction = (
            BackgroundTask("archetype-lance", self._compact_if_due) if background and not read_only else None
        )
        # A store that nobody closes ends with its last reference, or with the process.
        self._finalizer = weakref.finalize(self, _finish, self._compactor, self._compaction)

    def __repr__(self) -> str:
        return f"LanceStore({self.address.root!r})"

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What the store can do beyond commits and heads."""
        return frozenset({Capability.TIME_TRAVEL, Capability.PERSISTENCE, Capability.SHARED, Capability.SEARCH})

    def _prepare(self, log_files: LogFiles) -> None:
        with self._lock.held():
            if isinstance(log_files, LocalLogFiles):
                with writing(str(self.address)):
                    log_files.sweep()
            if not self._log.exists():
                self._refuse_orphans()
                self._log.begin()

    def _refuse_orphans(self) -> None:
        local = self.address.local
        if local is None:
            return
        for path in sorted(local.glob("*.lance")):
            if _TABLE.search(path.name):
                raise CorruptStore(
                    str(local), f"table {path.name} is there, but the log that names its rows is missing"
                )

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        """Commit consecutive ticks of one segment, all or nothing; ``TickConflict`` if another writer was first.

        ``CommitUncertain`` if the log's record may count although creating it failed: in an object store whose answer was
        lost it may even appear later, until the next commit. After any other error the ticks are never there.
        """
        self._check_writable()
        if not ticks:
            return
        check_successors(ticks)
        local = self.address.local is not None
        with self._lock.held():
            self._check_open()
            for _ in range(_TRIES):
                state = self._log.state()
                check_expected(state, ticks)
                try:
                    with self._tables.forgetting_on_failure():
                        if append(self._log, self._tables, self.owner, state, ticks) is not None:
                            break
                except WriteConflict:
                    continue
                except RecordInDoubt as failure:
                    raise CommitUncertain(ticks[-1].segment.world_id, ticks[-1].tick, str(failure)) from failure
                except (CommitError, CorruptStore):
                    # Without a lock, a faster writer may have removed files that this try read.
                    if local or self._log.reread().number == state.number:
                        raise
            else:
                raise CommitError(f"{self!r}: other writers were faster {_TRIES} times; commit again")
        if self._compaction is not None:
            self._compaction.ask()

    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        """Stream the rows of a scan; ``TickNotFound`` outside the segment's history."""
        self._check_open()
        state = self._log.state()
        number = segment_of(state, scan.segment, scan.first, scan.last)
        table = state.table(scan.table)
        if table is None or not has_table(state, number, table):
            return pa.RecordBatchReader.from_batches(pa.schema([]), [])
        schema = scan.schema(state.tables[table].schema)
        scanner = Scanner(self._tables, scan, schema)
        return pa.RecordBatchReader.from_batches(schema, self._batches(scanner, scan, state, number, table))

    def _batches(
        self, scanner: Scanner, scan: Scan, state: StoreState, number: int, table: int
    ) -> Iterator[pa.RecordBatch]:
        progress = ScanProgress(scan.first)
        while True:
            visible = Visibility(self._log, state).rows(number, table, progress.tick, scan.last)
            try:
                for part in progress.remaining(scanner.slices(state.tables[table], visible)):
                    batch = scanner.read(state.tables[table], part)
                    progress.advance(part)
                    yield batch
                return
            except FileNotFoundError as failure:
                state = self._log.newer(state, failure)
            except CorruptStore:
                # Compaction may have merged and removed the file meanwhile. If not, it is damaged.
                newer = self._log.reread()
                if newer.tables[table].version == state.tables[table].version:
                    raise
                state = newer

    def search(self, search: Search) -> pa.Table:
        """The entities of a table at a tick that are most like the query, best first; reads one column of that tick."""
        # Imports Daft.
        from archetype_core.read import ranked

        return ranked(self, search)

    def head(self, world_id: str, *, at: int | None = None) -> Head:
        """The newest tick of a world, or the one at ``at``; ``WorldNotFound``, ``TickNotFound``."""
        self._check_open()
        state = self._log.state()
        while True:
            try:
                return head_of(self._log, state, world_id, at)
            except FileNotFoundError as failure:
                state = self._log.newer(state, failure)

    def timeline(self, world_id: str) -> Timeline:
        """A world's segments back through its ancestors, and their tables; ``WorldNotFound``."""
        self._check_open()
        return timeline_of(self._log.state(), world_id)

    def worlds(self) -> tuple[WorldRecord, ...]:
        """Every world with at least one committed tick."""
        self._check_open()
        return worlds_of(self._log.state())

    def files(self, scan: Scan) -> tuple[str, ...]:
        """Refused with ``UnsupportedCapability``: the files are not Parquet."""
        del scan
        self._check_open()
        raise UnsupportedCapability(repr(self), Capability.FILES)

    def compact(self, progress: Callable[[int, int], None] | None = None, *, whole: bool = True) -> int:
        """Merge small files and remove unused ones; the number of tables in which files were merged.

        ``whole=False`` does only what is due, as the background task does after commits. ``progress`` is called with the
        number of finished steps and of all steps. A table that fails is left as it is, and the first failure is raised at the
        end.
        """
        self._check_writable()
        try:
            return self._compactor.run(whole=whole, progress=progress)
        except WriteConflict as failure:
            raise CommitError(f"{self!r}: another writer changed it during compaction; compact again") from failure

    def sweep(self) -> None:
        """Remove files that killed writers left in local tables."""
        self._check_writable()
        with self._lock.held():
            for table in self._log.state().tables:
                with suppress(CommitError, OSError):
                    if self._tables.has_leftovers(table):
                        self._tables.sweep(table, _GRACE)

    def publish(self) -> None:
        """List all segments in a Parquet file, so that other programs can read the tables as of this moment.

        The journal in front calls it at the end of each sealing; without one, call it after your commits.
        """
        self._check_writable()
        with self._lock.held(), writing(str(self.address)):
            publish(self._log.files, self._log.state())

    def _compact_if_due(self) -> None:
        if self._is_open:
            self._compactor.try_run()

    def close(self) -> None:
        """Stop the background task and release the store; idempotent. Other methods raise ``StoreClosed`` afterwards."""
        if os.getpid() != self._process or not self._is_open:
            return
        self._is_open = False
        self._finalizer()

    def _check_writable(self) -> None:
        self._check_open()
        if self.is_read_only:
            raise StorageReadOnly(self.address.root)

    def _check_open(self) -> None:
        if not self._is_open:
            raise StoreClosed(repr(self))
        if os.getpid() != self._process:
            raise StoreClosed(f"{self!r}, a copy that fork made of another process's handle,")


def _finish(compactor: Compactor, compaction: BackgroundTask | None) -> None:
    compactor.stop()
    if compaction is not None:
        compaction.stop()
