"""How rows lie in a Lance table: ticks side by side, in tiles that keep each entity's rows of several ticks together.

A tile is a rectangle of consecutive ticks that wrote the same entities in the same order: all ticks of the first entity,
then all of the second. What an entity does not change then lies in runs, which cost nothing, and its history is read in
a few pieces. Ticks that differ in their entities, that have tombstones, or that are large, are tiles of one tick: its rows as
they were committed, the active ones first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from archetype_core.commit import IS_ACTIVE, Rows
from archetype_core.snapshot import ENTITY_ID, owned

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
            known = (ids, _hash(ids))
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


def _hash(ids: pa.Array) -> int:
    values = np.ascontiguousarray(ids.to_numpy(zero_copy_only=False))
    return int.from_bytes(hashlib.blake2b(values.tobytes(), digest_size=8).digest(), "little", signed=True)


def lay_out(tile: Tile, writes: Sequence[Write], schema: pa.Schema, constant: dict[str, str]) -> pa.Table:
    """The rows of a tile as they are stored."""
    first = pa.concat_tables([write.rows.to_arrow() for write in writes])
    ticks = np.arange(tile.first, tile.last + 1, dtype=np.int64)
    if tile.ticks == 1:
        table, tick = _aligned(first), np.repeat(ticks, first.num_rows)
    else:
        order = np.arange(first.num_rows, dtype=np.int64).reshape(tile.ticks, tile.live).T.ravel()
        table, tick = first.combine_chunks().take(pa.array(order)), np.tile(ticks, tile.live)
    count = table.num_rows
    columns = {
        **{name: pa.repeat(pa.scalar(value, pa.large_string()), count) for name, value in constant.items()},
        "tick": pa.array(tick),
        **{name: table.column(name) for name in (ENTITY_ID, IS_ACTIVE, *table.column_names)},
    }
    return pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)


def _aligned(table: pa.Table) -> pa.Table:
    """The table with every buffer where the engine may read it: bytes that came from a file lie anywhere."""
    columns = [
        column if all(_is_aligned(chunk) for chunk in column.chunks) else pa.chunked_array([owned(column)], column.type)
        for column in table.columns
    ]
    return pa.Table.from_arrays(columns, schema=table.schema)


def _is_aligned(array: pa.Array) -> bool:
    return all(buffer is None or buffer.address % _ALIGNMENT == 0 for buffer in array.buffers())
