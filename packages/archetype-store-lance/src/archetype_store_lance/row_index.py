"""Where the rows of a stretch of ticks lie: one block is one commit's, or those of many that were merged."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from archetype_store_lance.record import MARKS, TILES, CommitRecord
from archetype_store_lance.row_layout import Tile


@dataclass(frozen=True, slots=True)
class Mark:
    """What the world needs to go on after a tick."""

    tick: int
    next_entity_id: int
    applied: tuple[str, ...]


class Block:
    """Tiles by segment and table, and marks by segment, each by tick."""

    def __init__(self, record: CommitRecord) -> None:
        self.record = record
        self._tiles = _groups(record.tiles, ("branch", "table"))
        self._firsts = {
            key: record.tiles.column("first").slice(*where).to_numpy() for key, where in self._tiles.items()
        }
        self._marks = _groups(record.marks, ("branch",))

    @property
    def weight(self) -> int:
        """How much memory it takes, roughly."""
        return int(self.record.tiles.nbytes + self.record.marks.nbytes)

    def upto(self, branch: int, table: int, tick: int) -> Tile | None:
        """The newest tile that begins at a tick or before."""
        firsts = self._firsts.get((branch, table))
        if firsts is None:
            return None
        index = int(np.searchsorted(firsts, tick, side="right")) - 1
        return self._tile((branch, table), index) if index >= 0 else None

    def between(self, branch: int, table: int, first: int, last: int) -> Iterator[Tile]:
        """The tiles that begin after a tick, up to another, in order."""
        firsts = self._firsts.get((branch, table))
        if firsts is not None:
            begin, end = np.searchsorted(firsts, [first, last], side="right")
            for index in range(int(begin), int(end)):
                yield self._tile((branch, table), index)

    def mark(self, branch: int, tick: int) -> Mark | None:
        """What holds at a tick."""
        where = self._marks.get((branch,))
        if where is None:
            return None
        ticks = self.record.marks.column("tick").slice(*where).to_pylist()
        index = bisect_right(ticks, tick) - 1
        if index < 0:
            return None
        row = self.record.marks.slice(where[0] + index, 1).to_pylist()[0]
        return Mark(row["tick"], row["next_entity_id"], tuple(row["applied"]))

    def _tile(self, key: tuple[int, int], index: int) -> Tile:
        row = self._tiles[key][0] + index
        values = self.record.tiles.slice(row, 1).to_pylist()[0]
        return Tile(*(values[name] for name in TILES.names[2:]))


def _groups(table: pa.Table, names: tuple[str, ...]) -> Mapping[tuple[int, ...], tuple[int, int]]:
    """Where the rows of each group begin and how many they are; they lie together."""
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


def tile_rows(found: Iterable[tuple[int, int, Tile]]) -> pa.Table:
    """Tiles with their segments and tables, as they are stored."""
    rows = [(b, t, one.first, one.ticks, one.start, one.live, one.gone, one.ids) for b, t, one in found]
    columns = list(zip(*rows, strict=True)) or [()] * len(TILES)
    return pa.Table.from_arrays([pa.array(column, pa.int64()) for column in columns], schema=TILES)


def mark_rows(branch: int, marks: Iterable[Mark]) -> pa.Table:
    """Marks of one segment, as they are stored."""
    kept = list(marks)
    columns = [
        pa.array([branch] * len(kept), pa.int64()),
        pa.array([one.tick for one in kept], pa.int64()),
        pa.array([one.next_entity_id for one in kept], pa.int64()),
        pa.array([list(one.applied) for one in kept], MARKS.field("applied").type),
    ]
    return pa.Table.from_arrays(columns, schema=MARKS)


def merged(records: Iterable[CommitRecord]) -> CommitRecord:
    """One record in place of several; a mark that says what the one before it says is left out."""
    kept = list(records)
    tiles = pa.concat_tables([one.tiles for one in kept])
    order = pc.sort_indices(tiles, sort_keys=[(name, "ascending") for name in ("branch", "table", "first")])
    marks = pa.concat_tables([one.marks for one in kept])
    marks = marks.take(pc.sort_indices(marks, sort_keys=[("branch", "ascending"), ("tick", "ascending")]))
    if marks.num_rows:
        lengths = pc.list_value_length(marks.column("applied")).to_numpy()
        ids, branches = (marks.column(name).to_numpy() for name in ("next_entity_id", "branch"))
        news = np.ones(marks.num_rows, bool)
        # Two that both applied nothing say the same; of others that is not looked for.
        idle = (lengths[1:] == 0) & (lengths[:-1] == 0)
        news[1:] = ~(idle & (ids[1:] == ids[:-1]) & (branches[1:] == branches[:-1]))
        marks = marks.filter(pa.array(news))
    return CommitRecord({}, tiles.take(order).combine_chunks(), marks.combine_chunks())
