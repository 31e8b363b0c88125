"""Numbers about columns, as a server computes them."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from archetype_cli.http_client import HttpClient
from archetype_cli.source import Axis, Grid, Plane, Summary

_BEFORE_EDGES = "quantiles"


def query_of(wanted: Summary, newest: int) -> Mapping[str, Any]:
    """Return the parameters of a request; ``newest`` is the last tick."""
    first, last = wanted.ticks or (newest, newest)
    last = newest if last is None else last
    is_one = first is not None and first == (wanted.ticks or (newest, newest))[1]
    bins = wanted.bins
    return {
        "columns": ",".join(wanted.columns),
        **({"tick": first} if is_one else {"first_tick": first or 0, "last_tick": last, "every": wanted.every}),
        "others": ",".join(wanted.others) or None,
        "by_archetype": "true" if wanted.by_archetype else None,
        "quantiles": ",".join(map(repr, wanted.quantiles)),
        "bins": bins if isinstance(bins, int) else None,
        "edges": ",".join(map(repr, bins)) if isinstance(bins, tuple) else None,
    }


def rows_of(found: Mapping[str, Any], wanted: Summary) -> Sequence[Mapping[str, Any]]:
    """Return the rows of an answer, with the columns of a local place."""
    return [dict(_row(one, found["edges"], wanted)) for one in found["items"]]


def _row(item: Mapping[str, Any], edges: Mapping[str, Any], wanted: Summary) -> Mapping[str, Any]:
    row: dict[str, Any] = {}
    for name, value in item.items():
        if wanted.bins is None and name in ("histogram", "outside"):
            continue
        row[name] = value
        if name == _BEFORE_EDGES and wanted.bins is not None:
            row["edges"] = edges[item["column"]]
    return row


def grid(http: HttpClient, path: str, plane: Plane, tick: int) -> Grid:
    """Ask for a density."""
    asked: dict[str, Any] = {"x": plane.x, "y": plane.y, "tick": tick}
    asked |= dict(zip(("x_bins", "y_bins"), plane.bins, strict=True))
    for name, given in (("x", plane.x_range), ("y", plane.y_range)):
        if given is not None:
            asked |= {f"{name}_min": repr(given[0]), f"{name}_max": repr(given[1])}
    found = http.get(path, asked)
    x, y = (Axis(*(found[name][fact] for fact in ("column", "min", "max", "bins"))) for name in ("x", "y"))
    data = base64.b64decode(found["data"])
    counts = [list(struct.unpack_from(f"<{x.bins}I", data, 4 * x.bins * row)) for row in range(y.bins)]
    return Grid(found["tick"], x, y, found["count"], found["outside"], found["missing"], counts)
