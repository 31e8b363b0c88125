"""The rows of one table at one tick, column by column; unchanged columns are shared between ticks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    import numpy as np
    from daft import Series

    from archetype_core.schema.archetype import Archetype

ENTITY_ID = "entity_id"
# Arrow copies runs between the rows that it drops, so up to one row in so many a filter is faster than a take of the others.
_FEW = 64


class Column:
    """An immutable column. It converts between Arrow and Daft on demand, without a copy where the layouts agree."""

    __slots__ = ("__weakref__", "_arrow", "_series")

    def __init__(self, arrow: pa.Array | None = None, series: Series | None = None) -> None:
        self._arrow = arrow
        self._series = series

    @property
    def arrow(self) -> pa.Array:
        """The column as one contiguous Arrow array."""
        array = self._arrow
        if array is None:
            assert self._series is not None
            array = self._arrow = contiguous(self._series.to_arrow())
        return array

    @property
    def series(self) -> Series:
        """The column as a Daft series."""
        series = self._series
        if series is None:
            from daft import Series

            series = self._series = Series.from_arrow(self._arrow, "")
        return series

    def __len__(self) -> int:
        return len(self._arrow if self._arrow is not None else self._series)  # type: ignore[arg-type]  # reason: one is set

    def take(self, indices: pa.Array) -> Column:
        """Return the rows at some positions."""
        return Column(self.arrow.take(indices))

    def filter(self, mask: pa.Array) -> Column:
        """Return the rows that a mask marks."""
        return Column(self.arrow.filter(mask))

    def slice(self, offset: int, length: int) -> Column:
        """Return a run of rows that shares memory."""
        return Column(self.arrow.slice(offset, length))


class Snapshot:
    """The rows of one archetype table: ``entity_id`` and the component columns, without the constant base columns.

    Immutable. ``to_arrow`` builds the table once; ``with_columns`` shares every column that it does not replace.
    """

    __slots__ = ("__weakref__", "_table", "archetype", "columns", "num_rows")

    def __init__(self, archetype: Archetype, columns: Mapping[str, Column], num_rows: int) -> None:
        self.archetype = archetype
        self.columns = columns
        self.num_rows = num_rows
        self._table: pa.Table | None = None

    @classmethod
    def empty(cls, archetype: Archetype) -> Snapshot:
        """Return a snapshot without rows."""
        return cls.from_arrow(archetype, archetype.schema.empty_table())

    @classmethod
    def from_arrow(cls, archetype: Archetype, table: pa.Table) -> Snapshot:
        """Wrap a table that has the archetype's columns, in any order and any chunks."""
        names = archetype.schema.names
        columns = {name: Column(contiguous(table.column(name))) for name in names}
        return cls(archetype, columns, table.num_rows)

    @property
    def entity_ids(self) -> pa.Array:
        """The entity ids, in row order."""
        return self.columns[ENTITY_ID].arrow

    def to_arrow(self) -> pa.Table:
        """Return the rows as an Arrow table with the archetype's schema; built once."""
        table = self._table
        if table is None:
            schema = self.archetype.schema
            table = self._table = pa.Table.from_arrays(
                [self.columns[name].arrow for name in schema.names], schema=schema
            )
        return table

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def __len__(self) -> int:
        return self.num_rows

    def __repr__(self) -> str:
        return f"Snapshot({self.archetype.name}, {self.num_rows} rows)"

    def with_columns(self, changed: Mapping[str, Column]) -> Snapshot:
        """Return the rows with some columns replaced."""
        return Snapshot(self.archetype, {**self.columns, **changed}, self.num_rows)

    def take(self, indices: pa.Array) -> Snapshot:
        """Return the rows at some positions, in that order."""
        columns = {name: column.take(indices) for name, column in self.columns.items()}
        return Snapshot(self.archetype, columns, len(indices))

    def without(self, gone: np.ndarray[Any, np.dtype[np.bool_]]) -> Snapshot:
        """Return the rows that a mask does not mark, in order."""
        kept, count = ~gone, int(gone.sum())
        if count * _FEW > self.num_rows:
            return self.take(pa.array(kept.nonzero()[0]))
        mask = pa.array(kept)
        columns = {name: column.filter(mask) for name, column in self.columns.items()}
        return Snapshot(self.archetype, columns, self.num_rows - count)

    def slice(self, offset: int, length: int) -> Snapshot:
        """Return a run of rows that shares memory."""
        columns = {name: column.slice(offset, length) for name, column in self.columns.items()}
        return Snapshot(self.archetype, columns, length)


def contiguous(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return one array of a chunked one; copies if there are several chunks."""
    if isinstance(array, pa.ChunkedArray):
        return array.chunk(0) if array.num_chunks == 1 else array.combine_chunks()
    return array


def owned(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return a copy that shares no memory."""
    chunks = array.chunks if isinstance(array, pa.ChunkedArray) else [array]
    # Arrow returns a single array as it is; with empty ones beside it, it copies.
    empty = pa.array([], array.type)
    return pa.concat_arrays([*chunks, empty, empty])


def stack(archetype: Archetype, parts: Iterable[Snapshot]) -> Snapshot:
    """Return the rows of several snapshots of one archetype as one."""
    filled = [part for part in parts if part.num_rows]
    if not filled:
        return Snapshot.empty(archetype)
    if len(filled) == 1:
        return filled[0]
    columns = {
        name: Column(pa.concat_arrays([part.columns[name].arrow for part in filled])) for name in archetype.schema.names
    }
    return Snapshot(archetype, columns, sum(part.num_rows for part in filled))
