"""The state of a store at one record of the log: its tables, each at one version, and its segments, each up to one tick.

A state is immutable. A commit makes the next one; readers keep the one that they took.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from archetype_core.store import Point, Segment
from archetype_store_lance.row_layout import RowGroup

_RECENT, _PREFIX = 256, 16

Files = Mapping[str, tuple[int, str]]
"""The live files of a table, its newest manifest included, by name: size, and checksum (empty in an object store)."""


@dataclass(frozen=True, slots=True)
class TableChange:
    """What one write does to a table. ``added`` and ``removed`` name its files."""

    version: int
    rows: int
    added: Files
    removed: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The change as part of a record's header."""
        return {"version": self.version, "rows": self.rows, "added": self.added, "removed": self.removed}


@dataclass(frozen=True, slots=True)
class TableState:
    """One Lance table at the version that the log names; other versions do not count. ``None`` before the first row."""

    name: str
    schema: pa.Schema
    version: int | None = None
    rows: int = 0
    files: Files = field(default_factory=dict)

    def after(self, change: Mapping[str, Any]) -> TableState:
        """The table after a change, given as JSON."""
        files = {name: one for name, one in self.files.items() if name not in change["removed"]}
        files |= {name: (size, digest) for name, (size, digest) in change["added"].items()}
        return replace(self, version=change["version"], rows=change["rows"], files=files)

    def to_json(self) -> dict[str, Any]:
        """The table as part of a record's header."""
        return {
            "name": self.name,
            "schema": base64.b64encode(self.schema.serialize().to_pybytes()).decode(),
            "version": self.version,
            "rows": self.rows,
            "files": self.files,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TableState:
        """The table that ``to_json`` encoded."""
        schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(data["schema"])))
        files = {name: (size, digest) for name, (size, digest) in data["files"].items()}
        return cls(data["name"], schema, data["version"], data["rows"], files)


@dataclass(frozen=True, slots=True)
class SegmentTable:
    """A table in a segment: the first tick that wrote it, and its newest row group."""

    first: int
    newest: RowGroup


@dataclass(frozen=True, slots=True)
class LogSegment:
    """One segment up to its last committed tick. What that tick has beside rows is in the row index, as for any other."""

    segment: Segment
    last: int
    owner: str
    tables: Mapping[int, SegmentTable] = field(default_factory=dict)
    """The tables that the segment wrote, by number."""

    @property
    def key(self) -> tuple[str, str]:
        """The world and run."""
        return self.segment.world_id, self.segment.run_id

    def to_json(self) -> dict[str, Any]:
        """The segment as part of a record's header."""
        one = self.segment
        parent = None if one.parent is None else [one.parent.world_id, one.parent.run_id, one.parent.tick]
        return {
            "segment": [one.world_id, one.run_id, one.first_tick, parent, one.name, str(one.seed)],
            "last": self.last,
            "owner": self.owner,
            "tables": [[number, one.first, *_values(one.newest)] for number, one in self.tables.items()],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LogSegment:
        """The segment that ``to_json`` encoded."""
        world_id, run_id, first, parent, name, seed = data["segment"]
        segment = Segment(world_id, run_id, first, Point(*parent) if parent else None, name, int(seed))
        tables = {number: SegmentTable(first, RowGroup(*values)) for number, first, *values in data["tables"]}
        return cls(segment, data["last"], data["owner"], tables)


@dataclass(frozen=True, slots=True)
class RowIndexRef:
    """A log file with a row index: its checksum, and the ticks that it covers by segment number."""

    name: str
    level: int
    """How often it was merged; 0 for the record of a commit."""
    spans: Mapping[int, tuple[int, int]]
    digest: str

    def to_json(self) -> list[Any]:
        """The reference as part of a record's header."""
        return [self.name, self.level, [[number, *span] for number, span in self.spans.items()], self.digest]

    @classmethod
    def from_json(cls, data: list[Any]) -> RowIndexRef:
        """The reference that ``to_json`` encoded."""
        name, level, spans, digest = data
        return cls(name, level, {number: (first, last) for number, first, last in spans}, digest)


@dataclass(frozen=True, slots=True)
class StoreState:
    """Everything a store holds, as of one record of the log."""

    number: int = 0
    """The number of the newest record."""
    digest: str = ""
    """The checksum of the newest record."""
    tables: tuple[TableState, ...] = ()
    segments: tuple[LogSegment, ...] = ()
    worlds: Mapping[str, int] = field(default_factory=dict)
    """The number of each world's newest segment."""
    indexes: tuple[RowIndexRef, ...] = ()
    segment_numbers: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """The segments by world and run."""
    recent: tuple[str, ...] = ()
    """The first characters of the checksums of the newest records, oldest first."""
    generation: int = 0
    """The number of the checkpoint that this state builds on."""
    covered: int = 0
    """The newest record in that checkpoint."""

    def table(self, name: str) -> int | None:
        """The number of a table."""
        # There are hundreds at most, and their names differ early.
        return next((number for number, one in enumerate(self.tables) if one.name == name), None)

    def find(self, world_id: str, run_id: str) -> int | None:
        """The number of a segment."""
        return self.segment_numbers.get((world_id, run_id))

    def to_json(self) -> dict[str, Any]:
        """The state as the header of a checkpoint."""
        return {
            "number": self.number,
            "previous": self.digest,
            "tables": [one.to_json() for one in self.tables],
            "segments": [one.to_json() for one in self.segments],
            "worlds": self.worlds,
            "indexes": [one.to_json() for one in self.indexes],
            "recent": self.recent,
            "generation": self.generation,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StoreState:
        """The state that ``to_json`` encoded."""
        segments = tuple(LogSegment.from_json(one) for one in data["segments"])
        return cls(
            data["number"],
            data["previous"],
            tuple(TableState.from_json(one) for one in data["tables"]),
            segments,
            dict(data["worlds"]),
            tuple(RowIndexRef.from_json(one) for one in data["indexes"]),
            {one.key: number for number, one in enumerate(segments)},
            tuple(data["recent"]),
            data["generation"],
            data["number"],
        )

    def includes(self, number: int, digest: str) -> bool | None:
        """Whether a record led to this state; ``None`` if it is older than the records that the state remembers."""
        back = self.number - number
        if not 0 <= back < len(self.recent):
            return False if back < 0 else None
        return self.recent[-1 - back] == digest[:_PREFIX]

    def after(self, header: Mapping[str, Any], name: str, digest: str) -> StoreState:
        """The state after a record, given its header, file name and checksum."""
        tables = list(self.tables)
        for number, change in header["tables"]:
            if number == len(tables):
                tables.append(TableState.from_json(change))
            else:
                tables[number] = tables[number].after(change)
        recent = (*self.recent[1 - _RECENT :], digest[:_PREFIX])
        made = replace(self, number=header["number"], digest=digest, tables=tuple(tables), recent=recent)
        if "segment" not in header:
            return made
        number, data = header["segment"]
        entry = LogSegment.from_json(data)
        segments, numbers = list(self.segments), self.segment_numbers
        if number == len(segments):
            segments.append(entry)
            numbers = {**numbers, entry.key: number}
        else:
            # A record names only the tables that it wrote.
            segments[number] = replace(entry, tables={**segments[number].tables, **entry.tables})
        worlds = {**self.worlds, entry.segment.world_id: number}
        index = RowIndexRef(name, 0, {number: (header["first"], entry.last)}, digest)
        indexes = (*self.indexes, index)
        return replace(made, segments=tuple(segments), worlds=worlds, indexes=indexes, segment_numbers=numbers)


def _values(group: RowGroup) -> list[int]:
    return [group.first, group.ticks, group.start, group.live, group.tombstones, group.ids_hash]
