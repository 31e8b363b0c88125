"""Writing ticks: which columns are new, where their bytes go, and the rows that say so."""

from __future__ import annotations

import json
import os
import secrets
import socket
import sqlite3
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
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
    """The new columns of one table at one tick, one after the other."""

    pieces: list[pa.Buffer] = field(default_factory=list)
    size: int = 0
    file: str | None = None
    """The name of its file, if it is large."""
    id: int = 0
    """Known once it is inserted."""


@dataclass(frozen=True, slots=True)
class _New:
    """A place in a chunk that has no id yet."""

    chunk: _Chunk
    offset: int
    length: int
    crc: int

    def place(self) -> Place:
        return (self.chunk.id, self.offset, self.length, self.crc)


@dataclass(slots=True)
class _Part:
    form: str
    schema: pa.Schema
    tick: int
    live: int
    gone: int
    places: list[Place | _New]

    def packed(self) -> bytes:
        """The places as they are stored; only once the chunks are."""
        return b"".join(PLACE.pack(*(one.place() if isinstance(one, _New) else one)) for one in self.places)


@dataclass(slots=True)
class Prepared:
    """A commit made ready outside of any transaction: bytes encoded, large ones on disk."""

    ticks: Sequence[TickCommit]
    parts: list[_Part] = field(default_factory=list)
    chunks: list[_Chunk] = field(default_factory=list)
    columns: dict[Column, _New] = field(default_factory=dict)


class Writer:
    """Turns commits into rows and chunks. A column object that was written before is referenced, not written again."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._written: WeakKeyDictionary[Column, Place] = WeakKeyDictionary()
        self._owner = f"process {os.getpid()} on {socket.gethostname()}"
        self._forms: dict[str, int] = {}
        self._segments: dict[tuple[str, str], int] = {}

    def prepare(self, ticks: Sequence[TickCommit]) -> Prepared:
        """Encode everything new and sync what is large; nothing refers to it yet."""
        prepared = Prepared(ticks)
        for commit in ticks:
            for name, rows in commit.written.items():
                prepared.parts.append(self._part(prepared, commit.tick, name, rows))
        large = [one for one in prepared.chunks if one.size > chunk.INLINE_BYTES]
        try:
            for one in large:
                one.file = f"{secrets.token_hex(12)}.chunk"
                chunk.write_file(self._database.path / one.file, one.pieces)
            if large:
                sync_directory(self._database.path)
        except BaseException:
            self.abandoned(prepared)
            raise
        return prepared

    def _part(self, prepared: Prepared, tick: int, name: str, rows: Rows) -> _Part:
        gone = rows.tombstones
        places = self._places(prepared, rows.live)
        if gone is not None and gone.num_rows:
            places += self._places(prepared, gone)
        count = gone.num_rows if gone is not None else 0
        return _Part(name, rows.live.archetype.schema, tick, rows.live.num_rows, count, places)

    def _places(self, prepared: Prepared, rows: Snapshot) -> list[Place | _New]:
        if not rows.num_rows:
            return []
        schema = rows.archetype.schema
        places: list[Place | _New] = []
        made: _Chunk | None = None
        for index, name in enumerate(schema.names):
            column = rows.columns[name]
            place = self._written.get(column) or prepared.columns.get(column)
            if place is None:
                if made is None:
                    made = _Chunk()
                    prepared.chunks.append(made)
                data = chunk.encode(column.arrow, schema.field(index))
                place = prepared.columns[column] = _New(made, made.size, data.size, chunk.checksum(data))
                made.pieces.append(data)
                made.size += data.size
            places.append(place)
        return places

    def store(self, connection: sqlite3.Connection, prepared: Prepared) -> None:
        """Write a prepared commit's rows, inside a transaction."""
        first = prepared.ticks[0]
        segment = self.segment(connection, first.segment)
        for one in prepared.chunks:
            data = None if one.file is not None else b"".join(one.pieces)
            cursor = connection.execute(
                "INSERT INTO chunk (size, file, data) VALUES (?, ?, ?)", (one.size, one.file, data)
            )
            one.id = cursor.lastrowid or 0
        for part in prepared.parts:
            packed = part.packed()
            form = self.form(connection, part.form, part.schema)
            connection.execute(
                "INSERT INTO part VALUES (?, ?, ?, ?, ?, ?, ?)",
                (segment, form, part.tick, part.live, part.gone, packed, chunk.checksum(packed)),
            )
        for commit in prepared.ticks:
            connection.execute(
                "INSERT INTO tick VALUES (?, ?, ?, ?)",
                (segment, commit.tick, commit.next_entity_id, json.dumps(commit.applied) if commit.applied else None),
            )
        connection.execute(
            "INSERT INTO world VALUES (?, ?, ?, ?) ON CONFLICT (world_id) DO UPDATE SET segment = excluded.segment,"
            " tick = excluded.tick, owner = excluded.owner",
            (first.segment.world_id, segment, prepared.ticks[-1].tick, self._owner),
        )

    def committed(self, prepared: Prepared) -> None:
        """Remember where the new columns are, now that they are there for good."""
        for column, new in prepared.columns.items():
            self._written[column] = new.place()

    def abandoned(self, prepared: Prepared) -> None:
        """Forget a prepared commit: its files go, and what it may have named is looked up anew."""
        self._forms.clear()
        self._segments.clear()
        for one in prepared.chunks:
            if one.file is not None:
                (self._database.path / one.file).unlink(missing_ok=True)

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
