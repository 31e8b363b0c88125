"""Keeps a store small beside its commits: few fragments, few versions, few files of the log; a step at a time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import timedelta

from archetype_core.errors import ArchetypeError
from archetype_store_lance.engine import Overtaken, give_back
from archetype_store_lance.lock import WriterLock
from archetype_store_lance.log import Log
from archetype_store_lance.record import CommitRecord
from archetype_store_lance.state import State, TableState
from archetype_store_lance.table import MANY, Tables

_MANY_ROWS = 1 << 18
"""After so many new rows freed memory is returned."""

_log = logging.getLogger("archetype.lance")


class Upkeep:
    """Does what is due, table by table, and lets commits pass in between; killed at any moment it leaves no mark."""

    def __init__(self, log: Log, tables: Tables, lock: WriterLock, grace: timedelta) -> None:
        self._log = log
        self._tables = tables
        self._lock = lock
        self._grace = grace
        self._stopped = threading.Event()
        self._looked: dict[int, int] = {}
        self._swept: dict[int, int] = {}
        self._rows = 0

    def stop(self) -> None:
        """Begin nothing more."""
        self._stopped.set()

    def run(self, *, whole: bool = False, progress: Callable[[int, int], None] | None = None) -> int:
        """Do all that is due, or also what is not yet; the number of tables that were brought together.

        A table that it cannot be done for is left as it is and told of at the end.
        """
        count = 0
        failure: Exception | None = None
        state = self._log.state()
        for number, table in enumerate(state.tables):
            if self._stopped.is_set():
                return count
            if table.version is not None and (whole or self._is_due(number, table)):
                try:
                    count += self._tend(number, whole=whole)
                except (ArchetypeError, OSError) as found:
                    failure = failure or found
            if progress is not None:
                progress(number + 1, len(state.tables))
        if whole or self._log.is_long(state):
            with self._lock.held():
                self._log.checkpoint()
        rows = sum(table.rows for table in state.tables)
        if count or rows - self._rows >= _MANY_ROWS:
            self._rows = rows
            give_back()
        if failure is not None:
            raise failure
        return count

    def try_run(self) -> None:
        """The same, where nobody waits for it: what fails is tried again after a later commit."""
        try:
            self.run()
        except (ArchetypeError, OSError, Overtaken) as failure:
            if not self._stopped.is_set():
                _log.warning("%s was not tidied up, and will be later: %s", self._tables.place, failure)

    def _is_due(self, number: int, table: TableState) -> bool:
        """Whether a table that changed has anything to be done for it. Mostly not, and that is found without a request."""
        version = table.version or 0
        if version == self._looked.get(number):
            return False
        if version - self._swept.get(number, 0) >= MANY:
            return True
        try:
            if self._tables.scattered(table) is not None:
                return True
        except (ArchetypeError, OSError):
            # Somebody else may have gone on since; whoever tends it looks again, and keeps others out meanwhile.
            return True
        self._looked[number] = version
        return False

    def _tend(self, number: int, *, whole: bool) -> bool:
        """Bring the fragments of a table together, and remove what the log has no use for any more."""
        count = 0
        while not self._stopped.is_set():
            with self._lock.held():
                state = self._log.state()
                table = state.tables[number]
                version = self._looked[number] = table.version or 0
                which = self._tables.scattered(table, whole=whole)
                if which is not None and self._bring_together(state, number, which):
                    count += 1
                    continue
                if count or whole or version - self._swept.get(number, 0) >= MANY:
                    self._tables.sweep(table, self._grace)
                    self._swept[number] = version
                break
        return count > 0

    def _bring_together(self, state: State, number: int, which: slice) -> bool:
        try:
            with self._tables.restoring():
                change = self._tables.compact(state.tables[number], which)
                made = self._log.append(state, {"tables": [[number, change.to_json()]]}, CommitRecord.plain({}))
        except Overtaken:
            return False
        return made is not None
