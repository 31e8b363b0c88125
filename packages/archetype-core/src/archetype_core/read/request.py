"""Requests to a world's tick history: one object from the handle to the view that answers it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from archetype_core.argument import whole_number
from archetype_core.read.label import Label, Labels, label_columns
from archetype_core.schema.component import Component
from archetype_core.schema.version import Missing
from archetype_core.store.timeline import Timeline

if TYPE_CHECKING:
    from daft.expressions import Expression

Asked = str | tuple[float, ...] | tuple[tuple[float, ...], ...]
"""What a search looks for: words, a vector, or several vectors."""
Ticks = int | range | Iterable[int] | None
"""One tick, a ``range``, any set of ticks, or all."""


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """A query of tick history: base columns and those of ``components``, from every table that has them all."""

    components: tuple[type[Component], ...] = ()
    ticks: Ticks = None
    entity_ids: int | Iterable[int] | None = None
    where: Expression | None = None
    include_inactive: bool = False
    """Whether the answer includes tombstones."""
    lineage: bool = True
    """Whether a fork's history includes its ancestors' ticks up to the fork point."""
    missing: Missing = "null"
    """What a field is that an older version of its component lacks: ``null``, or the field's ``default``."""


@dataclass(frozen=True, slots=True)
class MessageQuery:
    """A read of the messages that were sent; what is ``None`` does not matter."""

    ticks: Ticks = None
    recipient: int | None = None
    sender: int | None = None
    message_kind: str | None = None


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """The ``k`` entities whose vector or text in a column is most like ``query``, at one tick."""

    column: Any
    """``Memory.c.embedding``, or its name."""
    query: Asked
    """A vector for a column of vectors, or several; words for a column of text."""
    k: int = 10
    at: int | None = None
    where: Expression | None = None
    metric: str = "cosine"
    """``cosine``, ``dot`` or ``l2``, for vectors; words rank by BM25."""
    exact: bool = True
    """Whether the answer must be exact; otherwise a store may use an index that misses some of the best."""


@dataclass(frozen=True, slots=True)
class AggregateQuery:
    """Numbers about columns: counts, mean, extremes, quantiles and a histogram, tick by tick."""

    columns: tuple[Any, ...]
    """``Position.c.x``, its name, or a component class for all its columns of numbers."""
    at: int | range | None = None
    """A tick, a range of ticks that is clipped to the history, or ``None`` for the last completed tick."""
    by_archetype: bool = False
    """Whether every table has rows of its own."""
    quantiles: tuple[float, ...] = (0.25, 0.5, 0.75)
    bins: int | tuple[float, ...] | None = None
    """How many bins of equal width a histogram has, or the edges of its bins, ascending; ``None`` for no histogram."""


@dataclass(frozen=True, slots=True)
class DensityQuery:
    """How many entities are where in the plane of two columns, at one tick."""

    x: Any
    y: Any
    at: int | None = None
    bins: tuple[int, int] = (100, 100)
    """How many bins of equal width ``x`` and ``y`` have."""
    x_range: tuple[float, float] | None = None
    """The edges of the first and last bin; ``None`` for the least and greatest value."""
    y_range: tuple[float, float] | None = None


def column_name(column: Any, usage: str) -> str:
    """Return the name of a column that is given by its name or as ``Position.c.x``; ``usage`` ends the text of the error."""
    if isinstance(column, str):
        return column
    from daft.expressions import Expression

    if isinstance(column, Expression):
        return column.name()
    raise TypeError(f"{usage}, not {column!r}")


def checked_bins(bins: Any) -> int | tuple[float, ...] | None:
    """Return a number of bins, or the edges of bins as plain numbers; ``TypeError`` for anything else."""
    if bins is None:
        return None
    if isinstance(bins, Iterable) and not isinstance(bins, str | bytes):
        return tuple(float(one) for one in bins)
    return whole_number(bins, "the number of bins")


def asked(query: Any) -> Asked:
    """Return the words, the vector or the vectors of a search as plain values. An array of two dimensions is several vectors."""
    if isinstance(query, str):
        return query
    try:
        values = tuple(query)
        if (
            values
            and not any(isinstance(one, str) for one in values)
            and all(isinstance(one, Iterable) for one in values)
        ):
            return tuple(tuple(map(float, one)) for one in values)
        return tuple(map(float, values))
    except (TypeError, ValueError):
        raise TypeError(f"query is words, a vector, or a list of vectors, not {query!r}") from None


_BRANCH_FIELDS = (
    pa.field("branch", pa.large_string(), nullable=False),
    pa.field("seed", pa.int64(), nullable=False),
    pa.field("episode", pa.int64(), nullable=False),
)


@dataclass(frozen=True, slots=True)
class Branch:
    """One of several histories in a query, and the values of its ``branch``, ``seed``, ``episode`` and label columns."""

    timeline: Timeline
    branch: str
    seed: int
    episode: int
    labels: Labels = field(default_factory=dict)

    def value(self, column: str) -> Label:
        """Return its value of a column of ``branch_columns``."""
        own: dict[str, Label] = {"branch": self.branch, "seed": self.seed, "episode": self.episode}
        return own[column] if column in own else self.labels.get(column)


def branch_columns(branches: Sequence[Branch]) -> tuple[pa.Field, ...]:
    """Return the columns that tell several histories apart."""
    return (*_BRANCH_FIELDS, *label_columns([one.labels for one in branches]))
