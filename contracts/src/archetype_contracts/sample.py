"""The tables that the clauses write, and functions that make rows for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Annotated, Any

import pyarrow as pa
from pydantic import create_model

from archetype_core.schema import Archetype, Column, Component, Snapshot
from archetype_core.store import Rows


class Spot(Component):
    """One number."""

    x: float | None = None


class Motto(Component):
    """Text, bytes and a number."""

    text: str | None = None
    data: bytes | None = None
    rank: Annotated[int, pa.int16()] | None = None


class Marked(Component):
    """A tag without fields."""


class Frozen(Component):
    """Another tag without fields."""


SPOT = Archetype.of(Spot)
MOTTO = Archetype.of(Motto)
BOTH = Archetype.of(Spot, Motto)
MARKED = Archetype.of(Marked)
FROZEN = Archetype.of(Frozen)


@cache
def wide(width: int) -> Archetype:
    """A table with this many columns."""
    fields: dict[str, Any] = {f"f{index}": (float, 0.0) for index in range(width)}
    return Archetype.of(create_model("Wide", __base__=Component, **fields))


def snapshot(archetype: Archetype, values: Mapping[int, Any] | Iterable[int] = ()) -> Snapshot:
    """Rows by entity id: a tuple of values per row, a single value for a table of one column, only ids for a tag."""
    if not isinstance(values, Mapping):
        values = dict.fromkeys(values, ())
    fields = list(archetype.schema)[1:]
    cells = [value if isinstance(value, tuple) else (value,) for value in values.values()]
    columns = {"entity_id": Column(pa.array(list(values), pa.int64()))}
    for index, field in enumerate(fields):
        columns[field.name] = Column(pa.array([row[index] for row in cells], field.type))
    return Snapshot(archetype, columns, len(cells))


def rows(
    archetype: Archetype, live: Mapping[int, Any] | Iterable[int] = (), gone: Mapping[int, Any] | Iterable[int] = ()
) -> Rows:
    """The rows that a tick writes to a table: active rows, and tombstones if there are any."""
    tombstones = snapshot(archetype, gone)
    return Rows(snapshot(archetype, live), tombstones if tombstones.num_rows else None)


def spots(live: Mapping[int, float | None], gone: Mapping[int, float | None] | None = None) -> Rows:
    """Rows of the table with one number."""
    return rows(SPOT, live, gone or {})


def mottos(live: Mapping[int, tuple[Any, ...]], gone: Mapping[int, tuple[Any, ...]] | None = None) -> Rows:
    """Rows of the table with text, bytes and a number."""
    return rows(MOTTO, live, gone or {})
