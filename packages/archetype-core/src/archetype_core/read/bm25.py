"""BM25 scores of texts for the words of a query. A word is a run of letters, digits and ``_``."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Floats = np.ndarray[Any, np.dtype[np.float64]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]
Places = np.ndarray[Any, np.dtype[np.int64]]

# BM25's k1 (saturation of repeated words) and b (normalization by length).
_SATURATION, _LENGTH = 1.2, 0.75
_WORD = r"[\p{L}\p{N}_]+"
_IN_WORDS = bytes(code < 128 and (chr(code).isalnum() or chr(code) == "_") for code in range(256))
"""One for the bytes of words, in texts that are ASCII."""
_PART_BYTES = 1 << 18
_WORDS = re.compile(r"\w+")
_MANY = 65_536


@dataclass(frozen=True, slots=True)
class Corpus:
    """Corpus statistics: the number of texts, and how many of them contain each word."""

    texts: int
    usual: float
    """The mean number of words in a text."""
    having: Mapping[str, int]

    @classmethod
    def of(cls, texts: pa.Array) -> Corpus:
        """The statistics of some texts, none of them null. Reads every word."""
        having: Counter[str] = Counter()
        for words in words_of(texts):
            having.update(set(words))
        lowered = pc.utf8_lower(texts)
        lengths = _lengths(lowered, np.asarray(pc.string_is_ascii(lowered)))
        return cls(len(texts), _usual(lengths), having)


def words_of(texts: pa.Array) -> Iterator[list[str]]:
    """The words of each text, lower-cased."""
    lowered = pc.utf8_lower(texts)
    for begin in range(0, len(lowered), _MANY):
        for text in lowered.slice(begin, _MANY).to_pylist():
            yield _WORDS.findall(text)


def relevant(values: pa.Array, query: str, corpus: Corpus | None = None) -> tuple[Places, Floats]:
    """The rows whose text has any of the query's words, ascending, and their scores. Nulls never match.

    Scores use the statistics of ``corpus``, by default those of ``texts``.
    """
    known = np.flatnonzero(np.asarray(values.is_valid()))
    texts = pc.utf8_lower(values if len(known) == len(values) else values.take(pa.array(known)))
    words = list(dict.fromkeys(_words(pc.utf8_lower(pa.scalar(query)).as_py())))
    if not words or not len(texts):
        return np.empty(0, np.int64), np.empty(0, np.float64)
    ascii_only = np.asarray(pc.string_is_ascii(texts))
    lengths = _lengths(texts, ascii_only)
    usual = _usual(lengths) if corpus is None else corpus.usual
    count = len(texts) if corpus is None else corpus.texts
    scores = np.full(len(texts), np.nan)
    for word, rows, counts in _counts(texts, ascii_only, words):
        having = len(rows) if corpus is None else corpus.having.get(word, 0)
        rarity = math.log1p((count - having + 0.5) / (having + 0.5))
        held = _SATURATION * (1 - _LENGTH + _LENGTH * lengths[rows] / usual)
        before = np.nan_to_num(scores[rows], nan=0.0)
        scores[rows] = before + rarity * counts * (_SATURATION + 1) / (counts + held)
    found = np.flatnonzero(~np.isnan(scores))
    return known[found], scores[found]


def _usual(lengths: Floats) -> float:
    return max(1.0, float(lengths.mean()))


def _lengths(texts: pa.Array, ascii_only: Flags) -> Floats:
    """The number of words in each text."""
    _, ends, data = texts.buffers()
    kind = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    offsets = np.frombuffer(ends, kind)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    # Null where all texts are empty.
    characters = np.empty(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
    lengths = np.empty(len(texts), np.float64)
    begin = 0
    while begin < len(texts):
        end = max(begin + 1, int(np.searchsorted(offsets, offsets[begin] + _PART_BYTES, side="right")) - 1)
        lengths[begin:end] = _starts(characters, offsets[begin : end + 1])
        begin = end
    rest = np.flatnonzero(~ascii_only)
    if len(rest):
        lengths[rest] = pc.count_substring_regex(texts.take(pa.array(rest)), _WORD).to_numpy()
    return lengths


def _starts(characters: np.ndarray[Any, np.dtype[np.uint8]], offsets: Places) -> Places:
    """How many words begin in each text, where the texts lie in one buffer."""
    first = offsets[:-1] - offsets[0]
    within = np.frombuffer(characters[offsets[0] : offsets[-1]].tobytes().translate(_IN_WORDS), np.bool_)
    starts = within.copy()
    np.greater(within[1:], within[:-1], out=starts[1:])
    # A word at the end of a text does not continue in the next text.
    first = first[first < len(within)]
    starts[first] = within[first]
    before: Places = np.searchsorted(np.flatnonzero(starts), offsets - offsets[0])
    return before[1:] - before[:-1]


def _counts(texts: pa.Array, ascii_only: Flags, words: list[str]) -> Iterator[tuple[str, Places, Floats]]:
    """For each word, the texts that contain it and how often."""
    others: dict[int, Counter[str]] = {}
    for word in words:
        maybe = np.flatnonzero(np.asarray(pc.match_substring(texts, word)))
        plain, rest = maybe[ascii_only[maybe]], maybe[~ascii_only[maybe]]
        counts = np.zeros(len(texts), np.float64)
        if len(plain):
            counts[plain] = pc.count_substring_regex(texts.take(pa.array(plain)), rf"\b{word}\b").to_numpy()
        for row in rest.tolist():
            if row not in others:
                others[row] = Counter(_words(texts[row].as_py()))
            counts[row] = others[row][word]
        rows = maybe[counts[maybe] > 0]
        yield word, rows, counts[rows]


def _words(text: str) -> Iterator[str]:
    return (found.group() for found in _WORDS.finditer(text))
