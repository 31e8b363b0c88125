"""Counts values into bins, as ``numpy.histogram`` and ``numpy.histogram2d`` do: every bin but the last is without its upper edge.

Bins of equal width are found by arithmetic, and values near an edge are compared with it: several times
faster than a search, with exactly the same counts.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]
Counts = np.ndarray[Any, np.dtype[np.int64]]
Places = np.ndarray[Any, np.dtype[np.intp]]

_BLOCK = 1 << 14
"""So many values are binned at a time, so that what is in between stays in the processor's cache."""
_ROUNDING = 2.0**-49
"""The relative error of what is computed here, with room to spare."""
_GREATEST = 2.0**1020
_LEAST = 2.0**-960
"""A range that is narrower than this is too narrow for arithmetic."""


def even_edges(low: float, high: float, bins: int) -> Floats:
    """Return the edges of bins of equal width; of a range without width those around it, as numpy has them."""
    if low == high:
        low, high = low - 0.5, high + 0.5
    # The width of the widest ranges is no float64, and neither is what linspace makes of numbers near the largest.
    scale = 1.0 if max(abs(low), abs(high), high - low) < _GREATEST else 0.25
    edges = np.linspace(low * scale, high * scale, bins + 1)
    if scale != 1.0:
        edges = np.clip(edges / scale, low, high)
        # A quarter of the least number is none.
        edges[0], edges[-1] = low, high
    return edges


def histogram(values: Floats, edges: Floats, *, is_even: bool) -> tuple[Counts, int]:
    """Return the counts of finite values by bin, and how many are outside of all bins."""
    is_within = _within(values, edges)
    kept = values if is_within is None else values[is_within]
    counts = np.bincount(_placed(kept, edges, is_even=is_even), minlength=len(edges) - 1)
    return counts.astype(np.int64, copy=False), len(values) - len(kept)


def density(x: Floats, y: Floats, x_edges: Floats, y_edges: Floats) -> tuple[Counts, int]:
    """Return the counts of points by bins of equal width, one row for each bin of ``y``, and how many are outside."""
    x_within, y_within = _within(x, x_edges), _within(y, y_edges)
    total = len(x)
    if x_within is not None or y_within is not None:
        kept = x_within if y_within is None else y_within if x_within is None else x_within & y_within
        x, y = x[kept], y[kept]
    width, height = len(x_edges) - 1, len(y_edges) - 1
    places = _placed(y, y_edges, is_even=True)
    places *= width
    places += _placed(x, x_edges, is_even=True)
    return np.bincount(places, minlength=width * height).reshape(height, width), total - len(x)


def _within(values: Floats, edges: Floats) -> np.ndarray[Any, np.dtype[np.bool_]] | None:
    """Which values are in some bin; ``None`` for all of them."""
    if not len(values) or (values.min() >= edges[0] and values.max() <= edges[-1]):
        return None
    return np.asarray((values >= edges[0]) & (values <= edges[-1]))


def _placed(values: Floats, edges: Floats, *, is_even: bool) -> Places:
    """The bin of every value; all are in one."""
    low, high, bins = float(edges[0]), float(edges[-1]), len(edges) - 1
    width = high - low
    size = max(abs(low), abs(high))
    # How far, in bins, rounding may put a value from where it is. The edges are rounded too.
    error = _ROUNDING * bins * (1 + size / width) if np.isfinite(width) and width > _LEAST else 1.0
    if not is_even or error > 0.25:
        return np.asarray(np.minimum(np.searchsorted(edges, values, "right") - 1, bins - 1))
    found = np.empty(len(values), np.intp)
    factor = bins / width
    for begin in range(0, len(values), _BLOCK):
        block = values[begin : begin + _BLOCK]
        places = found[begin : begin + _BLOCK]
        exact = (block - low) * factor
        places[:] = exact
        exact -= places
        near = ((exact < error) | (exact > 1 - error)).nonzero()[0]
        if len(near):
            there = np.minimum(places[near], bins - 1)
            there -= block[near] < edges[there]
            there += (block[near] >= edges[there + 1]) & (there != bins - 1)
            places[near] = there
    return found
