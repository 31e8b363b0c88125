"""How rows lie in a Lance table: ticks side by side, in tiles that keep each entity's rows of several ticks together.

A tile is a rectangle of consecutive ticks that wrote the same entities in the same order: all ticks of the first entity,
then all of the second. What an entity does not change then lies in runs, which cost nothing, and its history is read in
a few pieces. Ticks that differ in their entities, that have tombstones, or that are large, are tiles of one tick: its rows as
they were committed, the active ones first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from archetype_core.schema import owned
from archetype_core.store import TICK, Rows

MOST_ROWS = 65_536
MOST_TICKS = 1_024
MOST_BYTES = 64 << 20
_ALIGNMENT = 16

Positions = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Tile:
    """Where the rows of some ticks of one table of one segment are: ``start`` counts the table's rows, which never move."""

    first: int
    ticks: int
    start: int
    live: int
    """Active rows of each tick."""
    gone: int
    """Tombstones, where it is a single tick."""
    ids: int
    """A hash of the entities, in order: tiles with the same have them at the same offsets."""

    @property
    def last(self) -> int:
        return self.first + self.ticks - 1

    @property
    def rows(self) -> int:
        return self.ticks * self.live + self.gone

    def covers(self, tick: int) -> bool:
        """Whether a tick was written in this tile."""
        return self.first <= tick <= self.last

    def holds(self, ticks: Positions, ids: Positions) -> bool:
        """Whether rows, all that lie where it lies, are its own by their ticks and entities."""
        if len(ticks) != self.rows:
            return False
        if self.ticks == 1:
            return bool((ticks == self.first).all()) and _hash(ids[: self.live]) == self.ids
        own = ids.reshape(self.live, self.ticks)
        expected = np.arange(self.first, self.last + 1, dtype=np.int64)
        return (
            bool((ticks.reshape(self.live, self.ticks) == expected).all())
            and bool((own == own[:, :1]).all())
            and _hash(own[:, 0]) == self.ids
        )

    def live_at(self, first: int, last: int, offsets: Positions | None = None) -> Positions:
        """The positions of active rows, of all entities or those at some offsets, from tick to tick, in order."""
        among: Positions = np.arange(self.live, dtype=np.int64) if offsets is None else offsets
        ticks = np.arange(first - self.first, last - self.first + 1, dtype=np.int64)
        return (self.start + ticks[:, None] + among[None, :] * self.ticks).ravel()

    def gone_at(self) -> Positions:
        """The positions of the tombstones."""
        begin = self.start + self.ticks * self.live
        return np.arange(begin, begin + self.gone, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Write:
    """What one tick writes to a table."""

    tick: int
    rows: Rows


def tiles(writes: Iterable[Write], start: int) -> Iterator[tuple[Tile, Sequence[Write]]]:
    """The tiles that writes to one table make, in order, with what goes into each."""
    known: tuple[pa.Array, int] | None = None
    waiting: list[Write] = []
    made: Tile | None = None
    for write in writes:
        ids = write.rows.live.entity_ids
        if known is None or not (known[0] is ids or known[0].equals(ids)):
            known = (ids, _hash(ids.to_numpy(zero_copy_only=False)))
        if made is not None and _joins(made, write, known[1]):
            waiting.append(write)
            made = Tile(made.first, made.ticks + 1, made.start, made.live, 0, made.ids)
            continue
        if made is not None:
            yield made, waiting
            start = made.start + made.rows
        gone = write.rows.tombstones.num_rows if write.rows.tombstones else 0
        made, waiting = Tile(write.tick, 1, start, write.rows.live.num_rows, gone, known[1]), [write]
    if made is not None:
        yield made, waiting


def _joins(tile: Tile, write: Write, ids: int) -> bool:
    if tile.gone or write.rows.tombstones or not tile.live or tile.ids != ids or write.tick != tile.last + 1:
        return False
    if tile.ticks >= MOST_TICKS or (tile.ticks + 1) * tile.live > MOST_ROWS:
        return False
    size = sum(column.arrow.nbytes for column in write.rows.live.columns.values())
    return bool((tile.ticks + 1) * size <= MOST_BYTES)


def _hash(ids: Positions) -> int:
    return int.from_bytes(hashlib.blake2b(ids.tobytes(), digest_size=8).digest(), "little", signed=True)


class Layout:
    """How the rows of a segment are stored: in the columns of a table, with those that are the same in every row."""

    def __init__(self, schema: pa.Schema, constant: Mapping[str, str]) -> None:
        self._schema = schema
        self._constant = {name: pa.array([value], schema.field(name).type) for name, value in constant.items()}

    def batches(self, tile: Tile, writes: Sequence[Write]) -> Iterator[pa.RecordBatch]:
        """The rows of a tile."""
        table = pa.concat_tables([write.rows.to_arrow() for write in writes])
        ticks = np.arange(tile.first, tile.last + 1, dtype=np.int64)
        if tile.ticks == 1:
            table, tick = _aligned(table), np.repeat(ticks, table.num_rows)
        else:
            order = np.arange(table.num_rows, dtype=np.int64).reshape(tile.ticks, tile.live).T.ravel()
            table, tick = table.combine_chunks().take(pa.array(order)), np.tile(ticks, tile.live)
        table = table.append_column(TICK, pa.array(tick))
        for batch in table.to_batches(max_chunksize=MOST_ROWS):
            columns = {name: self._repeated(name, batch.num_rows) for name in self._constant}
            columns |= {name: batch.column(name) for name in batch.schema.names}
            yield pa.RecordBatch.from_arrays([columns[name] for name in self._schema.names], schema=self._schema)

    def _repeated(self, name: str, count: int) -> pa.Array:
        """A part of the longest such column so far."""
        known = self._constant[name]
        if len(known) < count:
            known = self._constant[name] = pa.repeat(known[0], count)
        return known.slice(0, count)


def _aligned(table: pa.Table) -> pa.Table:
    """The table with every buffer where the engine may read it: bytes that came from a file lie anywhere."""
    columns = [
        column if all(_is_aligned(chunk) for chunk in column.chunks) else pa.chunked_array([owned(column)], column.type)
        for column in table.columns
    ]
    return pa.Table.from_arrays(columns, schema=table.schema)


def _is_aligned(array: pa.Array) -> bool:
    return all(buffer is None or buffer.address % _ALIGNMENT == 0 for buffer in array.buffers())
