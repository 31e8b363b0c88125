"""A journal in front of any store: every tick is durable in the journal first, and handed over with many others."""

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
from archetype_journal.reader import Beneath, View
from archetype_journal.reconcile import adopt, agree
from archetype_journal.sealing import Sealer, rows_beneath
from archetype_journal.store import JournalStore

if TYPE_CHECKING:
    from archetype_core.store import Search

_OVERFLOW = 4
"""A commit waits while so many times as much as starts a hand-over is waiting for it."""
_RETRY_S = 5.0
_log = logging.getLogger("archetype.journal")


class JournaledStore(JournalStore):
    """A journal, and beneath it the store that its ticks end up in; both are closed together.

    ``cache`` says when a tick is durable and how much waits for a hand-over. A hand-over that fails is tried again; until
    it succeeds the journal keeps what it has, and ``trouble`` says why. The store must keep every tick; one that does not
    outlive its handle gets nothing, because a journal lets go of what it hands over.
    """

    def __init__(self, store: Store, path: str | Path, cache: CacheConfig | None = None) -> None:
        if Capability.TIME_TRAVEL not in store.capabilities:
            raise UnsupportedCapability(repr(store), Capability.TIME_TRAVEL)
        if isinstance(store, JournalStore) and store.path.resolve() == Path(path).resolve():
            raise ValueError(f"{path} cannot be in front of itself: a journal lets go of what the store beneath has")
        self.beneath = store
        self.trouble: Exception | None = None
        self._lasts = Capability.PERSISTENCE in store.capabilities
        self._tally = threading.Condition()
        self._rows = self._bytes = 0
        self._touched_at = time.monotonic()
        self._sealing = threading.Lock()
        self._begin(Path(path), cache or CacheConfig())
        self._sealer = Sealer(self._handle, store, self._cache.rows)
        self._chore = BackgroundTask("archetype-seal", self._seal_if_due)
        if self._lasts:
            try:
                agree(self._handle, store)
            except BaseException:
                # The store beneath is the caller's until this is made.
                super().close()
                raise
            # What a handle before this one left.
            self._chore.ask(self._cache.idle_s)

    def __repr__(self) -> str:
        return f"JournaledStore({self.beneath!r}, {str(self.path)!r})"

    @property
    def capabilities(self) -> frozenset[Capability]:
        ours = super().capabilities
        if not self._lasts:
            return ours
        # What is still here is ranked here.
        more = {Capability.PERSISTENCE, *(self.beneath.capabilities & {Capability.SEARCH})}
        return ours & self.beneath.capabilities | more

    # Writing.

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        self._check_open()
        if not ticks:
            return
        if self._lasts:
            conflict = self._sealer.conflicts.get(ticks[0].segment.world_id)
            if conflict is not None:
                raise TickConflict(conflict.world_id, conflict.expected, ticks[0].tick)
            self._adopt(ticks[0])
            self._wait_for_room()
        prepared = self._commit(ticks)
        if self._lasts:
            self._note(*prepared.bulk)

    def _adopt(self, first: TickCommit) -> None:
        """Take up from the store beneath what a commit builds on and the journal has not heard of."""
        parent = first.segment.parent
        for world_id in (first.segment.world_id, *([parent.world_id] if parent else [])):
            if not self._knows(world_id):
                adopt(self._handle, self.beneath, world_id)

    def _knows(self, world_id: str) -> bool:
        """Whether the journal has heard of a world."""
        if self._handle.catalog.knows(world_id):
            return True
        with self._handle.reader.read() as view:
            return view.active(world_id) is not None

    def _note(self, rows: int, size: int) -> None:
        with self._tally:
            self._rows += rows
            self._bytes += size
            self._touched_at = time.monotonic()
            due = self._is_over(1)
        self._chore.ask(_RETRY_S if self.trouble is not None else 0.0 if due else self._cache.idle_s)

    def _is_over(self, times: int) -> bool:
        cache = self._cache
        return self._rows >= times * cache.rows or self._bytes >= times * cache.megabytes * 2**20

    def _wait_for_room(self) -> None:
        with self._tally:
            while self._is_over(_OVERFLOW) and self.trouble is None and self._is_open:
                self._chore.ask()
                self._tally.wait(1.0)

    def seal(self) -> int:
        """Hand over everything that waits, now; the number of ticks that went."""
        self._check_open()
        if not self._lasts:
            raise UnsupportedCapability(repr(self.beneath), Capability.PERSISTENCE)
        return self._seal()

    def _seal(self) -> int:
        with self._sealing:
            with self._tally:
                rows, size = self._rows, self._bytes
            try:
                count = self._sealer.seal()
            except Exception as failure:
                self.trouble = failure
                raise
            else:
                self.trouble = None
                with self._tally:
                    self._rows -= rows
                    self._bytes -= size
            finally:
                with self._tally:
                    self._tally.notify_all()
        return count

    def _seal_if_due(self) -> None:
        with self._tally:
            left = self._cache.idle_s - (time.monotonic() - self._touched_at)
            if left > 0 and not self._is_over(1) and self.trouble is None:
                self._chore.ask(left)
                return
        try:
            self._seal()
        except Exception as failure:  # noqa: BLE001  # reason: a store beneath fails in its own ways; nothing is lost
            if self._is_open:
                _log.warning("%r handed nothing over, and will try again: %s", self, failure)
                self._chore.ask(_RETRY_S)

    # Reading.

    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        return self.beneath.scan(scan) if self._is_only_beneath(scan.segment.world_id) else super().scan(scan)

    def _batches(self, scan: Scan, segment: int, form: int, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        with self._handle.reader.read() as view:
            sealed = view.branch(segment).sealed
        if scan.first <= sealed:
            yield from self.beneath.scan(replace(scan, last=min(scan.last, sealed)))
            scan = replace(scan, first=sealed + 1)
        yield from super()._batches(scan, segment, form, schema)

    def _beneath(self, place: Beneath, table: str) -> Rows | None:
        form = self._handle.catalog.form(table)
        assert form is not None
        return rows_beneath(self.beneath, place, self._handle.catalog.table(form).schema, table)

    def _live_beneath(self, place: Beneath, table: str) -> int:
        return self.beneath.head(place.branch.segment.world_id, at=place.tick).live.get(table, 0)

    def head(self, world_id: str, *, at: int | None = None) -> Head:
        return self.beneath.head(world_id, at=at) if self._is_only_beneath(world_id) else super().head(world_id, at=at)

    def _head(self, view: View, branch: SegmentEntry, tick: int) -> Head:
        if tick <= branch.sealed:
            return replace(self.beneath.head(branch.segment.world_id, at=tick), segment=branch.segment)
        return super()._head(view, branch, tick)

    def search(self, search: Search) -> pa.Table:
        """The best of a table at a tick, wherever its rows are: in the journal, or beneath."""
        self._check_open()
        beneath = self.beneath
        if Capability.SEARCH not in self.capabilities or not isinstance(beneath, SearchStore):
            raise UnsupportedCapability(repr(self), Capability.SEARCH)
        if self._is_only_beneath(search.segment.world_id):
            return beneath.search(search)
        with self._handle.reader.read() as view:
            branch = view.find(search.segment.world_id, search.segment.run_id)
            if branch is None:
                raise TickNotFound(search.segment.name, search.tick, None, None)
            if not branch.first <= search.tick <= branch.last:
                raise TickNotFound(search.segment.name, search.tick, branch.first, branch.last)
            form = view.catalog.form(search.table)
            rows = None if form is None else view.rows(branch, form, search.tick)
            if isinstance(rows, Rows):
                from archetype_core.read import rank

                live = rows.live
                return rank(live.entity_ids, live.columns[search.column].arrow, search)
        if rows is None:
            from archetype_core.read import FOUND

            return FOUND.empty_table()
        # What is beneath never changes, so it does not matter that the view is closed.
        return beneath.search(replace(search, segment=rows.branch.segment, tick=rows.tick))

    def timeline(self, world_id: str) -> Timeline:
        return self.beneath.timeline(world_id) if self._is_only_beneath(world_id) else super().timeline(world_id)

    def worlds(self) -> tuple[WorldRecord, ...]:
        ours = super().worlds()
        known = {one.world_id for one in ours}
        return (*ours, *(one for one in self.beneath.worlds() if one.world_id not in known))

    def _is_only_beneath(self, world_id: str) -> bool:
        """Whether only the store beneath has heard of a world."""
        self._check_open()
        return not self._knows(world_id) and any(one.world_id == world_id for one in self.beneath.worlds())

    def close(self) -> None:
        if not self._handle.presence.is_here:
            return
        if self._is_open and self._lasts:
            self._chore.stop()
            try:
                self._seal()
            except Exception as failure:  # noqa: BLE001  # reason: as above; whoever opens it next hands it over
                _log.warning("%r handed nothing over on closing: %s", self, failure)
        try:
            super().close()
        finally:
            self.beneath.close()
