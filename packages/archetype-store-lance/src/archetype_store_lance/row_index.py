"""The row index: maps ticks of segments and tables to row groups. One log file holds the index of one or more commits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from archetype_journal import pack_attempt, unpack_attempt
from archetype_store_lance.record import ROW_GROUPS, TICKS, CommitRecord
from archetype_store_lance.row_layout import RowGroup


@dataclass(frozen=True, slots=True)
class TickEntry:
    """What a tick has beside rows: the next free entity id, the applied commands, the attempt, and the continuation."""

    tick: int
    next_entity_id: int
    applied: tuple[str, ...]
    attempt: str
    continuation: bytes


class RowIndex:
    """Row groups by segment and table, and tick entries by segment, each ordered by tick."""

    def __init__(self, record: CommitRecord) -> None:
        self.record = record
        self._groups = _runs(record.row_groups, ("segment", "table"))
        self._firsts = {
            key: record.row_groups.column("first").slice(*run).to_numpy() for key, run in self._groups.items()
        }
        self._ticks = _runs(record.ticks, ("segment",))

    @property
    def nbytes(self) -> int:
        """Roughly the memory that the index takes."""
        return int(self.record.row_groups.nbytes + self.record.ticks.nbytes)

    def newest(self, segment: int, table: int, tick: int) -> RowGroup | None:
        """The newest row group that begins at a tick or before it."""
        firsts = self._firsts.get((segment, table))
        if firsts is None:
            return None
        index = int(np.searchsorted(firsts, tick, side="right")) - 1
        return self._group((segment, table), index) if index >= 0 else None

    def between(self, segment: int, table: int, after: int, last: int) -> Iterator[RowGroup]:
        """The row groups that begin after one tick and no later than another, in order."""
        firsts = self._firsts.get((segment, table))
        if firsts is not None:
            begin, end = np.searchsorted(firsts, [after, last], side="right")
            for index in range(int(begin), int(end)):
                yield self._group((segment, table), index)

    def tick_entry(self, segment: int, tick: int) -> TickEntry | None:
        """The newest tick entry of a segment at a tick or before it."""
        run = self._ticks.get((segment,))
        if run is None:
            return None
        ticks = self.record.ticks.column("tick").slice(*run).to_numpy()
        index = int(np.searchsorted(ticks, tick, side="right")) - 1
        if index < 0:
            return None
        row = self.record.ticks.slice(run[0] + index, 1).to_pylist()[0]
        attempt = unpack_attempt(row["attempt"])
        return TickEntry(row["tick"], row["next_entity_id"], tuple(row["applied"]), attempt, row["continuation"])

    def _group(self, key: tuple[int, int], index: int) -> RowGroup:
        row = self._groups[key][0] + index
        values = self.record.row_groups.slice(row, 1).to_pylist()[0]
        return RowGroup(*(values[name] for name in ROW_GROUPS.names[2:]))


def _runs(table: pa.Table, names: tuple[str, ...]) -> Mapping[tuple[int, ...], tuple[int, int]]:
    """Where the rows with each value of some columns begin, and how many they are; equal values lie together."""
    if not table.num_rows:
        return {}
    columns = [table.column(name).to_numpy() for name in names]
    changed = np.zeros(table.num_rows, bool)
    changed[0] = True
    for column in columns:
        changed[1:] |= column[1:] != column[:-1]
    begins = np.flatnonzero(changed)
    ends = [*begins[1:], table.num_rows]
    return {
        tuple(int(column[begin]) for column in columns): (int(begin), int(end - begin))
        for begin, end in zip(begins, ends, strict=True)
    }


def group_table(found: Iterable[tuple[int, int, RowGroup]]) -> pa.Table:
    """Row groups with the numbers of their segments and tables, as a record stores them."""
    rows = [
        (segment, table, one.first, one.ticks, one.start, one.live, one.tombstones, one.ids_hash)
        for segment, table, one in found
    ]
    columns = list(zip(*rows, strict=True)) or [()] * len(ROW_GROUPS)
    return pa.Table.from_arrays([pa.array(column, pa.int64()) for column in columns], schema=ROW_GROUPS)


def tick_table(segment: int, entries: Iterable[TickEntry]) -> pa.Table:
    """Tick entries of one segment, as a record stores them."""
    kept = list(entries)
    columns = [
        pa.array([segment] * len(kept), pa.int64()),
        pa.array([one.tick for one in kept], pa.int64()),
        pa.array([one.next_entity_id for one in kept], pa.int64()),
        pa.array([list(one.applied) for one in kept], TICKS.field("applied").type),
        pa.array([pack_attempt(one.attempt) for one in kept], TICKS.field("attempt").type),
        pa.array([one.continuation for one in kept], TICKS.field("continuation").type),
    ]
    return pa.Table.from_arrays(columns, schema=TICKS)


def merge(records: Iterable[CommitRecord]) -> CommitRecord:
    """Merge the row indexes of several records, without tick entries that repeat the one before."""
    kept = list(records)
    groups = pa.concat_tables([one.row_groups for one in kept])
    order = pc.sort_indices(groups, sort_keys=[(name, "ascending") for name in ("segment", "table", "first")])
    ticks = pa.concat_tables([one.ticks for one in kept])
    ticks = ticks.take(pc.sort_indices(ticks, sort_keys=[("segment", "ascending"), ("tick", "ascending")]))
    if ticks.num_rows:
        lengths = pc.list_value_length(ticks.column("applied")).to_numpy()
        differs = np.ones(ticks.num_rows, bool)
        # Entries with commands always count as different: command ids do not repeat.
        differs[1:] = (lengths[1:] != 0) | (lengths[:-1] != 0)
        for name in ("segment", "next_entity_id", "attempt", "continuation"):
            column = ticks.column(name).combine_chunks()
            differs[1:] |= pc.not_equal(column[1:], column[:-1]).to_numpy(zero_copy_only=False)
        ticks = ticks.filter(pa.array(differs))
    return CommitRecord({}, groups.take(order).combine_chunks(), ticks.combine_chunks())
