"""Compares a table that a processor returned with the rows it was given: names, entities, base columns, memory (T8)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from archetype_core.argument import nearest
from archetype_core.engine.wrong_result import WrongResult
from archetype_core.schema.archetype import BASE_COLUMNS
from archetype_core.schema.snapshot import ENTITY_ID, Column, Snapshot, owned


def collect_table(table: pa.Table, rows: Snapshot, base_values: Mapping[str, Any]) -> dict[str, Column]:
    """Return the table's columns in row order. Without ``entity_id``, it must be in row order itself."""
    names = check_names(table.column_names, rows, BASE_COLUMNS)
    if len(set(table.column_names)) < len(table.column_names):
        twice = next(name for name in table.column_names if table.column_names.count(name) > 1)
        raise WrongResult("process returned it twice", twice)
    if ENTITY_ID in table.column_names:
        table = aligned(table, rows)
    elif table.num_rows != rows.num_rows:
        raise WrongResult(
            f"process returned {table.num_rows} rows for {rows.num_rows} entities, without entity_id to tell which"
        )
    for name, value in base_values.items():
        if name in table.column_names:
            check_base(name, pc.equal(table.column(name), pa.scalar(value)), rows)
    return {name: shared(table.column(name), rows.columns[name]) for name in names}


def check_names(names: Iterable[str], rows: Snapshot, kept: Iterable[str] = ()) -> list[str]:
    """Return the names of the table's columns; ``WrongResult`` for others that are neither helpers nor to be ``kept``."""
    own = []
    for name in names:
        if name in rows.columns and name != ENTITY_ID:
            own.append(name)
        elif name in BASE_COLUMNS:
            if name not in kept:
                raise WrongResult("process wrote it, which only the engine may do: leave it out", name)
        elif not name.startswith("_"):
            known = rows.archetype.column_names
            remedy = nearest(name, known) or f"; it has {', '.join(known) or 'no columns'}"
            raise WrongResult(f"the table has no such column{remedy} (a helper column's name begins with '_')", name)
    return own


def check_base(name: str, same: pa.Array | pa.ChunkedArray, rows: Snapshot) -> None:
    """Raise ``WrongResult`` at the first row where a base column is not as it was given."""
    row = pc.index(same.fill_null(False), False).as_py()
    if row >= 0:
        raise WrongResult.at(rows, row, name, "process wrote it, which only the engine may do: leave it out")


def aligned(table: pa.Table, rows: Snapshot) -> pa.Table:
    """The table in the order of the given rows; Daft's runner does not keep order and may repeat rows."""
    ids = table.column(ENTITY_ID)
    if not pa.types.is_integer(ids.type):
        raise WrongResult(f"it came back as {ids.type}", ENTITY_ID)
    if ids.type != pa.int64():
        ids = ids.cast(pa.int64(), safe=False)
    given = rows.entity_ids
    if ids.equals(pa.chunked_array([given])):
        return table
    positions = pc.index_in(given, value_set=ids)
    if positions.null_count or table.num_rows != rows.num_rows:
        raise _difference(ids, given)
    return table.take(positions)


def _difference(got: pa.ChunkedArray, given: pa.Array) -> WrongResult:
    counted = pc.value_counts(got.combine_chunks())
    doubled = counted.field("values").filter(pc.greater(counted.field("counts"), 1))
    lost = given.filter(pc.invert(pc.is_in(given, value_set=got)))
    invented = got.filter(pc.invert(pc.is_in(got, value_set=given)))
    found = [(what, ids) for what, ids in (("lost", lost), ("repeated", doubled), ("invented", invented)) if len(ids)]
    parts = [f"{what} {len(ids)} of its entities (such as {ids[0].as_py()})" for what, ids in found]
    return WrongResult(
        f"process {', '.join(parts)}; it must return the entities it was given", ENTITY_ID, found[0][1][0].as_py()
    )


def shared(column: pa.ChunkedArray, before: Column | None) -> Column:
    """The new column, or the old object if the runner passed its memory through unchanged."""
    if before is not None and column.type == before.arrow.type and _same_memory(column, before.arrow):
        return before
    # User code may keep writing to a buffer that it returned; committed data must not change.
    return Column(owned(column))


def _same_memory(column: pa.ChunkedArray, array: pa.Array) -> bool:
    where = _addresses(array)
    offset = array.offset
    for chunk in column.chunks:
        if chunk.offset != offset or _addresses(chunk) != where:
            return False
        offset += len(chunk)
    return len(column) == len(array) and len(array) > 0


def _addresses(array: pa.Array) -> list[int | None]:
    return [buffer.address if buffer is not None else None for buffer in array.buffers()]
