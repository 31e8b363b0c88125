"""One Arrow form for an answer, wherever it comes from: the same types, and batches of the same size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from archetype_cli.json_value import encoded

_ROWS = 65_536
"""Rows of a batch; the last one has fewer."""


def plain(reader: pa.RecordBatchReader) -> pa.RecordBatchReader:
    """Return the same rows, with texts and lists of the large types, columns that may be null, and no metadata."""
    schema = pa.schema([pa.field(one.name, _large(one.type)) for one in reader.schema])
    return pa.RecordBatchReader.from_batches(schema, _rebatched(reader, schema))


def of_rows(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> pa.Table:
    """Return rows of plain values as Arrow. Mappings differ from row to row, so they become JSON, as do mixed columns."""
    return pa.table({name: _column([row.get(name) for row in rows]) for name in names})


def _column(values: Sequence[Any]) -> pa.Array:
    flat = [encoded(one) if hasattr(one, "items") else one for one in values]
    try:
        return pa.array(flat)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array([None if one is None else encoded(one) for one in values])


def _rebatched(reader: pa.RecordBatchReader, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    waiting: list[pa.RecordBatch] = []
    count = 0
    for batch in reader:
        waiting.append(batch)
        count += batch.num_rows
        if count >= _ROWS:
            table = pa.Table.from_batches(waiting)
            whole = count - count % _ROWS
            for start in range(0, whole, _ROWS):
                yield _batch(table.slice(start, _ROWS), schema)
            waiting, count = table.slice(whole).to_batches(), count - whole
    if count:
        yield _batch(pa.Table.from_batches(waiting), schema)


def _batch(table: pa.Table, schema: pa.Schema) -> pa.RecordBatch:
    columns = [column.cast(field.type) for column, field in zip(table.columns, schema, strict=True)]
    whole = pa.Table.from_arrays(columns, schema=schema)
    # A copy: of a slice, more than its own values may be written.
    (batch,) = whole.take(pa.array(range(whole.num_rows), pa.int64())).combine_chunks().to_batches()
    return batch


def _large(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _large(kind.value_type)
    if pa.types.is_string(kind) or pa.types.is_string_view(kind):
        return pa.large_string()
    if pa.types.is_binary(kind) or pa.types.is_binary_view(kind):
        return pa.large_binary()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.large_list(_large(kind.value_type))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_large(kind.value_type), kind.list_size)
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(one.name, _large(one.type)) for one in kind])
    return kind
