"""A journal in front of any store: every tick is durable in the journal first, and sealed into the store with many others."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from archetype_core.config import CacheConfig
from archetype_core.errors import TickConflict, TickNotFound, UnsupportedCapability
from archetype_core.store import Capability, Head, Rows, Scan, SearchStore, Store, TickCommit, Timeline, WorldRecord
from archetype_journal.background import BackgroundTask
from archetype_journal.catalog import SegmentEntry
from archetype_journal.disk import Disk
from archetype_journal.reader import SealedWrite, View
from archetype_journal.reconcile import adopt_world, reconcile
from archetype_journal.sealing import Sealer, read_sealed_rows
from archetype_journal.store import JournalStore

if TYPE_CHECKING:
    from archetype_core.store import Search

_OVERFLOW = 4
"""Commits block once the backlog exceeds this multiple of the sealing threshold."""
_RETRY_S = 5.0
_log = logging.getLogger("archetype.journal")


class JournaledStore(JournalStore):
    """A journal in front of the store that its ticks are sealed into; closing it closes both.

    ``cache`` says when a tick is durable and when sealing starts. Sealing that fails is tried again; meanwhile the journal
    keeps the ticks, and ``seal_error`` is the failure. ``read_only`` is that of
    ``JournalStore``. ``store`` must keep every tick. Nothing is sealed into a store without persistence: the journal would
    remove the only lasting copy.
    """

    def __init__(
        self, store: Store, path: str | Path, cache: CacheConfig | None = None, *, read_only: bool = False
    ) -> None:
        if Capability.TIME_TRAVEL not in store.capabilities:
            raise UnsupportedCapability(repr(store), Capability.TIME_TRAVEL)
        if isinstance(store, JournalStore) and store.path.resolve() == Path(path).resolve():
            raise ValueError(f"{path} cannot be in front of itself: choose another directory for the journal")
        self.beneath = store
        self.seal_error: Exception | None = None
        """Why the last sealing failed; ``None`` if it succeeded."""
        self._is_lasting = Capability.PERSISTENCE in store.capabilities
        self._seals = self._is_lasting and not read_only
        self._backlog = threading.Condition()
        self._backlog_rows = self._backlog_bytes = 0
        self._last_commit = time.monotonic()
        self._seal_lock = threading.Lock()
        self._open(Path(path), cache or CacheConfig(), Disk(), read_only=read_only)
        self._sealer = Sealer(self._handle, store, self._cache)
        self._task = BackgroundTask("archetype-seal", self._seal_if_due)
        if self._is_lasting:
            try:
                reconcile(self._handle, store)
            except BaseException:
                # The caller keeps the store beneath: do not close it.
                super().close()
                raise
        if self._seals:
            # An earlier handle may have left ticks to seal.
            self._task.ask(self._cache.idle_s)

    def __repr__(self) -> str:
        return f"JournaledStore({self.beneath!r}, {str(self.path)!r})"

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What both stores can do, plus persistence, and search if the store beneath can. Without sealing: the journal's."""
        ours = super().capabilities
        if not self._is_lasting:
            return ours
        # Unsealed rows are searched here.
        more = {Capability.PERSISTENCE, *(self.beneath.capabilities & {Capability.SEARCH})}
        return ours & self.beneath.capabilities | more

    @property
    def unsealed_ticks(self) -> int:
        """How many ticks are only in the journal. Costs one row of SQLite per segment."""
        self._check_open()
        with self._handle.reader.read() as view:
            return sum(entry.last - entry.sealed for entry in view.segments())

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        """Commit to the journal. Blocks while the backlog is four times what starts sealing, unless sealing fails."""
        self._check_open()
        self._check_writable()
        if not ticks:
            return
        if self._seals:
            conflict = self._sealer.conflicts.get(ticks[0].segment.world_id)
            if conflict is not None:
                raise TickConflict(conflict.world_id, conflict.expected, ticks[0].tick)
            self._adopt_worlds(ticks[0])
            self._wait_for_room()
        prepared = self._commit(ticks)
        if self._seals:
            self._add_to_backlog(*prepared.volume)

    def _adopt_worlds(self, first: TickCommit) -> None:
        """Register the worlds that a commit continues and that only the store beneath has."""
        parent = first.segment.parent
        for world_id in (first.segment.world_id, *([parent.world_id] if parent else [])):
            if not self._has_world(world_id):
                adopt_world(self._handle, self.beneath, world_id)

    def _has_world(self, world_id: str) -> bool:
        """Whether a world is in the journal."""
        if self._handle.catalog.has_world(world_id):
            return True
        with self._handle.reader.read() as view:
            return view.active_segment(world_id) is not None

    def _add_to_backlog(self, rows: int, size: int) -> None:
        with self._backlog:
            self._backlog_rows += rows
            self._backlog_bytes += size
            self._last_commit = time.monotonic()
            is_due = self._exceeds(1)
        self._task.ask(_RETRY_S if self.seal_error is not None else 0.0 if is_due else self._cache.idle_s)

    def _exceeds(self, times: int) -> bool:
        """Whether the backlog exceeds a multiple of the sealing threshold."""
        cache = self._cache
        return self._backlog_rows >= times * cache.rows or self._backlog_bytes >= times * cache.megabytes * 2**20

    def _wait_for_room(self) -> None:
        with self._backlog:
            while self._exceeds(_OVERFLOW) and self.seal_error is None and self._is_open:
                self._task.ask()
                self._backlog.wait(1.0)

    def seal(self) -> int:
        """Seal every tick now and return how many were sealed. Raises the store's failure; the ticks then stay here."""
        self._check_open()
        self._check_writable()
        if not self._seals:
            raise UnsupportedCapability(repr(self.beneath), Capability.PERSISTENCE)
        return self._seal()

    def _seal(self) -> int:
        with self._seal_lock:
            with self._backlog:
                rows, size = self._backlog_rows, self._backlog_bytes
            try:
                count = self._sealer.seal()
            except Exception as failure:
                self.seal_error = failure
                raise
            else:
                self.seal_error = None
                with self._backlog:
                    self._backlog_rows -= rows
                    self._backlog_bytes -= size
            finally:
                with self._backlog:
                    self._backlog.notify_all()
        return count

    def _seal_if_due(self) -> None:
        with self._backlog:
            left = self._cache.idle_s - (time.monotonic() - self._last_commit)
            if left > 0 and not self._exceeds(1) and self.seal_error is None:
                self._task.ask(left)
                return
        try:
            self._seal()
        except Exception as failure:  # noqa: BLE001  # reason: a store beneath may raise anything; nothing is lost
            if self._is_open:
                _log.warning("%r could not seal its ticks and will try again: %s", self, failure)
                self._task.ask(_RETRY_S)

    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        """Read a table over a range of ticks: sealed ones from the store beneath, then those of the journal."""
        return self.beneath.scan(scan) if self._is_only_beneath(scan.segment.world_id) else super().scan(scan)

    def _batches(self, scan: Scan, segment: int, table_id: int, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        with self._handle.reader.read() as view:
            sealed = view.segment(segment).sealed
        if scan.first <= sealed:
            yield from self.beneath.scan(replace(scan, last=min(scan.last, sealed)))
            scan = replace(scan, first=sealed + 1)
        yield from super()._batches(scan, segment, table_id, schema)

    def _read_sealed(self, write: SealedWrite, table: str) -> Rows | None:
        table_id = self._handle.catalog.table_id(table)
        assert table_id is not None
        return read_sealed_rows(self.beneath, write, self._handle.catalog.table(table_id).schema, table)

    def _count_sealed(self, write: SealedWrite, table: str) -> int:
        return self.beneath.head(write.entry.segment.world_id, at=write.tick).live.get(table, 0)

    def head(self, world_id: str, *, at: int | None = None) -> Head:
        """What a world needs to open at a tick, from the journal or the store beneath."""
        return self.beneath.head(world_id, at=at) if self._is_only_beneath(world_id) else super().head(world_id, at=at)

    def _head(self, view: View, entry: SegmentEntry, tick: int) -> Head:
        if tick <= entry.sealed:
            return replace(self.beneath.head(entry.segment.world_id, at=tick), segment=entry.segment)
        return super()._head(view, entry, tick)

    def search(self, search: Search) -> pa.Table:
        """The best rows of a table at a tick, from the journal or the store beneath, whichever has them."""
        self._check_open()
        beneath = self.beneath
        if Capability.SEARCH not in self.capabilities or not isinstance(beneath, SearchStore):
            raise UnsupportedCapability(repr(self), Capability.SEARCH)
        if self._is_only_beneath(search.segment.world_id):
            return beneath.search(search)
        with self._handle.reader.read() as view:
            entry = view.find_segment(search.segment.world_id, search.segment.run_id)
            if entry is None:
                raise TickNotFound(search.segment.name, search.tick, None, None)
            if not entry.first <= search.tick <= entry.last:
                raise TickNotFound(search.segment.name, search.tick, entry.first, entry.last)
            table_id = view.catalog.table_id(search.table)
            rows = None if table_id is None else view.rows(entry, table_id, search.tick)
            if isinstance(rows, Rows):
                from archetype_core.read import rank

                live = rows.live
                return rank(live.entity_ids, live.columns[search.column].arrow, search)
        if rows is None:
            from archetype_core.read import FOUND

            return FOUND.empty_table()
        # Sealed rows never change, so the closed view is still right.
        return beneath.search(replace(search, segment=rows.entry.segment, tick=rows.tick))

    def timeline(self, world_id: str) -> Timeline:
        """A world's history, from the journal, or from the store beneath if only that has the world."""
        return self.beneath.timeline(world_id) if self._is_only_beneath(world_id) else super().timeline(world_id)

    def worlds(self) -> tuple[WorldRecord, ...]:
        """Every world of the journal, then those that only the store beneath has."""
        ours = super().worlds()
        known = {one.world_id for one in ours}
        return (*ours, *(one for one in self.beneath.worlds() if one.world_id not in known))

    def _is_only_beneath(self, world_id: str) -> bool:
        """Whether a world is in the store beneath and not in the journal."""
        self._check_open()
        return not self._has_world(world_id) and any(one.world_id == world_id for one in self.beneath.worlds())

    def close(self) -> None:
        """Seal what can be sealed, then close the journal and the store beneath. What cannot be sealed stays here."""
        if not self._handle.owner_file.is_in_this_process:
            return
        if self._is_open and self._seals:
            self._task.stop()
            try:
                self._seal()
            except Exception as failure:  # noqa: BLE001  # reason: as above; the next handle seals the ticks
                _log.warning("%r could not seal its ticks on closing; the next handle will: %s", self, failure)
        try:
            super().close()
        finally:
            self.beneath.close()
