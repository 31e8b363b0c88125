"""Which vectors are nearest to a query: exactly those that a computation in double precision finds, most of it in single.

A first pass in single precision gives every row an interval that its exact score lies in. Only rows whose interval reaches the
``k`` best are scored in double precision, so the answer is the same to the last bit and costs little more than reading.
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

# A part that stays in the processor's cache while it is gone over more than once.
_PART_BYTES = 1 << 20
_UNIT = 2.0**-24
"""How much a single rounding in single precision is off, relatively."""
_LEAST = 2.0**-126
"""How much a product that is too small for single precision may be off, absolutely, also where such are taken for zero."""
_MOST_VALUES = 1 << 16
"""Longer vectors gather so much rounding that the intervals tell nothing."""


def nearest(values: pa.Array, query: Sequence[float], metric: str, k: int) -> tuple[Places, Floats]:
    """Some rows of lists of a fixed size, the ``k`` best among them, and their scores; a null is none of them."""
    width = values.type.list_size
    inner = values.values.slice(values.offset * width, len(values) * width)
    matrix = inner.to_numpy(zero_copy_only=False).reshape(len(values), width)
    asked = np.asarray(query, np.float64)
    valid = np.asarray(values.is_valid()) if values.null_count else np.ones(len(values), np.bool_)
    rows = _candidates(matrix, asked, metric, k, valid)
    return rows, _scores(matrix, rows, asked, metric)


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
    """The valid rows that may be among the ``k`` best."""
    count, width = matrix.shape
    with np.errstate(all="ignore"):
        length = math.sqrt(float(query @ query))
    if count <= k or matrix.dtype != np.float32 or not 0 < width <= _MOST_VALUES or not 1e-100 < length < 1e100:
        return np.flatnonzero(valid)
    direction = (query / length).astype(np.float32)
    products, squares = np.empty(count, np.float32), np.empty(count, np.float32)
    step = max(1, _PART_BYTES // (4 * width))
    with np.errstate(all="ignore"):
        for begin in range(0, count, step):
            part = matrix[begin : begin + step]
            np.matmul(part, direction, out=products[begin : begin + step])
            np.einsum("ij,ij->i", part, part, out=squares[begin : begin + step])
        middle, margin = _intervals(products.astype(np.float64), squares.astype(np.float64), length, width, metric)
        lower, upper = middle - margin, middle + margin
    # Not finite, too large or too small to tell: anything may come of it.
    unknown = ~np.isfinite(margin)
    lower[unknown], upper[unknown] = -np.inf, np.inf
    lower[~valid], upper[~valid] = -np.inf, np.nan
    bar = np.partition(lower, count - k)[count - k]
    return np.flatnonzero(upper >= bar)


def _intervals(products: Floats, squares: Floats, length: float, width: int, metric: str) -> tuple[Floats, Floats]:
    """The middle and the half width of an interval around each row's score (``l2``: around the negative of its square).

    ``products`` of a row with the query's direction, and ``squares`` of its length, are sums of ``width`` products in single
    precision. Summed in whatever order, such a sum is off by at most ``width * _UNIT`` of the sum of the absolute products,
    which is at most the product of both lengths, and by ``_LEAST`` for each product. Rounding the direction adds one unit.
    Twice that also covers the terms of second order and all that double precision rounds, which is 2**29 times finer.
    """
    share = 2 * (width + 4) * _UNIT
    least = 8 * width * _LEAST
    longest = np.sqrt(squares + least)
    if metric == "dot":
        return products * length, (share * longest + least) * length
    if metric == "l2":
        off = share * (squares + 2 * length * longest) + least * (1 + 2 * length)
        # Of a row at zero only double precision rounds.
        finer = (width + 8) * 2.0**-48 * (squares + length * length)
        return 2 * length * products - squares - length * length, off + finer
    # A length is told to one part in 2**30 unless it is so small that its squares are lost.
    told = np.where(squares >= width * _LEAST * 2.0**36, share, np.nan)
    return products / np.sqrt(squares), told + 0 * squares
