"""What a command prints: named columns and rows, or one object. How it looks is ``output``'s business."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

Row = Mapping[str, Any]


@dataclass
class Answer:
    """Rows that may still be on their way, so that they can be printed while they arrive."""

    kind: str
    """What a row is, in the plural, such as ``worlds``; part of the JSON form."""
    columns: Sequence[str]
    rows: Iterable[Row]
    hidden: frozenset[str] = frozenset()
    """Columns that a table for people leaves out."""
    batches: Callable[[], pa.RecordBatchReader] | None = None
    """The same rows as Arrow, if they are in that form already."""
    note: str = ""
    """A line for people, after the table."""


@dataclass
class Facts:
    """One object: a mapping of names to values, shown to people as a list of lines."""

    kind: str
    facts: Mapping[str, Any]
    hidden: frozenset[str] = field(default=frozenset())


def rows_of(reader: pa.RecordBatchReader) -> Iterator[Row]:
    """The rows of Arrow batches as mappings."""
    for batch in reader:
        yield from batch.to_pylist(maps_as_pydicts="strict")
