"""Writing ticks: which columns are new, where their bytes go, and the rows that say so."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from weakref import WeakKeyDictionary

import pyarrow as pa

from archetype_core.commit import Rows, Segment, TickCommit
from archetype_core.journal import chunk
from archetype_core.journal.database import Database, sync_directory
from archetype_core.snapshot import Column, Snapshot

PLACE = struct.Struct("<qqqI")
"""Where a column's values are: chunk, offset and length in it, and the checksum of these bytes."""

Place = tuple[int, int, int, int]


@dataclass(slots=True)
class _Chunk:
    id: int
    pieces: list[pa.Buffer]
    size: int

    @property
    def is_file(self) -> bool:
        return self.size > chunk.INLINE_BYTES


@dataclass(slots=True)
class _Part:
    form: str
    schema: pa.Schema
    tick: int
    live: int
    gone: int
    places: bytes


@dataclass(slots=True)
class Prepared:
    """A commit made ready outside of any transaction: bytes encoded, large ones on disk."""

    ticks: Sequence[TickCommit]
    parts: list[_Part] = field(default_factory=list)
    chunks: list[_Chunk] = field(default_factory=list)
    columns: list[tuple[Column, Place]] = field(default_factory=list)
    """New columns and where they will be once this is committed."""


class Writer:
    """Turns commits into rows and chunks. A column object that was written before is referenced, not written again."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._written: WeakKeyDictionary[Column, Place] = WeakKeyDictionary()
        (last,) = database.reader().execute("SELECT coalesce(max(id), 0) FROM chunk").fetchone()
        self._ids = count(last + 1)
        self._forms: dict[str, int] = {}
        self._segments: dict[tuple[str, str], int] = {}

    def prepare(self, ticks: Sequence[TickCommit]) -> Prepared:
        """Encode everything new and sync what is large; nothing refers to it yet."""
        prepared = Prepared(ticks)
        for commit in ticks:
            for name, rows in commit.written.items():
                prepared.parts.append(self._part(prepared, commit.tick, name, rows))
        files = [one for one in prepared.chunks if one.is_file]
        for one in files:
            chunk.write_file(file_of(self._database.path, one.id), one.pieces)
        if files:
            sync_directory(self._database.path)
        return prepared

    def _part(self, prepared: Prepared, tick: int, name: str, rows: Rows) -> _Part:
        gone = rows.tombstones
        places = self._places(prepared, rows.live)
        if gone is not None and gone.num_rows:
            places += self._places(prepared, gone)
        schema = rows.live.archetype.schema
        packed = b"".join(PLACE.pack(*place) for place in places)
        return _Part(name, schema, tick, rows.live.num_rows, gone.num_rows if gone is not None else 0, packed)

    def _places(self, prepared: Prepared, rows: Snapshot) -> list[Place]:
        if not rows.num_rows:
            return []
        schema = rows.archetype.schema
        columns = [rows.columns[name] for name in schema.names]
        pending = dict(prepared.columns)
        places = [self._written.get(column) or pending.get(column) for column in columns]
        new = [index for index, place in enumerate(places) if place is None]
        if new:
            made = _Chunk(next(self._ids), [], 0)
            prepared.chunks.append(made)
            for index in new:
                data = chunk.encode(columns[index].arrow, schema.field(index))
                places[index] = place = (made.id, made.size, data.size, chunk.checksum(data))
                prepared.columns.append((columns[index], place))
                made.pieces.append(data)
                made.size += data.size
        return [place for place in places if place is not None]

    def store(self, connection: sqlite3.Connection, prepared: Prepared) -> None:
        """Write a prepared commit's rows, inside a transaction."""
        first = prepared.ticks[0]
        segment = self.segment(connection, first.segment)
        connection.executemany(
            "INSERT INTO chunk VALUES (?, ?, ?)",
            [(one.id, one.size, None if one.is_file else b"".join(one.pieces)) for one in prepared.chunks],
        )
        connection.executemany(
            "INSERT INTO part VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (segment, self.form(connection, one.form, one.schema), one.tick, one.live, one.gone, one.places,
                 chunk.checksum(one.places))
                for one in prepared.parts
            ],
        )  # fmt: skip
        connection.executemany(
            "INSERT INTO tick VALUES (?, ?, ?, ?)",
            [
                (segment, one.tick, one.next_entity_id, "\n".join(one.applied) if one.applied else None)
                for one in prepared.ticks
            ],
        )
        connection.execute(
            "INSERT INTO world VALUES (?, ?, ?) ON CONFLICT (world_id) DO UPDATE SET segment = excluded.segment,"
            " tick = excluded.tick",
            (first.segment.world_id, segment, prepared.ticks[-1].tick),
        )

    def committed(self, prepared: Prepared) -> None:
        """Remember where the new columns are, now that they are there for good."""
        for column, place in prepared.columns:
            self._written[column] = place

    def abandoned(self, prepared: Prepared) -> None:
        """Forget a prepared commit: its files go, and what it may have named is looked up anew."""
        self._forms.clear()
        self._segments.clear()
        for one in prepared.chunks:
            if one.is_file:
                file_of(self._database.path, one.id).unlink(missing_ok=True)

    def form(self, connection: sqlite3.Connection, name: str, schema: pa.Schema) -> int:
        """The id of a table's schema, stored when it is new."""
        found = self._forms.get(name)
        if found is None:
            row = connection.execute("SELECT id FROM form WHERE name = ?", (name,)).fetchone()
            if row is None:
                data = schema.serialize()
                cursor = connection.execute(
                    "INSERT INTO form (name, crc, schema) VALUES (?, ?, ?)", (name, chunk.checksum(data), data)
                )
                row = (cursor.lastrowid,)
            found = self._forms[name] = int(row[0])
        return found

    def segment(self, connection: sqlite3.Connection, segment: Segment) -> int:
        """The id of a segment, stored when it is new."""
        key = (segment.world_id, segment.run_id)
        found = self._segments.get(key)
        if found is None:
            row = connection.execute("SELECT id FROM segment WHERE world_id = ? AND run_id = ?", key).fetchone()
            if row is None:
                parent = segment.parent
                values = (
                    *key,
                    segment.first_tick,
                    self._parent(connection, segment),
                    parent.tick if parent else None,
                    segment.name,
                    segment.seed,
                )
                cursor = connection.execute(
                    "INSERT INTO segment (world_id, run_id, first_tick, parent, parent_tick, name, seed)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?)",
                    values,
                )
                row = (cursor.lastrowid,)
            found = self._segments[key] = int(row[0])
        return found

    @staticmethod
    def _parent(connection: sqlite3.Connection, segment: Segment) -> int | None:
        if segment.parent is None:
            return None
        key = (segment.parent.world_id, segment.parent.run_id)
        row = connection.execute("SELECT id FROM segment WHERE world_id = ? AND run_id = ?", key).fetchone()
        return int(row[0])


def file_of(path: Path, chunk_id: int) -> Path:
    """The file of a large chunk."""
    return path / f"{chunk_id:016x}.chunk"
