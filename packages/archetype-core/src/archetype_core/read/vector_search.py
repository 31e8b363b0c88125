"""Exact nearest neighbours: float64 results at the cost of a float32 pass.

A first pass in float32 gives each row an interval that contains its exact score. Only rows whose interval reaches the ``k``
best are scored in float64. The answer is bit for bit that of float64 throughout, and costs little more than reading the data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

Floats = np.ndarray[Any, np.dtype[np.float64]]
Matrix = np.ndarray[Any, Any]
Places = np.ndarray[Any, np.dtype[np.int64]]

# A chunk that fits the CPU cache while it is read several times.
_PART_BYTES = 1 << 20
_BLOCK_ROWS = 1 << 16
"""Rows that several queries are compared with at once, so that the products need little memory."""
_UNIT = 2.0**-24
"""The relative error of one float32 rounding."""
_LEAST = 2.0**-126
"""The absolute error of a product that underflows float32, also where denormals are flushed to zero."""
_MOST_VALUES = 1 << 16
"""Longer vectors accumulate so much rounding that the intervals are useless."""


def nearest(values: pa.Array, query: Sequence[float], metric: str, k: int) -> tuple[Places, Floats]:
    """Row numbers that include the ``k`` best vectors, and their exact scores. Nulls never match."""
    width = values.type.list_size
    inner = values.values.slice(values.offset * width, len(values) * width)
    matrix = inner.to_numpy(zero_copy_only=False).reshape(len(values), width)
    asked = np.asarray(query, np.float64)
    valid = np.asarray(values.is_valid()) if values.null_count else np.ones(len(values), np.bool_)
    rows = _candidates(matrix, asked, metric, k, valid)
    return rows, _scores(matrix, rows, asked, metric)


def nearest_each(
    values: pa.Array, queries: Sequence[Sequence[float]], metric: str, k: int
) -> list[list[tuple[Places, Floats]]]:
    """What ``nearest`` finds for each query and block of rows, in one pass over the rows."""
    found: list[list[tuple[Places, Floats]]] = [[] for _ in queries]
    width = values.type.list_size
    for begin in range(0, len(values), _BLOCK_ROWS):
        block = values.slice(begin, _BLOCK_ROWS)
        inner = block.values.slice(block.offset * width, len(block) * width)
        matrix = inner.to_numpy(zero_copy_only=False).reshape(len(block), width)
        valid = np.asarray(block.is_valid()) if block.null_count else np.ones(len(block), np.bool_)
        asked = np.asarray(queries, np.float64).reshape(len(queries), width)
        with np.errstate(all="ignore"):
            lengths = np.sqrt(np.einsum("ij,ij->i", asked, asked))
            directions = (asked / lengths[:, None]).astype(np.float32)
            if matrix.dtype == np.float32:
                products = directions @ matrix.T
                squares = np.einsum("ij,ij->i", matrix, matrix)
        for place, query in enumerate(asked):
            length = float(lengths[place])
            if _has_no_bounds(matrix, length, k):
                rows = np.flatnonzero(valid)
            else:
                rows = _reaching(products[place], squares, valid, length=length, width=width, metric=metric, k=k)
            found[place].append((rows + begin, _scores(matrix, rows, query, metric)))
    return found


def _scores(matrix: Matrix, rows: Places, query: Floats, metric: str) -> Floats:
    scores = np.empty(len(rows), np.float64)
    step = max(1, _PART_BYTES // (8 * max(1, len(query))))
    for begin in range(0, len(rows), step):
        part = matrix[rows[begin : begin + step]].astype(np.float64)
        with np.errstate(all="ignore"):
            if metric == "l2":
                found = -np.sqrt(((part - query) ** 2).sum(axis=1))
            else:
                found = (part * query).sum(axis=1)
                if metric == "cosine":
                    found = found / (np.sqrt((part**2).sum(axis=1)) * math.sqrt(float(query @ query)))
        scores[begin : begin + len(part)] = found
    return scores


def _candidates(
    matrix: Matrix, query: Floats, metric: str, k: int, valid: np.ndarray[Any, np.dtype[np.bool_]]
) -> Places:
    """The valid rows that can be among the ``k`` best."""
    count, width = matrix.shape
    with np.errstate(all="ignore"):
        length = math.sqrt(float(query @ query))
    if _has_no_bounds(matrix, length, k):
        return np.flatnonzero(valid)
    direction = (query / length).astype(np.float32)
    products, squares = np.empty(count, np.float32), np.empty(count, np.float32)
    step = max(1, _PART_BYTES // (4 * width))
    with np.errstate(all="ignore"):
        for begin in range(0, count, step):
            part = matrix[begin : begin + step]
            np.matmul(part, direction, out=products[begin : begin + step])
            np.einsum("ij,ij->i", part, part, out=squares[begin : begin + step])
    return _reaching(products, squares, valid, length=length, width=width, metric=metric, k=k)


def _has_no_bounds(matrix: Matrix, length: float, k: int) -> bool:
    """Whether every row stays a candidate, because there are few or because float32 says nothing about them."""
    count, width = matrix.shape
    return count <= k or matrix.dtype != np.float32 or not 0 < width <= _MOST_VALUES or not 1e-100 < length < 1e100


def _reaching(
    products: Matrix,
    squares: Matrix,
    valid: np.ndarray[Any, np.dtype[np.bool_]],
    *,
    length: float,
    width: int,
    metric: str,
    k: int,
) -> Places:
    """The valid rows whose interval reaches the ``k`` best."""
    with np.errstate(all="ignore"):
        middle, margin = _intervals(products.astype(np.float64), squares.astype(np.float64), length, width, metric)
        lower, upper = middle - margin, middle + margin
    # Not finite, too large or too small: no bound is known, so the row stays a candidate.
    unknown = ~np.isfinite(margin)
    lower[unknown], upper[unknown] = -np.inf, np.inf
    lower[~valid], upper[~valid] = -np.inf, np.nan
    bar = np.partition(lower, len(lower) - k)[len(lower) - k]
    return np.flatnonzero(upper >= bar)


def _intervals(products: Floats, squares: Floats, length: float, width: int, metric: str) -> tuple[Floats, Floats]:
    """The centre and half width of an interval that contains each row's score (for ``l2``, minus its square).

    ``products`` of a row with the query's direction, and ``squares`` of its length, are sums of ``width`` products in
    float32. In any order of summation, the error of such a sum is at most ``width * _UNIT`` of the sum of the absolute
    products (itself at most the product of both lengths), plus ``_LEAST`` per product. Rounding the direction adds one unit.
    Twice that also covers second-order terms and all float64 rounding, which is 2**29 times finer.
    """
    share = 2 * (width + 4) * _UNIT
    least = 8 * width * _LEAST
    longest = np.sqrt(squares + least)
    if metric == "dot":
        return products * length, (share * longest + least) * length
    if metric == "l2":
        off = share * (squares + 2 * length * longest) + least * (1 + 2 * length)
        # For a zero row only float64 rounding remains.
        finer = (width + 8) * 2.0**-48 * (squares + length * length)
        return 2 * length * products - squares - length * length, off + finer
    # A length is known to one part in 2**30 unless its squares underflow.
    half_width = np.where(squares >= width * _LEAST * 2.0**36, share, np.nan)
    return products / np.sqrt(squares), half_width + 0 * squares
