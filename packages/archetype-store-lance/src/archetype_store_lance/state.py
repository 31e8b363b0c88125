"""What a store holds at one moment: its tables, each at one version, and its segments, each to one tick.

A state is never changed. A commit makes the next one, and whoever reads goes on with the one that it took.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from archetype_core.store import Point, Segment
from archetype_store_lance.row_layout import Tile

_RECENT, _DIGEST = 256, 16

Files = Mapping[str, tuple[int, str]]
"""The files of a table that count, its newest manifest among them: size, and checksum where that costs little."""


@dataclass(frozen=True, slots=True)
class TableState:
    """One Lance table. ``version`` is the one that counts, whatever others there are; ``None`` before its first row."""

    name: str
    schema: pa.Schema
    version: int | None = None
    rows: int = 0
    files: Files = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The table as a part of a header."""
        return {
            "name": self.name,
            "schema": base64.b64encode(self.schema.serialize().to_pybytes()).decode(),
            "version": self.version,
            "rows": self.rows,
            "files": self.files,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TableState:
        """What ``to_json`` was made of."""
        schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(data["schema"])))
        files = {name: (size, digest) for name, (size, digest) in data["files"].items()}
        return cls(data["name"], schema, data["version"], data["rows"], files)


@dataclass(frozen=True, slots=True)
class Standing:
    """A table in a segment: the first tick that wrote it, and the newest tile."""

    first: int
    tile: Tile


@dataclass(frozen=True, slots=True)
class SegmentEntry:
    """One segment as far as it is committed."""

    segment: Segment
    last: int
    next_entity_id: int
    applied: tuple[str, ...]
    owner: str
    tables: Mapping[int, Standing] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str]:
        return self.segment.world_id, self.segment.run_id

    def to_json(self) -> dict[str, Any]:
        """The segment as a part of a header."""
        one = self.segment
        return {
            "segment": [one.world_id, one.run_id, one.first_tick, _point(one.parent), one.name, str(one.seed)],
            "last": self.last,
            "next_entity_id": self.next_entity_id,
            "applied": self.applied,
            "owner": self.owner,
            "tables": [[number, one.first, *_tile(one.tile)] for number, one in self.tables.items()],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SegmentEntry:
        """What ``to_json`` was made of."""
        world_id, run_id, first, parent, name, seed = data["segment"]
        segment = Segment(world_id, run_id, first, Point(*parent) if parent else None, name, int(seed))
        tables = {number: Standing(first, Tile(*tile)) for number, first, *tile in data["tables"]}
        applied = tuple(data["applied"])
        return cls(segment, data["last"], data["next_entity_id"], applied, data["owner"], tables)


@dataclass(frozen=True, slots=True)
class BlockRef:
    """A file that says where rows lie, and for which ticks of which segments."""

    name: str
    level: int
    spans: Mapping[int, tuple[int, int]]
    digest: str = ""
    """The checksum of the file; stores of format 1 have none."""

    def to_json(self) -> list[Any]:
        """The reference as a part of a header."""
        return [self.name, self.level, [[number, *span] for number, span in self.spans.items()], self.digest]

    @classmethod
    def from_json(cls, data: list[Any]) -> BlockRef:
        """What ``to_json`` was made of."""
        name, level, spans, *digest = data
        return cls(name, level, {number: (first, last) for number, first, last in spans}, *digest)


@dataclass(frozen=True, slots=True)
class State:
    """Everything, as of one record of the log."""

    number: int = 0
    digest: str = ""
    tables: tuple[TableState, ...] = ()
    branches: tuple[SegmentEntry, ...] = ()
    worlds: Mapping[str, int] = field(default_factory=dict)
    blocks: tuple[BlockRef, ...] = ()
    keys: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """The segments by world and run."""
    recent: tuple[str, ...] = ()
    """The beginnings of the digests of the newest records, oldest first."""
    generation: int = 0
    """How often the state was written down; the newest such file is where reading begins."""
    covered: int = 0
    """The record that was the newest then."""

    def table(self, name: str) -> int | None:
        """The number of a table."""
        # There are hundreds at most, and names differ early.
        return next((number for number, one in enumerate(self.tables) if one.name == name), None)

    def find(self, world_id: str, run_id: str) -> int | None:
        """The number of a segment."""
        return self.keys.get((world_id, run_id))

    def to_json(self) -> dict[str, Any]:
        """The state as a header."""
        return {
            "number": self.number,
            "previous": self.digest,
            "tables": [one.to_json() for one in self.tables],
            "branches": [one.to_json() for one in self.branches],
            "worlds": self.worlds,
            "blocks": [one.to_json() for one in self.blocks],
            "recent": self.recent,
            "generation": self.generation,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> State:
        """What ``to_json`` was made of."""
        branches = tuple(SegmentEntry.from_json(one) for one in data["branches"])
        return cls(
            data["number"],
            data["previous"],
            tuple(TableState.from_json(one) for one in data["tables"]),
            branches,
            dict(data["worlds"]),
            tuple(BlockRef.from_json(one) for one in data["blocks"]),
            {one.key: number for number, one in enumerate(branches)},
            tuple(data.get("recent", ())),
            # In format 1 files have the number of their record.
            data.get("generation", data["number"]),
            data["number"],
        )

    def has(self, number: int, digest: str) -> bool | None:
        """Whether a record is one of those that this state is made of; ``None`` where that is too long ago."""
        back = self.number - number
        if not 0 <= back < len(self.recent):
            return False if back < 0 else None
        return self.recent[-1 - back] == digest[:_DIGEST]

    def after(self, header: Mapping[str, Any], name: str, digest: str) -> State:
        """The state that a record makes of this one."""
        tables = list(self.tables)
        for number, change in header["tables"]:
            if number == len(tables):
                tables.append(TableState.from_json(change))
            else:
                tables[number] = _changed(tables[number], change)
        recent = (*self.recent[1 - _RECENT :], digest[:_DIGEST])
        made = replace(self, number=header["number"], digest=digest, tables=tuple(tables), recent=recent)
        if "branch" not in header:
            return made
        number, data = header["branch"]
        fresh = SegmentEntry.from_json(data)
        branches, keys = list(self.branches), self.keys
        if number == len(branches):
            branches.append(fresh)
            keys = {**keys, fresh.key: number}
        else:
            # A record tells of the tables that it wrote.
            branches[number] = replace(fresh, tables={**branches[number].tables, **fresh.tables})
        worlds = {**self.worlds, fresh.segment.world_id: number}
        block = BlockRef(name, 0, {number: (header["first"], fresh.last)}, digest)
        return replace(made, branches=tuple(branches), worlds=worlds, blocks=(*self.blocks, block), keys=keys)


def _changed(table: TableState, change: Mapping[str, Any]) -> TableState:
    files = {name: one for name, one in table.files.items() if name not in change["removed"]}
    files |= {name: (size, digest) for name, (size, digest) in change["added"].items()}
    return replace(table, version=change["version"], rows=change["rows"], files=files)


def _point(point: Point | None) -> list[Any] | None:
    return None if point is None else [point.world_id, point.run_id, point.tick]


def _tile(tile: Tile) -> list[int]:
    return [tile.first, tile.ticks, tile.start, tile.live, tile.gone, tile.ids]
