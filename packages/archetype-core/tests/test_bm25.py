"""Scores are BM25, for texts of any alphabet."""

from __future__ import annotations

import math
import re
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archetype_core.read.bm25 import relevant

pieces = st.sampled_from(
    ["fox", "Fox", "foxes", "_fox", "über", "ÜBER", "fox2", " ", " ", ",", "-", "\n", "\N{KELVIN SIGN}", "é"]
)
texts = st.lists(st.one_of(st.none(), st.lists(pieces, max_size=8).map("".join)), max_size=12)


def plainly(values: list[str | None], query: str) -> list[tuple[int, float]]:
    """BM25 computed text by text."""
    known = {row: Counter(re.findall(r"\w+", one.lower())) for row, one in enumerate(values) if one is not None}
    words = dict.fromkeys(re.findall(r"\w+", query.lower()))
    usual = max(1.0, sum(one.total() for one in known.values()) / len(known)) if known else 1.0
    scores: dict[int, float] = {}
    for word in words:
        having = [row for row, counts in known.items() if counts[word]]
        rarity = math.log1p((len(known) - len(having) + 0.5) / (len(having) + 0.5))
        for row in having:
            count = known[row][word]
            held = 1.2 * (1 - 0.75 + 0.75 * known[row].total() / usual)
            scores[row] = scores.get(row, 0.0) + rarity * count * 2.2 / (count + held)
    return sorted(scores.items())


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
@given(values=texts, query=st.lists(pieces, max_size=4).map("".join), begin=st.integers(0, 3))
def test_every_text_is_scored_by_the_words_it_has(
    kind: pa.DataType, values: list[str | None], query: str, begin: int
) -> None:
    """Whole words count, in any case and alphabet, in a column or a slice of it; nulls do not."""
    rows, scores = relevant(pa.array(values, kind).slice(begin), query)
    expected = plainly(values[begin:], query)
    assert rows.tolist() == [row for row, _ in expected]
    assert scores.tolist() == pytest.approx([score for _, score in expected], rel=1e-12)


def test_long_columns_are_counted_part_by_part() -> None:
    """Word counts do not depend on how a column is split into parts."""
    values = ["a" * 500_000 + " fox", "", *["the fox is red"] * 40_000, "", "fox " * 100_000, ""]
    rows, scores = relevant(pa.array(values), "fox")
    expected = plainly(list(values), "fox")
    assert rows.tolist() == [row for row, _ in expected]
    assert scores.tolist() == pytest.approx([score for _, score in expected], rel=1e-12)
