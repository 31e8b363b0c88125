"""Reads the visible rows of a scan from a Lance table, as Arrow batches in committed order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from archetype_core.errors import CorruptStore
from archetype_core.schema import ENTITY_ID, contiguous
from archetype_core.store import BASE_FIELDS, IS_ACTIVE, RUN_ID, TICK, WORLD_ID, Scan
from archetype_store_lance.row_layout import Positions, RowGroup
from archetype_store_lance.state import TableState
from archetype_store_lance.table import Tables
from archetype_store_lance.visibility import VisibleRows

_KNOWN = frozenset(BASE_FIELDS) - {ENTITY_ID}
"""Columns whose values follow from the log, so they are not read."""


@dataclass(frozen=True, slots=True)
class RowSlice:
    """Rows to read together: their positions in the table, the ticks that show them, and which are active."""

    positions: Positions
    ticks: Positions
    active: np.ndarray[tuple[int], np.dtype[np.bool_]]

    @classmethod
    def of(cls, positions: Positions, ticks: Positions, *, active: bool) -> RowSlice:
        """Rows that are all active, or all tombstones."""
        return cls(positions, ticks, np.full(len(positions), active, np.bool_))

    def __len__(self) -> int:
        return len(self.positions)

    def after(self, count: int) -> RowSlice:
        """The slice without its first rows."""
        return RowSlice(self.positions[count:], self.ticks[count:], self.active[count:])

    def take(self, rows: Positions) -> RowSlice:
        """Some of the rows."""
        return RowSlice(self.positions[rows], self.ticks[rows], self.active[rows])


class ScanProgress:
    """How far a scan got, so that it can continue from a newer state: its tick, and how many rows of it were returned."""

    def __init__(self, tick: int) -> None:
        self.tick = tick
        self._rows = 0

    def advance(self, part: RowSlice) -> None:
        """Note that a slice was returned."""
        last = int(part.ticks[-1])
        rows = len(part) - int(np.searchsorted(part.ticks, last))
        self._rows = rows + (self._rows if last == self.tick else 0)
        self.tick = last

    def remaining(self, parts: Iterable[RowSlice]) -> Iterator[RowSlice]:
        """Skip the rows of the current tick that were returned already."""
        left = self._rows
        for part in parts:
            if left < len(part):
                yield part.after(left) if left else part
            left = max(0, left - len(part))


class Scanner:
    """One scan over one table."""

    def __init__(self, tables: Tables, scan: Scan, schema: pa.Schema) -> None:
        self._tables = tables
        self._scan = scan
        self._schema = schema
        self._batch_rows = tables.limits.batch_rows
        self._offsets: dict[int, Positions] = {}

    def slices(self, table: TableState, visible: Iterable[VisibleRows]) -> Iterator[RowSlice]:
        """The rows to read, in slices large enough to be worth a read."""
        waiting: list[RowSlice] = []
        count = 0
        for one in visible:
            for part in self._slices_of(table, one):
                waiting.append(part)
                count += len(part)
                if count >= self._batch_rows:
                    yield _joined(waiting)
                    waiting, count = [], 0
        if count:
            yield _joined(waiting)

    def _slices_of(self, table: TableState, visible: VisibleRows) -> Iterator[RowSlice]:
        group = visible.group
        offsets = self._entity_offsets(table, group)
        width = group.live if offsets is None else len(offsets)
        if visible.at is not None:
            rows = group.live_positions(visible.at, visible.at, offsets)
            step = max(1, self._batch_rows // max(1, width))
            for first in range(visible.first, visible.last + 1, step):
                ticks = np.arange(first, min(first + step - 1, visible.last) + 1, dtype=np.int64)
                yield RowSlice.of(np.tile(rows, len(ticks)), np.repeat(ticks, width), active=True)
            return
        if width:
            ticks = np.repeat(np.arange(visible.first, visible.last + 1, dtype=np.int64), width)
            yield RowSlice.of(group.live_positions(visible.first, visible.last, offsets), ticks, active=True)
        if group.tombstones:
            dead = group.tombstone_positions()
            if self._scan.entity_ids is not None:
                ids = self._tables.read(table, dead, [ENTITY_ID]).column(0).to_numpy()
                dead = dead[np.isin(ids, self._scan.entity_ids.to_numpy(zero_copy_only=False))]
            if len(dead):
                yield RowSlice.of(dead, np.full(len(dead), visible.first, np.int64), active=False)

    def _entity_offsets(self, table: TableState, group: RowGroup) -> Positions | None:
        """The offsets of the requested entities in a row group; ``None`` if all are requested."""
        if self._scan.entity_ids is None:
            return None
        found = self._offsets.get(group.ids_hash)
        if found is None:
            found = np.empty(0, np.int64)
            if group.live:
                positions = group.live_positions(group.first, group.first)
                ids = self._tables.read(table, positions, [ENTITY_ID]).column(0).to_numpy()
                wanted = self._scan.entity_ids.to_numpy(zero_copy_only=False)
                found = np.flatnonzero(np.isin(ids, wanted)).astype(np.int64)
            self._offsets[group.ids_hash] = found
        return found

    def read(self, table: TableState, part: RowSlice) -> pa.RecordBatch:
        """Read a slice, without rows that fail the scan's condition."""
        known, part = self._filtered(table, part)
        names = [name for name in self._scan.columns if name not in _KNOWN and name not in known]
        if names and len(part):
            found = self._tables.read(table, part.positions, names)
            known |= {name: found.column(name) for name in names}
        constant = {WORLD_ID: self._scan.segment.world_id, RUN_ID: self._scan.segment.run_id}
        arrays = []
        for name in self._scan.columns:
            if name == TICK:
                arrays.append(pa.array(part.ticks))
            elif name == IS_ACTIVE:
                arrays.append(pa.array(part.active))
            elif name in constant:
                arrays.append(pa.repeat(pa.scalar(constant[name], BASE_FIELDS[name].type), len(part)))
            elif name in known:
                arrays.append(contiguous(known[name]))
            else:
                arrays.append(pa.array([], self._schema.field(name).type))
        if not arrays:
            return pa.RecordBatch.from_struct_array(pa.StructArray.from_buffers(pa.struct([]), len(part), [None]))
        try:
            return pa.RecordBatch.from_arrays(arrays, schema=self._schema)
        except (pa.ArrowException, TypeError) as failure:
            raise CorruptStore(self._tables.uri(table.name), f"its columns have other types: {failure}") from failure

    def _filtered(self, table: TableState, part: RowSlice) -> tuple[dict[str, pa.ChunkedArray], RowSlice]:
        """Predicate pushdown: read the columns of the condition first, and only keep the rows that it holds for."""
        where = self._scan.where
        if not isinstance(where, pc.Expression):
            return {}, part
        # Arrow does not list the fields of an expression. A name that matches by accident costs a read, no more.
        text = str(where)
        names = [name for name in table.schema.names if name in text and name != ENTITY_ID]
        if not names:
            return {}, part
        found = self._tables.read(table, part.positions, names)
        numbered = found.append_column("", pa.array(np.arange(len(part), dtype=np.int64)))
        try:
            kept = numbered.filter(where)
        except (pa.ArrowException, KeyError, TypeError):
            # The condition needs other columns too: the reader of the batches applies it.
            kept = numbered
        return {name: kept.column(name) for name in names}, part.take(kept.column("").to_numpy())


def _joined(parts: list[RowSlice]) -> RowSlice:
    if len(parts) == 1:
        return parts[0]
    return RowSlice(
        np.concatenate([one.positions for one in parts]),
        np.concatenate([one.ticks for one in parts]),
        np.concatenate([one.active for one in parts]),
    )
