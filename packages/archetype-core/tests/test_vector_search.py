"""Nearest vectors are exact in double precision."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from archetype_core.read import METRICS, rank
from archetype_core.read.vector_search import nearest
from archetype_core.store import Search, Segment

Matrix = np.ndarray[Any, Any]

floats = st.one_of(
    st.floats(width=32),
    st.sampled_from([0.0, -0.0, 1.0, 1.0 + 2.0**-23, 1e-45, 1e-30, 1e-20, 2.0**-63, 1e19, 2e19, 3e38]),
    st.floats(-1.0, 1.0, width=32),
)
queries = st.one_of(floats, st.sampled_from([1e-300, 1e-99, 1e99, 1e200, 0.1, 1.0 + 2.0**-52]))


def column(matrix: Matrix, valid: list[bool] | None = None) -> pa.Array:
    """A column of vectors, some of them null."""
    mask = None if valid is None else pa.array([not one for one in valid])
    kind = pa.float32() if matrix.dtype == np.float32 else pa.float64()
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel(), kind), matrix.shape[1], mask=mask)


def plainly(ids: Matrix, matrix: Matrix, query: tuple[float, ...], metric: str, k: int) -> list[tuple[int, float]]:
    """The best by double precision over all rows."""
    wide, asked = matrix.astype(np.float64), np.asarray(query, np.float64)
    with np.errstate(all="ignore"):
        if metric == "l2":
            scores = -np.sqrt(((wide - asked) ** 2).sum(axis=1))
        else:
            scores = (wide * asked).sum(axis=1)
            if metric == "cosine":
                scores = scores / (np.sqrt((wide**2).sum(axis=1)) * math.sqrt(float(asked @ asked)))
    kept = [(one, score) for one, score in zip(ids.tolist(), scores.tolist(), strict=True) if not math.isnan(score)]
    return sorted(kept, key=lambda one: (-one[1], one[0]))[:k]


def found(ids: Matrix, values: pa.Array, query: tuple[float, ...], metric: str, k: int) -> list[tuple[int, float]]:
    """The best by a search."""
    search = Search("t", Segment("w", "r", 0, None, "n", 0), 0, "v", query, k, metric)
    best = rank(pa.array(ids), values, search)
    return list(zip(best.column(0).to_pylist(), best.column(1).to_pylist(), strict=True))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Matrix, tuple[float, ...], list[bool], int]:
    """Few different vectors, many times each, some a last bit apart, and a query that may be one of them."""
    width = draw(st.integers(1, 9))
    seeds = draw(st.lists(st.lists(floats, min_size=width, max_size=width), min_size=1, max_size=5))
    picks = draw(st.lists(st.integers(0, len(seeds) - 1), min_size=1, max_size=40))
    matrix = np.array([seeds[one] for one in picks], np.float32)
    for row, place in draw(st.lists(st.tuples(st.integers(0, 39), st.integers(0, 8)), max_size=6)):
        if row < len(matrix) and place < width:
            matrix[row, place] = np.nextafter(matrix[row, place], np.float32(0))
    query = draw(st.one_of(st.sampled_from(seeds), st.lists(queries, min_size=width, max_size=width)))
    valid = draw(st.lists(st.booleans(), min_size=len(matrix), max_size=len(matrix)))
    return matrix, tuple(query), valid, draw(st.integers(1, 50))


@pytest.mark.parametrize("metric", METRICS)
@given(case=cases())
@example(case=(np.zeros((30, 3), np.float32), (1.0, 0.0, 0.0), [True] * 30, 2))
@example(case=(np.full((30, 2), 3e38, np.float32), (1.0, 1.0), [True] * 30, 2))
def test_every_bit_is_that_of_double_precision(
    metric: str, case: tuple[Matrix, tuple[float, ...], list[bool], int]
) -> None:
    """Entities, scores and ties are those of double precision: for equal rows, huge, tiny, zero, infinite and no numbers."""
    matrix, query, valid, k = case
    ids = np.random.default_rng(len(matrix)).permutation(len(matrix)).astype(np.int64)
    keep = np.array(valid)
    expected = plainly(ids[keep], matrix[keep], query, metric, k)
    assert found(ids, column(matrix, valid), query, metric, k) == expected
    # A part of a larger column is found in as well.
    begin = len(matrix) // 3
    cut = slice(begin, None)
    expected = plainly(ids[cut][keep[cut]], matrix[cut][keep[cut]], query, metric, k)
    assert found(ids[cut], column(matrix, valid).slice(begin), query, metric, k) == expected


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scale", [1e-25, 1e-12, 1.0, 1e12, 1e25])
@pytest.mark.parametrize("spread", [1e-7, 1e-3, 1.0])
def test_rows_that_single_precision_cannot_tell_apart_are_told_apart(metric: str, scale: float, spread: float) -> None:
    """Many rows that differ from each other in their last bits only are ranked as double precision ranks them."""
    draw = np.random.default_rng(5)
    matrix = (scale * (draw.normal(size=33) + spread * draw.normal(size=(5_000, 33)))).astype(np.float32)
    query = tuple((scale * draw.normal(size=33)).tolist())
    ids = draw.permutation(5_000).astype(np.int64)
    for k in (1, 10, 4_999, 5_000, 6_000):
        assert found(ids, column(matrix), query, metric, k) == plainly(ids, matrix, query, metric, k)


@pytest.mark.parametrize("metric", METRICS)
def test_few_rows_need_double_precision(metric: str) -> None:
    """Few rows beyond the best are scored in double precision if distances differ clearly, NaN included."""
    draw = np.random.default_rng(7)
    matrix = draw.normal(size=(20_000, 64)).astype(np.float32)
    matrix[5] = np.nan
    rows, _ = nearest(column(matrix), tuple(draw.normal(size=64)), metric, 10)
    assert 10 <= len(rows) < 30


def test_columns_of_double_precision_are_ranked_as_they_are() -> None:
    """Values that do not fit single precision are not rounded to it."""
    matrix = np.array([[1.0 + 2.0**-40], [1.0], [1.0 + 2.0**-41]])
    assert [one for one, _ in found(np.arange(3), column(matrix), (1.0,), "dot", 2)] == [0, 2]
