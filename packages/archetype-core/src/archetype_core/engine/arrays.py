"""The columns of a table as numpy arrays, for processors that name ``arrays`` (T9)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from archetype_core.argument import NoSuchKey, nearest
from archetype_core.engine.materialize import membership
from archetype_core.schema.snapshot import ENTITY_ID, Column, Snapshot

if TYPE_CHECKING:
    from daft.expressions import Expression

Array = np.ndarray[Any, Any]


class Arrays:
    """The rows of one table by column, as the earlier processors of this tick left them.

    ``arrays[Position.c.x]`` is a read-only numpy array in row order, made once. Numbers, dates with a time, durations and
    vectors (as rows of a matrix) are not copied; bool, text, bytes, dates and decimals are. A column with nulls, lists,
    maps or models has no numpy form that keeps its values: ``arrays.arrow(column)`` returns it as Arrow.

    A datetime is UTC if its field has a zone, otherwise what the row says.
    """

    __slots__ = ("_leaving", "_made", "_rows", "_source")

    def __init__(self, rows: Snapshot, leaving: Iterable[pa.Array] = ()) -> None:
        self._rows = rows
        self._leaving = leaving
        self._made: dict[str, Array] = {}
        self._source: dict[int, str] = {}

    def __getitem__(self, column: Expression | str) -> Array:
        name = column_name(column)
        made = self._made.get(name)
        if made is None:
            made = self._made[name] = _numpy(name, self.arrow(name), self._rows)
            made.flags.writeable = False
            self._source[id(made)] = name
        return made

    def arrow(self, column: Expression | str) -> pa.Array[Any]:
        """Return a column as an Arrow array, nulls included, without a copy."""
        name = column_name(column)
        try:
            return self._rows.columns[name].arrow
        except KeyError:
            known = self._rows.archetype.column_names
            raise NoSuchKey(
                f"the table has no column {name!r}; it has {', '.join(known) or 'none'}{nearest(name, known)}"
            ) from None

    @property
    def entity_id(self) -> Array:
        """The ids of the entities, in row order (int64)."""
        return self[ENTITY_ID]

    @property
    def leaving(self) -> Array:
        """A mask in row order: which entities are despawned in this tick. They are in the columns until it ends (T2)."""
        name = "leaving"
        made = self._made.get(name)
        if made is None:
            ids = [array for array in self._leaving if len(array)]
            made = membership(self._rows.entity_ids, pa.concat_arrays(ids)) if ids else np.zeros(len(self), np.bool_)
            made.flags.writeable = False
            self._made[name] = made
        return made

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns: those of all components of the table."""
        return self._rows.archetype.column_names

    def __contains__(self, column: object) -> bool:
        return getattr(column, "column_name", lambda: column)() in self.names

    def __len__(self) -> int:
        """Return the number of rows."""
        return self._rows.num_rows

    def __repr__(self) -> str:
        return f"Arrays({len(self)} rows of {', '.join(self.names)})"

    def column_of(self, array: object) -> Column | None:
        """Return the column that an array of this object shows, so that returning it costs nothing."""
        name = self._source.get(id(array))
        return None if name is None else self._rows.columns[name]


def column_name(column: object) -> str:
    """Return the name of a column given as text or as an expression; ``TypeError`` for anything else."""
    if isinstance(column, str):
        return column
    name = getattr(column, "column_name", None)
    found = name() if callable(name) else None
    if isinstance(found, str):
        return found
    raise TypeError(f"{column!r} is not a column: use one such as Position.c.x or 'position__x'")


def _numpy(name: str, array: pa.Array, rows: Snapshot) -> Array:
    remedy = f"read arrays.arrow({name!r})"
    if array.null_count:
        entity = rows.entity_ids[pc.index(array.is_null(), True).as_py()]
        raise ValueError(f"column {name} has nulls (the first at entity {entity}), which numpy cannot hold: {remedy}")
    kind = array.type
    if pa.types.is_fixed_size_list(kind):
        flat: Array = array.flatten().to_numpy(zero_copy_only=False)
        return flat.reshape(len(array), kind.list_size)
    if pa.types.is_nested(kind):
        raise TypeError(f"column {name} is a column of {kind}, which has no numpy form: {remedy}")
    made: Array = array.to_numpy(zero_copy_only=False)
    return made
