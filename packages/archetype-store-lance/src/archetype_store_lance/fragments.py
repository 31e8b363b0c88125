"""Fragments of a Lance table: which rows each holds, and which are worth merging."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from archetype_store_lance.limits import Limits
from archetype_store_lance.row_layout import Positions

DATA = "data"
"""The directory of a table's data files."""


@dataclass(frozen=True, slots=True)
class TableVersion:
    """An open version of a table, and the position at which each of its fragments ends.

    Threads share ``dataset``, so it must not be restored or compacted: meanwhile it could not be read.
    """

    dataset: Any
    version: int
    ends: Positions
    names: tuple[tuple[str, ...], ...]
    """The data files of each fragment."""

    @classmethod
    def of(cls, dataset: Any) -> TableVersion:
        """List the fragments of a dataset."""
        fragments = dataset.get_fragments()
        ends: Positions = np.cumsum([one.count_rows() for one in fragments], dtype=np.int64)
        names = tuple(tuple(f"{DATA}/{file.path}" for file in one.data_files()) for one in fragments)
        return cls(dataset, dataset.version, ends, names)

    def files(self, positions: Positions, *, between: bool) -> Iterator[str]:
        """The files that hold some positions; with ``between`` all from the first to the last of them."""
        found = np.unique(np.searchsorted(self.ends, positions, side="right"))
        for index in range(int(found[0]), int(found[-1]) + 1) if between else found:
            if index < len(self.names):
                yield from self.names[index]

    def spans(self) -> dict[str, tuple[int, int]]:
        """The first position of each data file, and the one after its last."""
        begins = [0, *self.ends.tolist()]
        return {name: (begins[index], begins[index + 1]) for index, names in enumerate(self.names) for name in names}

    def mergeable(self, limits: Limits, *, whole: bool) -> slice | None:
        """Adjacent fragments that are worth merging into one; with ``whole`` any that fit into one.

        A merge writes at most one full fragment, and rewrites a row at most once per size in ``limits.small_fragments``.
        """
        sizes = np.diff(self.ends, prepend=0).tolist()
        many = limits.merge_fragments
        for small in (limits.fragment_rows,) if whole else limits.small_fragments:
            for found, full in _adjacent(sizes, small, limits.fragment_rows):
                if whole or full or found.stop - found.start >= many:
                    return found if whole else slice(found.start, min(found.stop, found.start + many))
        return None


def split(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[list[pa.RecordBatch]]:
    """Split batches into fragments of at most so many rows."""
    part: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        left = batch
        while count + left.num_rows > rows:
            yield [*part, left.slice(0, rows - count)]
            left = left.slice(rows - count)
            part, count = [], 0
        part.append(left)
        count += left.num_rows
    if count:
        yield part


def _adjacent(sizes: Sequence[int], small: int, limit: int) -> Iterator[tuple[slice, bool]]:
    """Runs of small fragments that fit into one, and whether the next small one would not fit as well."""
    begin = rows = 0
    for index, size in enumerate([*sizes, small]):
        if size >= small or rows + size > limit:
            if index - begin > 1:
                yield slice(begin, index), size < small
            begin, rows = (index + 1, 0) if size >= small else (index, 0)
        if size < small:
            rows += size
