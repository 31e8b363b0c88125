"""Reading ticks back: which write a table shows at a tick, and the bytes of the columns that somebody asks for."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from archetype_core.archetype import Archetype
from archetype_core.commit import Point, Rows, Segment
from archetype_core.errors import CorruptStore
from archetype_core.journal import chunk
from archetype_core.journal.database import Database
from archetype_core.journal.writer import PLACE, Place
from archetype_core.snapshot import Column, Snapshot


@dataclass(frozen=True, slots=True)
class Branch:
    """A stored segment, the id of the one it grew from, and its last tick."""

    id: int
    segment: Segment
    parent: int | None
    last: int


_BRANCH = (
    "SELECT s.id, s.world_id, s.run_id, s.first_tick, s.parent, s.parent_tick, s.name, s.seed,"
    " p.world_id, p.run_id, (SELECT max(tick) FROM tick WHERE segment = s.id)"
    " FROM segment s LEFT JOIN segment p ON p.id = s.parent WHERE "
)


class Reader:
    """Finds and decodes; holds no state that could grow old."""

    def __init__(self, database: Database, connection: sqlite3.Connection | None = None) -> None:
        self._database = database
        self._connection = connection

    @property
    def connection(self) -> sqlite3.Connection:
        """The one it was given, such as the writer's inside a transaction, or one of the calling thread."""
        return self._connection or self._database.reader()

    def branch(self, segment_id: int) -> Branch:
        """A segment by its id."""
        found = self._branch("s.id = ?", (segment_id,))
        if found is None:
            raise CorruptStore(str(self._database.path), f"segment {segment_id} is missing")
        return found

    def find(self, world_id: str, run_id: str) -> Branch | None:
        """A segment by world and run."""
        return self._branch("s.world_id = ? AND s.run_id = ?", (world_id, run_id))

    def _branch(self, where: str, values: tuple[object, ...]) -> Branch | None:
        row = self.connection.execute(_BRANCH + where, values).fetchone()
        if row is None:
            return None
        number, world_id, run_id, first, parent, parent_tick, name, seed, parent_world, parent_run, last = row
        point = None if parent is None else Point(parent_world, parent_run, parent_tick)
        return Branch(number, Segment(world_id, run_id, first, point, name, seed), parent, last)

    def lineage(self, branch: Branch) -> Iterator[tuple[Branch, int]]:
        """A segment and its ancestors, each with the last tick that counts."""
        last = branch.last
        while True:
            yield branch, last
            if branch.parent is None or branch.segment.parent is None:
                return
            last, branch = branch.segment.parent.tick, self.branch(branch.parent)

    def forms(self, branch: Branch, last: int) -> Iterator[tuple[str, pa.Schema]]:
        """The tables that a segment wrote up to a tick."""
        for name, crc, data in self.connection.execute(
            "SELECT name, crc, schema FROM form WHERE id IN (SELECT DISTINCT form FROM part WHERE segment = ? AND tick <= ?)",
            (branch.id, last),
        ):
            if chunk.checksum(data) != crc:
                raise CorruptStore(f"{self._database.path} table {name}", "the checksum of its schema does not match")
            yield name, pa.ipc.read_schema(pa.py_buffer(data))

    def rows(self, branch: Branch, table: str, tick: int) -> Rows | None:
        """What a table shows at a tick: what was written then, or the active rows of the newest write before."""
        row = self.connection.execute("SELECT id, schema FROM form WHERE name = ?", (table,)).fetchone()
        if row is None:
            return None
        form, data = row
        wanted = tick
        while True:
            part = self.connection.execute(
                "SELECT tick, live, gone, places, crc FROM part WHERE segment = ? AND form = ? AND tick <= ?"
                " ORDER BY tick DESC LIMIT 1",
                (branch.id, form, tick),
            ).fetchone()
            if part is not None:
                break
            if branch.parent is None or branch.segment.parent is None:
                return None
            tick, branch = branch.segment.parent.tick, self.branch(branch.parent)
        written, live, gone, places, crc = part
        if chunk.checksum(places) != crc:
            raise CorruptStore(
                f"{self._database.path} {table} at tick {written}", "the checksum of its row does not match"
            )
        archetype = Archetype.from_schema(pa.ipc.read_schema(pa.py_buffer(data)))
        found = [PLACE.unpack_from(places, offset) for offset in range(0, len(places), PLACE.size)]
        width = len(archetype.schema) if live else 0
        if written != wanted:
            return Rows(self._snapshot(archetype, found, live)) if live else None
        tombstones = self._snapshot(archetype, found[width:], gone) if gone else None
        return Rows(self._snapshot(archetype, found[:width], live), tombstones)

    def _snapshot(self, archetype: Archetype, places: list[Place], count: int) -> Snapshot:
        if not count:
            return Snapshot.empty(archetype)
        return Snapshot(archetype, _Columns(self, archetype, places), count)

    def column(self, place: Place, field: pa.Field) -> pa.Array:
        """The values at a place."""
        number, offset, length, crc = place
        row = self.connection.execute(
            "SELECT file, substr(data, ?, ?) FROM chunk WHERE id = ?", (offset + 1, length, number)
        ).fetchone()
        where = f"{self._database.path} chunk {number} ({field.name})"
        if row is None:
            raise CorruptStore(where, "it is missing")
        file, data = row
        buffer = pa.py_buffer(data) if file is None else chunk.read_file(self._database.path / file, offset, length)
        return chunk.decode(buffer, crc, field, where)


class _Columns(Mapping[str, Column]):
    """A table's columns, each read when it is asked for."""

    __slots__ = ("_archetype", "_places", "_reader")

    def __init__(self, reader: Reader, archetype: Archetype, places: list[Place]) -> None:
        self._reader = reader
        self._archetype = archetype
        self._places = places

    def __getitem__(self, name: str) -> Column:
        index = self._archetype.schema.get_field_index(name)
        if index < 0:
            raise KeyError(name)
        return Column(self._reader.column(self._places[index], self._archetype.schema.field(index)))

    def __iter__(self) -> Iterator[str]:
        return iter(self._archetype.schema.names)

    def __len__(self) -> int:
        return len(self._archetype.schema)
