"""Turns what a table shows into batches of Arrow: positions in a Lance table, read many at a time, in committed order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from archetype_core.errors import CorruptStore
from archetype_core.schema import ENTITY_ID, contiguous
from archetype_core.store import BASE_FIELDS, IS_ACTIVE, RUN_ID, TICK, WORLD_ID, Scan
from archetype_store_lance.lookup import Shown
from archetype_store_lance.row_layout import Positions, Tile
from archetype_store_lance.state import TableState
from archetype_store_lance.table import Tables

_PIECE_ROWS = 65_536
_ENGINE = frozenset(BASE_FIELDS) - {ENTITY_ID}
"""Columns that are known without reading."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of some ticks: where they are, their ticks, and which are active."""

    positions: Positions
    ticks: Positions
    active: np.ndarray[tuple[int], np.dtype[np.bool_]]

    def __len__(self) -> int:
        return len(self.positions)

    def after(self, rows: int) -> Piece:
        """The piece without its first rows."""
        return Piece(self.positions[rows:], self.ticks[rows:], self.active[rows:])

    def among(self, rows: Positions) -> Piece:
        """Some of its rows."""
        return Piece(self.positions[rows], self.ticks[rows], self.active[rows])


class Scanner:
    """One scan over one table."""

    def __init__(self, tables: Tables, scan: Scan, schema: pa.Schema) -> None:
        self._tables = tables
        self._scan = scan
        self._schema = schema
        self._offsets: dict[int, Positions] = {}

    def pieces(self, table: TableState, shown: Iterable[Shown]) -> Iterator[Piece]:
        """What is to be read, in pieces of a size that pays for a read."""
        waiting: list[Piece] = []
        count = 0
        for one in shown:
            for piece in self._of(table, one):
                waiting.append(piece)
                count += len(piece)
                if count >= _PIECE_ROWS:
                    yield _joined(waiting)
                    waiting, count = [], 0
        if count:
            yield _joined(waiting)

    def _of(self, table: TableState, shown: Shown) -> Iterator[Piece]:
        tile = shown.tile
        offsets = self._wanted(table, tile)
        width = tile.live if offsets is None else len(offsets)
        if shown.at is not None:
            rows = tile.live_at(shown.at, shown.at, offsets)
            step = max(1, _PIECE_ROWS // max(1, width))
            for first in range(shown.first, shown.last + 1, step):
                ticks = np.arange(first, min(first + step - 1, shown.last) + 1, dtype=np.int64)
                yield _piece(np.tile(rows, len(ticks)), np.repeat(ticks, width), active=True)
            return
        if width:
            ticks = np.repeat(np.arange(shown.first, shown.last + 1, dtype=np.int64), width)
            yield _piece(tile.live_at(shown.first, shown.last, offsets), ticks, active=True)
        if tile.gone:
            gone = tile.gone_at()
            if self._scan.entity_ids is not None:
                ids = self._tables.read(table, gone, [ENTITY_ID]).column(0).to_numpy()
                gone = gone[np.isin(ids, self._scan.entity_ids.to_numpy(zero_copy_only=False))]
            if len(gone):
                yield _piece(gone, np.full(len(gone), shown.first, np.int64), active=False)

    def _wanted(self, table: TableState, tile: Tile) -> Positions | None:
        """The offsets of the entities asked for among those of a tile; ``None`` for all of them."""
        if self._scan.entity_ids is None:
            return None
        found = self._offsets.get(tile.ids)
        if found is None:
            found = np.empty(0, np.int64)
            if tile.live:
                ids = self._tables.read(table, tile.live_at(tile.first, tile.first), [ENTITY_ID]).column(0).to_numpy()
                wanted = self._scan.entity_ids.to_numpy(zero_copy_only=False)
                found = np.flatnonzero(np.isin(ids, wanted)).astype(np.int64)
            self._offsets[tile.ids] = found
        return found

    def read(self, table: TableState, piece: Piece) -> pa.RecordBatch:
        """The batch of a piece; without rows that the scan's condition does not hold for, of which only that much is read."""
        known, piece = self._chosen(table, piece)
        names = [name for name in self._scan.columns if name not in _ENGINE and name not in known]
        if names and len(piece):
            found = self._tables.read(table, piece.positions, names)
            known |= {name: found.column(name) for name in names}
        constant = {WORLD_ID: self._scan.segment.world_id, RUN_ID: self._scan.segment.run_id}
        arrays = []
        for name in self._scan.columns:
            if name == TICK:
                arrays.append(pa.array(piece.ticks))
            elif name == IS_ACTIVE:
                arrays.append(pa.array(piece.active))
            elif name in constant:
                arrays.append(pa.repeat(pa.scalar(constant[name], BASE_FIELDS[name].type), len(piece)))
            elif name in known:
                arrays.append(contiguous(known[name]))
            else:
                arrays.append(pa.array([], self._schema.field(name).type))
        if not arrays:
            return pa.RecordBatch.from_struct_array(pa.StructArray.from_buffers(pa.struct([]), len(piece), [None]))
        try:
            return pa.RecordBatch.from_arrays(arrays, schema=self._schema)
        except (pa.ArrowException, TypeError) as failure:
            raise CorruptStore(self._tables.uri(table.name), f"its columns are of other types: {failure}") from failure

    def _chosen(self, table: TableState, piece: Piece) -> tuple[dict[str, pa.ChunkedArray], Piece]:
        """The rows of a piece that the condition holds for, and their columns that it is about."""
        where = self._scan.where
        if not isinstance(where, pc.Expression):
            return {}, piece
        # An expression does not tell its fields; a name too many is a column that was read in vain.
        told = str(where)
        names = [name for name in table.schema.names if name in told and name != ENTITY_ID]
        if not names:
            return {}, piece
        found = self._tables.read(table, piece.positions, names)
        numbered = found.append_column("", pa.array(np.arange(len(piece), dtype=np.int64)))
        try:
            kept = numbered.filter(where)
        except (pa.ArrowException, KeyError, TypeError):
            # It is about something else too: a hint that is not understood.
            kept = numbered
        return {name: kept.column(name) for name in names}, piece.among(kept.column("").to_numpy())


def _piece(positions: Positions, ticks: Positions, *, active: bool) -> Piece:
    return Piece(positions, ticks, np.full(len(positions), active, np.bool_))


def _joined(pieces: list[Piece]) -> Piece:
    if len(pieces) == 1:
        return pieces[0]
    return Piece(
        np.concatenate([one.positions for one in pieces]),
        np.concatenate([one.ticks for one in pieces]),
        np.concatenate([one.active for one in pieces]),
    )
