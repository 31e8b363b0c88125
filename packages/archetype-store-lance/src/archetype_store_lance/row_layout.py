"""Row layout: how the rows of consecutive ticks lie in a Lance table.

A row group holds consecutive ticks that wrote the same entities in the same order, entity by entity: all ticks of the first
entity, then all of the second. Values that an entity does not change form runs, which encode to almost nothing, and the
history of one entity is a few short ranges. A tick with tombstones, with other entities or with many rows is a row group of
its own, stored as it was committed: live rows first, then tombstones.
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
from archetype_store_lance.limits import Limits

_ALIGNMENT = 16

Positions = np.ndarray[Any, np.dtype[np.int64]]
"""Row numbers in a Lance table. A row keeps its number for good."""


@dataclass(frozen=True, slots=True)
class RowGroup:
    """The position of the rows of some consecutive ticks of one segment in one table."""

    first: int
    """The first tick."""
    ticks: int
    start: int
    """The position of the first row."""
    live: int
    """Live rows per tick."""
    tombstones: int
    """Tombstones; only in a group of one tick."""
    ids_hash: int
    """A hash of the live entity ids in order: groups with equal hashes have each entity at the same offset."""

    @property
    def last(self) -> int:
        """The last tick."""
        return self.first + self.ticks - 1

    @property
    def rows(self) -> int:
        """The number of rows, tombstones included."""
        return self.ticks * self.live + self.tombstones

    def covers(self, tick: int) -> bool:
        """Whether the group has the rows that a tick wrote."""
        return self.first <= tick <= self.last

    def matches(self, ticks: Positions, ids: Positions) -> bool:
        """Whether the tick and entity columns read from the group's positions are the group's own."""
        if len(ticks) != self.rows:
            return False
        if self.ticks == 1:
            return bool((ticks == self.first).all()) and _hash(ids[: self.live]) == self.ids_hash
        by_entity = ids.reshape(self.live, self.ticks)
        expected = np.arange(self.first, self.last + 1, dtype=np.int64)
        return (
            bool((ticks.reshape(self.live, self.ticks) == expected).all())
            and bool((by_entity == by_entity[:, :1]).all())
            and _hash(by_entity[:, 0]) == self.ids_hash
        )

    def live_positions(self, first: int, last: int, offsets: Positions | None = None) -> Positions:
        """The positions of live rows from tick to tick, of all entities or of those at some offsets."""
        among: Positions = np.arange(self.live, dtype=np.int64) if offsets is None else offsets
        ticks = np.arange(first - self.first, last - self.first + 1, dtype=np.int64)
        return (self.start + ticks[:, None] + among[None, :] * self.ticks).ravel()

    def tombstone_positions(self) -> Positions:
        """The positions of the tombstones."""
        begin = self.start + self.ticks * self.live
        return np.arange(begin, begin + self.tombstones, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Write:
    """The rows that one tick writes to a table."""

    tick: int
    rows: Rows


def row_groups(writes: Iterable[Write], start: int, limits: Limits) -> Iterator[tuple[RowGroup, Sequence[Write]]]:
    """Group the writes of one table, in order; the first row gets the position ``start``."""
    known: tuple[pa.Array, int] | None = None
    members: list[Write] = []
    group: RowGroup | None = None
    for write in writes:
        ids = write.rows.live.entity_ids
        if known is None or not (known[0] is ids or known[0].equals(ids)):
            known = (ids, _hash(ids.to_numpy(zero_copy_only=False)))
        if group is not None and _fits(group, write, known[1], limits):
            members.append(write)
            group = RowGroup(group.first, group.ticks + 1, group.start, group.live, 0, group.ids_hash)
            continue
        if group is not None:
            yield group, members
            start = group.start + group.rows
        tombstones = write.rows.tombstones.num_rows if write.rows.tombstones else 0
        group = RowGroup(write.tick, 1, start, write.rows.live.num_rows, tombstones, known[1])
        members = [write]
    if group is not None:
        yield group, members


def _fits(group: RowGroup, write: Write, ids_hash: int, limits: Limits) -> bool:
    if group.tombstones or write.rows.tombstones or not group.live:
        return False
    if group.ids_hash != ids_hash or write.tick != group.last + 1:
        return False
    if group.ticks >= limits.group_ticks or (group.ticks + 1) * group.live > limits.group_rows:
        return False
    size = sum(column.arrow.nbytes for column in write.rows.live.columns.values())
    return bool((group.ticks + 1) * size <= limits.group_bytes)


def _hash(ids: Positions) -> int:
    return int.from_bytes(hashlib.blake2b(ids.tobytes(), digest_size=8).digest(), "little", signed=True)


class RowLayout:
    """Turns row groups of one segment into batches in the order in which a Lance table stores them."""

    def __init__(self, schema: pa.Schema, constant: Mapping[str, str], limits: Limits) -> None:
        """``constant`` holds the columns that have one value in every row, by name."""
        self._schema = schema
        self._limits = limits
        self._constant = {name: pa.array([value], schema.field(name).type) for name, value in constant.items()}

    def batches(self, group: RowGroup, writes: Sequence[Write]) -> Iterator[pa.RecordBatch]:
        """The rows of a group."""
        table = pa.concat_tables([write.rows.to_arrow() for write in writes])
        ticks = np.arange(group.first, group.last + 1, dtype=np.int64)
        if group.ticks == 1:
            table, tick = _aligned(table), np.repeat(ticks, table.num_rows)
        else:
            order = np.arange(table.num_rows, dtype=np.int64).reshape(group.ticks, group.live).T.ravel()
            table, tick = table.combine_chunks().take(pa.array(order)), np.tile(ticks, group.live)
        table = table.append_column(TICK, pa.array(tick))
        for batch in table.to_batches(max_chunksize=self._limits.group_rows):
            columns = {name: self._repeated(name, batch.num_rows) for name in self._constant}
            columns |= {name: batch.column(name) for name in batch.schema.names}
            yield pa.RecordBatch.from_arrays([columns[name] for name in self._schema.names], schema=self._schema)

    def _repeated(self, name: str, count: int) -> pa.Array:
        """A constant column: a slice of the longest one made so far."""
        known = self._constant[name]
        if len(known) < count:
            known = self._constant[name] = pa.repeat(known[0], count)
        return known.slice(0, count)


def _aligned(table: pa.Table) -> pa.Table:
    """The table with aligned buffers, as Lance needs them; bytes read from a file may lie anywhere."""
    columns = [
        column if all(_is_aligned(chunk) for chunk in column.chunks) else pa.chunked_array([owned(column)], column.type)
        for column in table.columns
    ]
    return pa.Table.from_arrays(columns, schema=table.schema)


def _is_aligned(array: pa.Array) -> bool:
    return all(buffer is None or buffer.address % _ALIGNMENT == 0 for buffer in array.buffers())
