"""Rows of a frame in the format that a client accepts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa

from archetype_server.paging import Cursor
from archetype_server.problem import BadRequest, NotAcceptable, Unprocessable

if TYPE_CHECKING:
    from daft import DataFrame

JSON, NDJSON, CSV = "application/json", "application/x-ndjson", "text/csv"
ARROW, PARQUET = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"
FORMATS = (JSON, NDJSON, CSV, ARROW, PARQUET)
ORDER = ("tick", "entity_id", "is_active")


def wanted_format(accept: str | None, forms: Sequence[str] = FORMATS) -> str:
    """Return the format that an ``Accept`` header prefers; ``NotAcceptable`` if it takes none of some."""
    best, chosen = 0.0, None
    for part in (accept or "*/*").split(","):
        name, *parameters = (one.strip() for one in part.split(";"))
        quality = 1.0
        for one in parameters:
            if one.startswith("q="):
                try:
                    quality = float(one[2:])
                except ValueError:
                    raise BadRequest(f"Accept has the quality {one!r}, which is no number") from None
        family = name.removesuffix("/*")
        found = next(
            (one for one in forms if name in (one, "*/*") or (name.endswith("/*") and one.startswith(family))), None
        )
        if found is not None and quality > best:
            best, chosen = quality, found
    if chosen is None:
        raise NotAcceptable(f"the answer comes as one of {', '.join(forms)}")
    return chosen


def variant(form: str) -> str:
    """Return what tells a format from others in an ETag; nothing for JSON."""
    return "" if form == JSON else form.rpartition("/")[2].rpartition(".")[2]


def collected(frame: DataFrame, limit: int, *, is_ordered: bool = False) -> pa.Table:
    """Run a frame and return its rows, by tick and entity unless they have an order; ``BadRequest`` for more than the limit."""
    table = frame.limit(limit + 1).to_arrow()
    if table.num_rows > limit:
        raise Unprocessable(
            f"the answer has more than {limit} rows: ask for fewer ticks, entities or components at a time"
        )
    return table if is_ordered else ordered(table)


def ordered(table: pa.Table) -> pa.Table:
    """Return rows by tick and entity, a tombstone before the row of the same entity; costs little if they are so already."""
    keys = [name for name in ORDER if name in table.column_names]
    if not keys or table.num_rows < 2 or _is_ordered(table, keys):
        return table
    return table.sort_by([(name, "ascending") for name in keys])


def _is_ordered(table: pa.Table, keys: Sequence[str]) -> bool:
    is_sorted = np.ones(table.num_rows - 1, np.bool_)
    for name in reversed(keys):
        values = table.column(name).to_numpy()
        is_sorted = (values[1:] > values[:-1]) | ((values[1:] == values[:-1]) & is_sorted)
    return bool(is_sorted.all())


def page(table: pa.Table, offset: int, limit: int) -> tuple[bytes, int | None]:
    """Return some rows as a JSON page, with the cursor of those after them: it names the last tick that was read.

    Returns that tick, too; ``None`` on the last page.
    """
    items = plain(table.slice(offset, limit))
    end = offset + len(items)
    following = tick = None
    if end < table.num_rows:
        # Ordered by tick, so the last row has the last one; a difference has none, and both its moments are named.
        tick = table.column("tick")[-1].as_py() if "tick" in table.column_names else 0
        following = Cursor(tick, end).encoded()
    return msgspec.json.encode({"items": items, "next": following}), tick


def plain(table: pa.Table) -> list[dict[str, Any]]:
    """Return rows as data that JSON can hold. NaN and the infinities are text, as in payloads."""
    rows: list[dict[str, Any]] = table.to_pylist(maps_as_pydicts="strict")
    return [_finite(one) for one in rows] if any(_has_floats(one.type) for one in table.schema) else rows


def _has_floats(kind: pa.DataType) -> bool:
    if pa.types.is_nested(kind):
        return any(_has_floats(kind.field(place).type) for place in range(kind.num_fields))
    return bool(pa.types.is_floating(kind))


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return value
