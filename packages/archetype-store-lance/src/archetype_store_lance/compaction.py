"""Compaction of a store between its commits: merges fragments, removes old versions, makes checkpoints of the log."""

from __future__ import annotations

import ctypes
import logging
import threading
from collections.abc import Callable
from datetime import timedelta

import pyarrow as pa

from archetype_core.errors import ArchetypeError
from archetype_store_lance.engine_errors import WriteConflict
from archetype_store_lance.limits import Limits
from archetype_store_lance.log import Log
from archetype_store_lance.record import CommitRecord
from archetype_store_lance.state import StoreState, TableState
from archetype_store_lance.table import Tables
from archetype_store_lance.writer_lock import WriterLock

_FREE_ROWS = 1 << 18
"""New rows after which freed memory is returned to the system."""

_log = logging.getLogger("archetype.lance")


class Compactor:
    """Compacts a store in small steps and lets commits pass between them. It can be killed at any moment without harm."""

    def __init__(self, log: Log, tables: Tables, lock: WriterLock, limits: Limits, grace: timedelta) -> None:
        self._log = log
        self._tables = tables
        self._lock = lock
        self._limits = limits
        self._grace = grace
        self._stopped = threading.Event()
        self._checked: dict[int, int] = {}
        self._swept: dict[int, int] = {}
        self._rows = 0

    def stop(self) -> None:
        """Start no further step."""
        self._stopped.set()

    def run(self, *, whole: bool, progress: Callable[[int, int], None] | None = None) -> int:
        """Do what is due, or with ``whole`` all there is; the number of tables in which fragments were merged.

        A table that fails is left as it is. The first failure is raised after the others are done.
        """
        count = 0
        failure: Exception | None = None
        state = self._log.state()
        for number, table in enumerate(state.tables):
            if self._stopped.is_set():
                return count
            if table.version is not None and (whole or self._is_due(number, table)):
                try:
                    count += self._compact(number, whole=whole)
                except (ArchetypeError, OSError) as found:
                    failure = failure or found
            if progress is not None:
                progress(number + 1, len(state.tables))
        if whole or self._log.is_long(state):
            with self._lock.held():
                self._log.checkpoint()
        rows = sum(table.rows for table in state.tables)
        if count or rows - self._rows >= _FREE_ROWS:
            self._rows = rows
            _return_memory()
        if failure is not None:
            raise failure
        return count

    def try_run(self) -> None:
        """Do what is due, and log failures: the next commit tries again."""
        try:
            self.run(whole=False)
        except (ArchetypeError, OSError, WriteConflict) as failure:
            if not self._stopped.is_set():
                _log.warning("%s was not compacted; the next commit tries again: %s", self._tables.address, failure)

    def _is_due(self, number: int, table: TableState) -> bool:
        """Whether a table has anything to do; mostly not, and that costs no request."""
        version = table.version or 0
        if version == self._checked.get(number):
            return False
        if version - self._swept.get(number, 0) >= self._limits.merge_fragments:
            return True
        try:
            if self._tables.mergeable(table) is not None:
                return True
        except (ArchetypeError, OSError):
            # Another handle may have replaced this version. ``_compact`` reads the state again, under the lock.
            return True
        self._checked[number] = version
        return False

    def _compact(self, number: int, *, whole: bool) -> bool:
        """Merge fragments of a table and remove files that the log does not list; whether any were merged."""
        count = 0
        while not self._stopped.is_set():
            with self._lock.held():
                state = self._log.state()
                table = state.tables[number]
                version = self._checked[number] = table.version or 0
                which = self._tables.mergeable(table, whole=whole)
                if which is not None and self._merge(state, number, which):
                    count += 1
                    continue
                if count or whole or version - self._swept.get(number, 0) >= self._limits.merge_fragments:
                    self._tables.sweep(table, self._grace)
                    self._swept[number] = version
                break
        return count > 0

    def _merge(self, state: StoreState, number: int, which: slice) -> bool:
        try:
            with self._tables.forgetting_on_failure():
                change = self._tables.compact(state.tables[number], which)
                header = {"tables": [[number, change.to_json()]]}
                made = self._log.append(state, header, CommitRecord.of_header({}))
        except WriteConflict:
            return False
        return made is not None


def _return_memory() -> None:
    """Return freed memory to the system; the allocators of many threads keep it otherwise."""
    pa.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
