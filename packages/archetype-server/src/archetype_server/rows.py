"""Rows of a frame in the format that a client accepts."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
from litestar import Response

from archetype_server.paging import Cursor
from archetype_server.problem import BadRequest, NotAcceptable

if TYPE_CHECKING:
    from daft import DataFrame

JSON, NDJSON, CSV = "application/json", "application/x-ndjson", "text/csv"
ARROW, PARQUET = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"
FORMATS = (JSON, NDJSON, CSV, ARROW, PARQUET)
ORDER = ("tick", "entity_id")


def wanted_format(accept: str | None) -> str:
    """Return the format that an ``Accept`` header prefers; ``NotAcceptable`` if it takes none of ours."""
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
            (one for one in FORMATS if name in (one, "*/*") or (name.endswith("/*") and one.startswith(family))), None
        )
        if found is not None and quality > best:
            best, chosen = quality, found
    if chosen is None:
        raise NotAcceptable(f"rows come as one of {', '.join(FORMATS)}")
    return chosen


def variant(form: str) -> str:
    """Return what tells a format from others in an ETag; nothing for JSON."""
    return "" if form == JSON else form.rpartition("/")[2].rpartition(".")[2]


def collected(frame: DataFrame, limit: int, *, is_ordered: bool = False) -> pa.Table:
    """Run a frame and return its rows, by tick and entity unless they have an order; ``BadRequest`` for more than the limit."""
    table = frame.limit(limit + 1).to_arrow()
    if table.num_rows > limit:
        raise BadRequest(
            f"the answer has more than {limit} rows: ask for fewer ticks, entities or components at a time"
        )
    keys = [(name, "ascending") for name in ORDER if name in table.column_names and not is_ordered]
    return table.sort_by(keys) if keys else table


def page(table: pa.Table, offset: int, limit: int) -> bytes:
    """Return some rows as a JSON page, with the cursor of those after them: it names the last tick that was read."""
    items = plain(table.slice(offset, limit))
    end = offset + len(items)
    following = None
    if end < table.num_rows:
        # Ordered by tick, so the last row has the last one; a difference has none, and both its moments are named.
        tick = table.column("tick")[-1].as_py() if "tick" in table.column_names else 0
        following = Cursor(tick, end).encoded()
    return msgspec.json.encode({"items": items, "next": following})


def whole(table: pa.Table, form: str, headers: Mapping[str, str] | None = None) -> Response[bytes]:
    """Return all rows in a format other than JSON."""
    return Response(_encoded(table, form), media_type=form, headers=dict(headers or {}))


def _encoded(table: pa.Table, form: str) -> bytes:
    sink = io.BytesIO()
    if form == NDJSON:
        encoder = msgspec.json.Encoder()
        return encoder.encode_lines(plain(table))
    if form == CSV:
        from pyarrow import csv

        # Nested values have no form of their own in CSV.
        for place, column in enumerate(table.schema):
            if (
                pa.types.is_nested(column.type)
                or pa.types.is_binary(column.type)
                or pa.types.is_large_binary(column.type)
            ):
                values = plain(table.select([column.name]))
                texts = [None if (one := row[column.name]) is None else _text(one) for row in values]
                table = table.set_column(place, column.name, pa.array(texts, pa.large_string()))
        csv.write_csv(table, sink)
    elif form == PARQUET:
        from pyarrow import parquet

        parquet.write_table(table, sink)
    else:
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    return sink.getvalue()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


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
