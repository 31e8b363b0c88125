"""The published list of segments: one Parquet file that tells other programs which rows of the tables are whose."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pyarrow as pa

from archetype_store_lance.log_files import LogFiles
from archetype_store_lance.state import LogSegment, StoreState

SEGMENTS = "segments.parquet"
"""The name of the file, in the directory of the log."""
COLUMNS = pa.schema(
    [
        pa.field("world_id", pa.string(), nullable=False),
        pa.field("run_id", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("first_tick", pa.int64(), nullable=False),
        pa.field("last_tick", pa.int64(), nullable=False),
        pa.field("parent_world_id", pa.string()),
        pa.field("parent_run_id", pa.string()),
        pa.field("parent_tick", pa.int64()),
        pa.field("is_newest", pa.bool_(), nullable=False),
        pa.field("tables", pa.list_(pa.field("element", pa.string(), nullable=False)), nullable=False),
    ]
)
"""Promised in docs/files.md: a change of these columns is one of the published format."""


def publish(files: LogFiles, state: StoreState) -> None:
    """Write the list of all segments, unless the file has it already. Costs a read, and time for each segment."""
    data = _encoded(state)
    with suppress(FileNotFoundError):
        if files.read(SEGMENTS) == data:
            return
    files.replace(SEGMENTS, data)


def _encoded(state: StoreState) -> bytes:
    # Needed only here, and slow to import.
    import pyarrow.parquet as pq

    newest = set(state.worlds.values())
    rows = [_row(state, one, is_newest=number in newest) for number, one in enumerate(state.segments)]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, COLUMNS), sink)
    return bytes(sink.getvalue().to_pybytes())


def _row(state: StoreState, entry: LogSegment, *, is_newest: bool) -> dict[str, Any]:
    segment, parent = entry.segment, entry.segment.parent
    return {
        "world_id": segment.world_id,
        "run_id": segment.run_id,
        "name": segment.name,
        "first_tick": segment.first_tick,
        "last_tick": entry.last,
        "parent_world_id": parent.world_id if parent else None,
        "parent_run_id": parent.run_id if parent else None,
        "parent_tick": parent.tick if parent else None,
        "is_newest": is_newest,
        "tables": [state.tables[number].name for number in entry.tables if state.tables[number].version is not None],
    }
