"""Compares two arrays of one type row by row and bit by bit, nested values included, without a Python object per value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Mask = np.ndarray[Any, np.dtype[np.bool_]]


def same(left: pa.Array, right: pa.Array) -> Mask:
    """Return a mask of the rows that hold the same bits: NaN equals only itself, 0.0 differs from -0.0, null equals null."""
    if not len(left) or _is_one(left, right):
        return np.ones(len(left), np.bool_)
    if not left.null_count and not right.null_count:
        return _equal(left, right)
    here, there = np.asarray(left.is_valid()), np.asarray(right.is_valid())
    found: Mask = ~here & ~there
    both = np.flatnonzero(here & there)
    if len(both):
        rows = pa.array(both)
        found[both] = _equal(left.take(rows), right.take(rows))
    return found


def _is_one(left: pa.Array, right: pa.Array) -> bool:
    """Whether two arrays lie in the same memory, as columns do that were carried from tick to tick."""
    if left.offset != right.offset or len(left.buffers()) != len(right.buffers()):
        return False
    return all(
        (a is None and b is None) or (a is not None and b is not None and a.address == b.address)
        for a, b in zip(left.buffers(), right.buffers(), strict=True)
    )


def _equal(left: pa.Array, right: pa.Array) -> Mask:
    """``same`` for arrays without nulls; what they nest may have some."""
    types, kind = pa.types, left.type
    if types.is_null(kind):
        return np.ones(len(left), np.bool_)
    if types.is_struct(kind):
        found = np.ones(len(left), np.bool_)
        for one, other in zip(left.flatten(), right.flatten(), strict=True):
            found &= same(one, other)
        return found
    if types.is_fixed_size_list(kind):
        flat = same(_fixed_items(left), _fixed_items(right))
        return np.asarray(flat.reshape(len(left), kind.list_size).all(axis=1))
    if types.is_map(kind) or types.is_list(kind) or types.is_large_list(kind):
        return _equal_lists(left, right)
    if types.is_boolean(kind) or types.is_string(kind) or types.is_binary(kind):
        return np.asarray(pc.equal(left, right))
    if types.is_large_string(kind) or types.is_large_binary(kind):
        return np.asarray(pc.equal(left, right))
    return _equal_bytes(left, right, kind.bit_width // 8)


def _equal_bytes(left: pa.Array, right: pa.Array, width: int) -> Mask:
    """Values of one width: floats, numbers, times, decimals."""
    if not width:
        return np.ones(len(left), np.bool_)
    word = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}.get(width)
    count = 1 if word else width
    sides = (
        np.frombuffer(one.buffers()[1], word or np.uint8, len(one) * count, one.offset * width) for one in (left, right)
    )
    here, there = sides
    if word:
        return np.asarray(here == there)
    return np.asarray((here == there).reshape(len(left), width).all(axis=1))


def _fixed_items(array: pa.Array) -> pa.Array:
    width = array.type.list_size
    return array.values.slice(array.offset * width, len(array) * width)


def _equal_lists(left: pa.Array, right: pa.Array) -> Mask:
    """Lists and maps: of the same length, with the same items in the same order."""
    here, there = _offsets(left), _offsets(right)
    found: Mask = np.diff(here) == np.diff(there)
    if not found.all():
        rows = np.flatnonzero(found)
        chosen = pa.array(rows)
        found[rows] = _equal_lists(left.take(chosen), right.take(chosen)) if len(rows) else False
        return found
    differs = np.zeros(int(here[-1] - here[0]) + 1, np.int64)
    for one, other in zip(_items(left, here), _items(right, there), strict=True):
        differs[1:] |= ~same(one, other)
    total = np.cumsum(differs)
    ends = here - here[0]
    return np.asarray(total[ends[1:]] == total[ends[:-1]])


def _offsets(array: pa.Array) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.asarray(array.offsets).astype(np.int64)


def _items(array: pa.Array, offsets: np.ndarray[Any, np.dtype[np.int64]]) -> list[pa.Array]:
    begin, count = int(offsets[0]), int(offsets[-1] - offsets[0])
    children = [array.keys, array.items] if pa.types.is_map(array.type) else [array.values]
    return [one.slice(begin, count) for one in children]
