"""Reads and writes the file of one commit: an Arrow file with one row per tick."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from archetype_core.schema import Archetype, Snapshot
from archetype_core.store import Point, Rows, Segment, TickCommit

# The n-th values of `live` and `tombstones` are the rows of the n-th table of the tick, each as an Arrow stream.
_SCHEMA = pa.schema(
    [
        ("header", pa.large_string()),
        ("continuation", pa.large_binary()),
        ("live", pa.list_(pa.large_binary())),
        ("tombstones", pa.list_(pa.large_binary())),
    ]
)


def write_commit(path: Path, ticks: Sequence[TickCommit]) -> None:
    """Write the file so that it is complete or missing after a crash, and sync it."""
    rows = [_row(tick) for tick in ticks]
    unfinished = path.with_suffix(".tmp")
    with unfinished.open("wb") as file:
        with pa.ipc.new_file(file, _SCHEMA) as writer:
            writer.write_table(pa.Table.from_pylist(rows, _SCHEMA))
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)
    # The new name is durable only after a sync of its directory.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_commit(path: Path) -> Iterator[TickCommit]:
    """Read the ticks of a file in order."""
    with path.open("rb") as file:
        rows = pa.ipc.open_file(file).read_all().to_pylist()
    for row in rows:
        header = json.loads(row["header"])
        tables: dict[str, Rows] = {}
        for live, tombstones in zip(row["live"], row["tombstones"], strict=True):
            snapshot = _from_stream(live)
            tables[snapshot.archetype.name] = Rows(snapshot, _from_stream(tombstones) if tombstones else None)
        segment = _segment(header["segment"])
        yield TickCommit(
            segment,
            header["tick"],
            tables,
            header["next_entity_id"],
            applied=tuple(header["applied"]),
            attempt=header["attempt"],
            continuation=row["continuation"],
        )


def _row(tick: TickCommit) -> dict[str, Any]:
    header = {
        "segment": asdict(tick.segment),
        "tick": tick.tick,
        "next_entity_id": tick.next_entity_id,
        "applied": tick.applied,
        "attempt": tick.attempt,
    }
    tables = tick.written.values()
    return {
        "header": json.dumps(header),
        "continuation": tick.continuation,
        "live": [_to_stream(rows.live) for rows in tables],
        "tombstones": [_to_stream(rows.tombstones) if rows.tombstones else None for rows in tables],
    }


def _segment(fields: dict[str, Any]) -> Segment:
    parent = fields.pop("parent")
    return Segment(**fields, parent=Point(**parent) if parent else None)


def _to_stream(snapshot: Snapshot) -> bytes:
    sink = pa.BufferOutputStream()
    # The schema's metadata describes the components, so it must be stored too.
    with pa.ipc.new_stream(sink, snapshot.archetype.schema) as writer:
        writer.write_table(snapshot.to_arrow())
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _from_stream(data: bytes) -> Snapshot:
    table = pa.ipc.open_stream(data).read_all()
    return Snapshot.from_arrow(Archetype.from_schema(table.schema), table)
