"""Compares the rows of a table with the row groups in the log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from archetype_core.schema import ENTITY_ID
from archetype_core.store import RUN_ID, TICK, WORLD_ID
from archetype_store_lance.row_layout import Positions, RowGroup
from archetype_store_lance.state import StoreState

COLUMNS = (TICK, ENTITY_ID, WORLD_ID, RUN_ID)
"""The columns that identify a row."""
_STEP = 65_536
_ALL = 1 << 62


def misplaced_rows(
    state: StoreState, table: int, groups: Iterable[pa.Table], batches: Iterator[pa.RecordBatch]
) -> tuple[int, tuple[int, int] | None]:
    """How many rows a table has, and the range of positions with other rows than the log says, if there is one."""
    found = [one.filter(pc.equal(one.column("table"), table)) for one in groups]
    known = pa.concat_tables(found).sort_by("start").drop_columns("table").to_pylist() if found else []
    rows, wrong = _RowKeys(batches, state), []
    for values in known:
        segment, group = values.pop("segment"), RowGroup(**values)
        rows.skip(group.start - rows.passed)
        segments, ticks, ids = rows.take(group.rows)
        if not (group.matches(ticks, ids) and (segments == segment).all()):
            wrong += [group.start, group.start + group.rows]
    rows.skip(_ALL)
    return rows.passed, (min(wrong), max(wrong)) if wrong else None


def ticks_between(
    table: int, groups: Iterable[pa.Table], rows: tuple[int, int]
) -> Iterator[tuple[int, tuple[int, int]]]:
    """The segments, and first and last ticks, whose rows lie between two positions of a table."""
    spans: dict[int, tuple[int, int]] = {}
    for one in groups:
        columns = {name: one.column(name).to_numpy() for name in one.column_names}
        ends = columns["start"] + columns["ticks"] * columns["live"] + columns["tombstones"]
        chosen = (columns["table"] == table) & (columns["start"] < rows[1]) & (ends > rows[0])
        for index in np.flatnonzero(chosen):
            segment, first = int(columns["segment"][index]), int(columns["first"][index])
            last = first + int(columns["ticks"][index]) - 1
            before = spans.get(segment, (first, last))
            spans[segment] = (min(before[0], first), max(before[1], last))
    yield from spans.items()


class _RowKeys:
    """Reads the segment number, tick and entity of rows in stored order."""

    def __init__(self, batches: Iterator[pa.RecordBatch], state: StoreState) -> None:
        self._parts = (_keys(one, state) for one in batches)
        self._left = np.empty((3, 0), np.int64)
        self.passed = 0

    def take(self, count: int) -> Positions:
        """The next rows, as three rows of numbers; fewer at the end."""
        parts, have = [self._left], self._left.shape[1]
        while have < count and (part := next(self._parts, None)) is not None:
            parts.append(part)
            have += part.shape[1]
        whole = self._left if len(parts) == 1 else np.concatenate(parts, axis=1)
        self._left = whole[:, count:]
        self.passed += min(count, have)
        return whole[:, :count]

    def skip(self, count: int) -> None:
        """Pass over rows, without holding all of them."""
        end = self.passed + count
        while self.passed < end and self.take(min(_STEP, end - self.passed)).size:
            pass


def _keys(batch: pa.RecordBatch, state: StoreState) -> Positions:
    """The segment number (-1 if unknown), tick and entity of each row."""
    worlds, runs = (batch.column(name).dictionary_encode() for name in (WORLD_ID, RUN_ID))
    pairs = worlds.indices.to_numpy() * len(runs.dictionary) + runs.indices.to_numpy()
    found, which = np.unique(pairs, return_inverse=True)
    names = (divmod(int(pair), len(runs.dictionary)) for pair in found)
    keys = [(worlds.dictionary[world].as_py(), runs.dictionary[run].as_py()) for world, run in names]
    numbers = np.array([state.segment_numbers.get(key, -1) for key in keys], np.int64)
    return np.stack([numbers[which], batch.column(TICK).to_numpy(), batch.column(ENTITY_ID).to_numpy()])
