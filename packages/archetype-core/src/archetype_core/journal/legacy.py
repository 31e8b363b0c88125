"""Brings a journal of format 1 forward, which kept the tables and the columns of a tick in rows of their own."""

from __future__ import annotations

import json
import sqlite3
import struct
from typing import Any

import pyarrow as pa

from archetype_core.commit import Point, Segment
from archetype_core.errors import CorruptStore
from archetype_core.journal.catalog import Branch, Catalog, Entry, create
from archetype_core.journal.chunk import MESSAGE, checksum
from archetype_core.journal.record import Part, Place, Record, pack, row_id

_TABLES = ("segment", "world", "form", "tick", "part", "chunk")
_PLACE = struct.Struct("<qqqI")


def convert(connection: sqlite3.Connection) -> None:
    """Write every tick anew, inside a transaction; the bytes of columns and their checksums stay as they are."""
    for table in _TABLES:
        connection.execute(f"ALTER TABLE {table} RENAME TO old_{table}")
    create(connection)
    entry = Entry(Catalog("journal"), connection)
    forms = {}
    for number, name, crc, data in connection.execute("SELECT id, name, crc, schema FROM old_form").fetchall():
        if checksum(data) != crc:
            raise CorruptStore(f"table {name}", "the checksum of its schema does not match")
        forms[number] = entry.form(name, pa.ipc.read_schema(pa.py_buffer(data)))
    _Conversion(connection, entry, forms).run()
    entry.finish()
    for table in _TABLES:
        connection.execute(f"DROP TABLE old_{table}")


class _Conversion:
    """Where the bytes of the old chunks went, as far as it got."""

    def __init__(self, connection: sqlite3.Connection, entry: Entry, forms: dict[int, int]) -> None:
        self._connection = connection
        self._entry = entry
        self._forms = forms
        self._moved: dict[int, tuple[int, int]] = {}

    def run(self) -> None:
        """Segments in the order they were made, so that what is referred to is there."""
        branches: dict[int, Branch] = {}
        rows = self._connection.execute(
            "SELECT id, world_id, run_id, first_tick, parent, parent_tick, name, seed FROM old_segment ORDER BY id"
        ).fetchall()
        for number, world_id, run_id, first, parent, parent_tick, name, seed in rows:
            grown = branches.get(parent)
            point = Point(grown.segment.world_id, grown.segment.run_id, parent_tick) if grown else None
            (last,) = self._connection.execute("SELECT max(tick) FROM old_tick WHERE segment = ?", (number,)).fetchone()
            branch = self._entry.open(Segment(world_id, run_id, first, point, name, seed), last)
            branches[number] = branch
            entries: dict[int, tuple[int, int]] = {}
            for tick in range(first, last + 1):
                self._tick(number, branch.id, first, tick, entries)
        for world_id, segment, owner in self._connection.execute(
            "SELECT world_id, segment, owner FROM old_world"
        ).fetchall():
            self._entry.hold(None, world_id, branches[segment].id, owner, "")

    def _tick(self, old: int, segment: int, first: int, tick: int, entries: dict[int, tuple[int, int]]) -> None:
        at = (old, tick)
        row = self._connection.execute(
            "SELECT next_entity_id, applied FROM old_tick WHERE segment = ? AND tick = ?", at
        )
        next_entity_id, applied = row.fetchone()
        number, data = row_id(segment, tick - first), bytearray()
        parts = {}
        for form, live, gone, places, crc in self._connection.execute(
            "SELECT form, live, gone, places, crc FROM old_part WHERE segment = ? AND tick = ?", at
        ).fetchall():
            if checksum(places) != crc:
                raise CorruptStore(f"tick {tick}", "the checksum of its row does not match")
            found = tuple(self._place(number, data, place) for place in _PLACE.iter_unpack(places))
            parts[self._forms[form]] = Part(live, gone, found)
            begun = entries.get(self._forms[form], (tick - first, 0))[0]
            entries[self._forms[form]] = (begun, tick - first)
        ids = tuple(json.loads(applied)) if applied else ()
        record = Record(next_entity_id, ids, tick - first, parts, entries)
        self._entry.write(number, pack(number, record), bytes(data) or None)

    def _place(self, number: int, data: bytearray, place: tuple[Any, ...]) -> Place:
        chunk, offset, length, crc = place
        if chunk not in self._moved:
            file, blob = self._connection.execute("SELECT file, data FROM old_chunk WHERE id = ?", (chunk,)).fetchone()
            if file is None:
                self._moved[chunk] = (number, len(data))
                data += blob
            else:
                self._moved[chunk] = (-self._entry.file(file), 0)
        source, begin = self._moved[chunk]
        return (source, begin + offset, length, crc, MESSAGE)
