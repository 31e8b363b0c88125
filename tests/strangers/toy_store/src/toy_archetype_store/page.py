"""One committed tick as it stands in a file, and the file that holds the ticks of one commit."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from archetype_core.store import Point, Segment, TickCommit

_SCHEMA = pa.schema([pa.field("about", pa.large_string()), pa.field("data", pa.large_binary())])


@dataclass(frozen=True)
class Page:
    """A tick with every table that has rows at it, and the schemas of those that were written."""

    segment: Segment
    tick: int
    next_entity_id: int
    applied: tuple[str, ...]
    tables: Mapping[str, pa.Table]
    written: frozenset[str]


def page_of(commit: TickCommit) -> Page:
    """Copy out of a commit everything that its tick shows, carried tables too."""
    tables = {name: rows.to_arrow() for name, rows in commit.tables()}
    return Page(
        commit.segment, commit.tick, commit.next_entity_id, tuple(commit.applied), tables, frozenset(commit.written)
    )


def write_pages(path: Path, pages: Sequence[Page]) -> None:
    """Write a file whole or not at all: to the side, synced, then renamed."""
    rows = [row for page in pages for row in _rows_of(page)]
    aside = path.with_suffix(".tmp")
    with aside.open("wb") as file:
        with pa.ipc.new_file(file, _SCHEMA) as writer:
            writer.write_table(pa.Table.from_pylist(rows, _SCHEMA))
        file.flush()
        os.fsync(file.fileno())
    aside.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_pages(path: Path) -> Iterator[Page]:
    """Read the ticks of a file, in order."""
    with path.open("rb") as file:
        rows = pa.ipc.open_file(file).read_all().to_pylist()
    for row in rows:
        about = json.loads(row["about"])
        if "segment" in about:
            tables: dict[str, pa.Table] = {}
            yield Page(
                _segment(about["segment"]),
                about["tick"],
                about["next_entity_id"],
                tuple(about["applied"]),
                tables,
                frozenset(about["written"]),
            )
        else:
            tables[about["table"]] = pa.ipc.open_stream(row["data"]).read_all()


def _rows_of(page: Page) -> Iterator[dict[str, Any]]:
    about = {
        "segment": asdict(page.segment),
        "tick": page.tick,
        "next_entity_id": page.next_entity_id,
        "applied": page.applied,
        "written": sorted(page.written),
    }
    yield {"about": json.dumps(about), "data": None}
    for name, table in page.tables.items():
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        yield {"about": json.dumps({"table": name}), "data": sink.getvalue().to_pybytes()}


def _segment(fields: dict[str, Any]) -> Segment:
    parent = fields.pop("parent")
    return Segment(**fields, parent=Point(**parent) if parent else None)
