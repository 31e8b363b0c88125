"""One index of the engine over one column of rows that stand: which of them may be most like a query.

It tells offsets among those rows and nothing else. What it is asked about is read again from where it is kept, so it can
miss rows, and never make one up.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from archetype_core.errors import CorruptStore
from archetype_core.read import Corpus, words_of
from archetype_store_lance.row_layout import Positions
from archetype_store_lance.table import damage, digest_of

_TABLE, _WORDS, _LABEL = "table", "words.arrow", "label.json"
_PARTITION_ROWS = 4_096
# Of a partition in three a query looks at one, of few partitions at all.
_SHARE, _FEWEST = 3, 20
# Each word is a token as it is, so that a text is found by exactly the words that it is ranked by.
_TOKENS: Mapping[str, Any] = {
    "base_tokenizer": "whitespace",
    "lower_case": False,
    "stem": False,
    "remove_stop_words": False,
    "ascii_folding": False,
    "max_token_length": None,
    "with_position": False,
}


class Unfit(Exception):
    """The values are such that an index of them would tell nothing."""


def build(path: Path, values: pa.Array, metric: str | None) -> None:
    """Make an index of vectors by a metric, or of texts by their words, in a directory that is not there yet."""
    path.mkdir()
    known = {"texts": 0, "usual": 0.0} if metric else _build_words(path, values)
    if metric:
        _build_vectors(path, values, metric)
    files = {str(one.relative_to(path)): one for one in sorted(path.rglob("*")) if one.is_file()}
    label = {
        "metric": metric,
        "content": None if metric else digest_of_texts(values),
        "files": {name: (one.stat().st_size, digest_of(one)) for name, one in files.items()},
        **known,
    }
    (path / _LABEL).write_text(json.dumps(label))


def _build_vectors(path: Path, values: pa.Array, metric: str) -> None:
    import lance

    width = values.type.list_size
    matrix = values.values.slice(values.offset * width, len(values) * width).to_numpy(zero_copy_only=False)
    matrix = matrix.reshape(len(values), width)
    with np.errstate(all="ignore"):
        squares = np.einsum("ij,ij->i", matrix, matrix)
    # The engine can tell nothing of others; they are not found.
    fit = np.asarray(values.is_valid()) & np.isfinite(squares) & (squares > 0)
    offsets = np.flatnonzero(fit)
    # Vectors too long for the engine may well be the best of all.
    if len(offsets) < _PARTITION_ROWS or np.isfinite(matrix[~np.isfinite(squares)]).all(axis=1).any():
        raise Unfit
    kept = matrix if len(offsets) == len(values) else matrix[offsets]
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(kept.reshape(-1)), width)
    dataset = lance.write_dataset(pa.table({"offset": offsets, "value": vectors}), str(path / _TABLE))
    dataset.create_index(
        "value", "IVF_FLAT", metric=metric, num_partitions=max(1, len(offsets) // _PARTITION_ROWS), replace=True
    )


def _build_words(path: Path, values: pa.Array) -> dict[str, Any]:
    import lance

    offsets = np.flatnonzero(np.asarray(values.is_valid()))
    if not len(offsets):
        raise Unfit
    texts = values.take(pa.array(offsets))
    corpus = Corpus.of(texts)
    tokens = pa.array((" ".join(words) for words in words_of(texts)), pa.large_string())
    dataset = lance.write_dataset(pa.table({"offset": offsets, "value": tokens}), str(path / _TABLE))
    dataset.create_scalar_index("value", "INVERTED", **_TOKENS)
    having = pa.table({"word": pa.array(corpus.having, pa.large_string()), "texts": pa.array(corpus.having.values())})
    with pa.OSFile(str(path / _WORDS), "wb") as sink, pa.ipc.new_file(sink, having.schema) as writer:
        writer.write_table(having)
    return {"texts": corpus.texts, "usual": corpus.usual}


def digest_of_texts(values: pa.Array) -> str:
    """A checksum of a column of texts: equal for equal texts, in order."""
    texts = values.cast(pa.large_string())
    _, ends, data = texts.buffers()
    offsets = np.frombuffer(ends, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    made = hashlib.sha256(np.asarray(texts.is_valid()).tobytes())
    made.update(np.diff(offsets).tobytes())
    if data is not None:
        made.update(memoryview(data)[offsets[0] : offsets[-1]])
    return made.hexdigest()


@dataclass(frozen=True, slots=True)
class Index:
    """An index as it was built: every byte is looked at before it is believed."""

    dataset: Any
    metric: str | None
    corpus: Corpus | None
    """Of texts, what they are scored among."""
    content: str | None
    """Of texts, the checksum of what was indexed."""

    @classmethod
    def open(cls, path: Path) -> Index:
        """The index of a directory; ``CorruptStore`` unless it is as it was written."""
        import lance

        label = json.loads((path / _LABEL).read_text())
        for name, (size, digest) in label["files"].items():
            problem = damage(path / name, size, digest)
            if problem is not None:
                raise CorruptStore(str(path / name), problem)
        corpus = None
        if not label["metric"]:
            with pa.OSFile(str(path / _WORDS)) as source:
                having = pa.ipc.open_file(source).read_all()
            words, counts = (column.to_pylist() for column in having.columns)
            corpus = Corpus(label["texts"], label["usual"], dict(zip(words, counts, strict=True)))
        return cls(lance.dataset(str(path / _TABLE)), label["metric"], corpus, label["content"])

    def nearest(self, query: tuple[float, ...] | str, count: int) -> Positions:
        """The offsets of so many rows that are likely to be most like a query."""
        if isinstance(query, str):
            return self._matching(query, count)
        asked = np.asarray(query, np.float64).astype(np.float32)
        partitions = max(1, self.dataset.count_rows() // _PARTITION_ROWS)
        wanted = {"column": "value", "q": asked, "k": count, "nprobes": max(_FEWEST, partitions // _SHARE)}
        return self._offsets("_distance", nearest=wanted)

    def _matching(self, query: str, count: int) -> Positions:
        from lance.query import MatchQuery

        words = next(words_of(pa.array([query])))
        if not words:
            return np.empty(0, np.int64)
        return self._offsets("_score", full_text_query=MatchQuery(" ".join(words), "value"), limit=count)

    def _offsets(self, score: str, **question: Any) -> Positions:
        found = self.dataset.scanner(columns=["offset", score], disable_scoring_autoprojection=True, **question)
        offsets: Positions = np.unique(found.to_table().column("offset").to_numpy())
        return offsets
