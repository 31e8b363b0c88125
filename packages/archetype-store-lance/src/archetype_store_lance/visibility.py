"""Finds the rows that are visible in a table at a tick, from the log alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from archetype_core.errors import CorruptStore
from archetype_store_lance.log import Log
from archetype_store_lance.row_index import RowIndex, TickEntry
from archetype_store_lance.row_layout import RowGroup
from archetype_store_lance.state import StoreState


@dataclass(frozen=True, slots=True)
class VisibleRows:
    """Consecutive ticks of a table, and the row group whose rows they show."""

    first: int
    last: int
    group: RowGroup
    at: int | None = None
    """The earlier tick whose rows these ticks still show; ``None`` if the rows were written in these ticks."""


class Visibility:
    """Answers from one state of the log; ``FileNotFoundError`` once a checkpoint removed what the state refers to."""

    def __init__(self, log: Log, state: StoreState) -> None:
        self._log = log
        self.state = state

    def rows(self, segment: int, table: int, first: int, last: int) -> Iterator[VisibleRows]:
        """The visible rows of a segment's table from tick to tick; ticks without rows are left out."""
        before: RowGroup | None = None
        cursor = first
        for group in self._groups(segment, table, first, last):
            begin = max(group.first, first)
            if begin > cursor:
                yield from self._unchanged(segment, table, cursor, begin - 1, before)
            yield VisibleRows(begin, min(group.last, last), group)
            cursor, before = group.last + 1, group
        if cursor <= last:
            yield from self._unchanged(segment, table, cursor, last, before)

    def _unchanged(
        self, segment: int, table: int, first: int, last: int, before: RowGroup | None
    ) -> Iterator[VisibleRows]:
        # Looked up only here: it may take a row index that nothing else needs.
        before = before or self._newest(segment, table, first - 1)
        found = (before, before.last) if before is not None else self._inherited(segment, table)
        if found is not None and found[0].live:
            yield VisibleRows(first, last, *found)

    def _inherited(self, segment: int, table: int) -> tuple[RowGroup, int] | None:
        """The row group and tick of an ancestor that are visible before the segment writes the table itself."""
        parent = self.state.segments[segment].segment.parent
        while parent is not None:
            above = self.state.find(parent.world_id, parent.run_id)
            if above is None:
                return None
            group = self._newest(above, table, parent.tick)
            if group is not None:
                return group, min(group.last, parent.tick)
            parent = self.state.segments[above].segment.parent
        return None

    def at(self, segment: int, table: int, tick: int) -> VisibleRows | None:
        """The visible rows at one tick."""
        return next(self.rows(segment, table, tick, tick), None)

    def tick_entry(self, segment: int, tick: int) -> TickEntry:
        """The tick entry that holds at a tick of a segment."""
        for index in self._indexes(segment, tick, tick):
            found = index.tick_entry(segment, tick)
            if found is not None:
                return found
        name = self.state.segments[segment].segment.name
        raise CorruptStore(f"the log of world {name!r}", f"it has no entry for tick {tick}")

    def _newest(self, segment: int, table: int, tick: int) -> RowGroup | None:
        """The newest row group of a segment's table that begins at a tick or before it."""
        known = self.state.segments[segment].tables.get(table)
        if known is None or tick < known.first:
            return None
        if tick >= known.newest.first:
            return known.newest
        for ref in reversed(self.state.indexes):
            span = ref.spans.get(segment)
            if span is not None and span[0] <= tick:
                found = self._log.index(ref).newest(segment, table, tick)
                if found is not None:
                    return found
        raise CorruptStore(f"the log of table {self.state.tables[table].name}", f"it has no rows for tick {tick}")

    def _groups(self, segment: int, table: int, first: int, last: int) -> Iterator[RowGroup]:
        """The row groups that cover any of some ticks, in order."""
        known = self.state.segments[segment].tables.get(table)
        if known is None or last < known.first:
            return
        before = self._newest(segment, table, first)
        if before is not None and before.covers(first):
            yield before
        if first >= known.newest.first:
            return
        for index in self._indexes(segment, first, last):
            yield from index.between(segment, table, first, last)

    def _indexes(self, segment: int, first: int, last: int) -> Iterator[RowIndex]:
        for ref in self.state.indexes:
            span = ref.spans.get(segment)
            if span is not None and span[0] <= last and first <= span[1]:
                yield self._log.index(ref)
