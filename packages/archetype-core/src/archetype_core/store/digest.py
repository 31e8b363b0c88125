"""Canonical digests of ticks: equal only if every value is equal bit by bit, whatever the store, chunking or row order.

World id, run id and tick number are left out, so that a replay in another world has the same digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from archetype_core.schema.snapshot import ENTITY_ID, contiguous
from archetype_core.store.request import IS_ACTIVE


def digest(tables: Iterable[tuple[str, pa.Table]]) -> str:
    """Return the digest of named tables with ``entity_id``, ``is_active`` and component columns; empty ones do not count."""
    total = hashlib.sha256()
    for name, table in sorted(tables, key=lambda pair: pair[0]):
        if table.num_rows:
            total.update(name.encode() + b"\0" + digest_table(table))
    return total.hexdigest()


def digest_table(table: pa.Table) -> bytes:
    """Return the digest of one table's rows; their order does not matter."""
    order = pc.sort_indices(table, sort_keys=[(ENTITY_ID, "ascending"), (IS_ACTIVE, "ascending")])
    table = table.take(order)
    if _has_duplicates(table):
        rows = sorted(_digest_rows(table.slice(index, 1)) for index in range(table.num_rows))
        return hashlib.sha256(b"".join(rows)).digest()
    return _digest_rows(table)


def _has_duplicates(table: pa.Table) -> bool:
    if table.num_rows < 2:
        return False
    ids = contiguous(table.column(ENTITY_ID)).to_numpy(zero_copy_only=False)
    active = contiguous(table.column(IS_ACTIVE)).to_numpy(zero_copy_only=False)
    return bool(np.any((ids[1:] == ids[:-1]) & (active[1:] == active[:-1])))


def _digest_rows(table: pa.Table) -> bytes:
    total = hashlib.sha256(str(table.num_rows).encode())
    for name in sorted(table.column_names):
        array = _compacted(contiguous(table.column(name)))
        total.update(f"\0{name}\0{array.type}\0".encode())
        for piece in _bits(array):
            total.update(len(piece).to_bytes(8, "little"))
            total.update(piece)
    return total.digest()


def _bits(array: pa.Array) -> Iterator[bytes]:
    """Yield the value bits of an array; bytes under nulls are left out."""
    valid = array.is_valid().to_numpy(zero_copy_only=False)
    yield np.packbits(valid).tobytes()
    kind = array.type
    if pa.types.is_null(kind):
        return
    if isinstance(array, pa.ExtensionArray):
        yield from _bits(array.storage)
    elif pa.types.is_dictionary(kind):
        yield from _bits(array.dictionary_decode())
    elif pa.types.is_boolean(kind):
        yield np.packbits(array.fill_null(False).to_numpy(zero_copy_only=False)).tobytes()
    elif pa.types.is_struct(kind):
        for index in range(kind.num_fields):
            yield from _bits(pc.struct_field(array, [index]))
    elif pa.types.is_map(kind):
        yield from _bits(array.cast(pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)]))))
    elif pa.types.is_nested(kind):
        yield pc.list_value_length(array).fill_null(0).cast(pa.int64()).to_numpy(zero_copy_only=False).tobytes()
        yield from _bits(_compacted(pc.list_flatten(array)))
    elif _is_variable(kind):
        lengths = pc.binary_length(array).fill_null(0).cast(pa.int64()).to_numpy(zero_copy_only=False)
        yield lengths.tobytes()
        yield b"".join(value for value in _as_binary(array).to_pylist() if value)
    else:
        width = kind.bit_width // 8
        buffer = array.buffers()[1]
        raw: np.ndarray[Any, Any] = np.frombuffer(buffer, np.uint8, len(array) * width, array.offset * width)
        raw = raw.reshape(len(array), width)
        yield (raw if valid.all() else np.where(valid[:, None], raw, 0).astype(np.uint8)).tobytes()


def _compacted(array: pa.Array) -> pa.Array:
    """Copy an array, so that neither it nor its children have offsets."""
    return array.take(pa.array(np.arange(len(array))))


def _is_variable(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    )


def _as_binary(array: pa.Array) -> pa.Array:
    return array.cast(pa.large_binary())
