"""A world's history as an engine writes it, and the rows that a store must show at every tick."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b

import pyarrow as pa
import pyarrow.compute as pc

from archetype_core.schema import Archetype, Snapshot
from archetype_core.store import BASE_FIELDS, Point, Rows, Segment, TickCommit

BASE_COLUMNS = ("world_id", "run_id", "entity_id", "tick", "is_active")


def identifier(name: str) -> str:
    """A UUIDv7-shaped id that is the same for the same name."""
    digest = bytearray(blake2b(name.encode(), digest_size=16).digest())
    digest[6], digest[8] = digest[6] & 0x0F | 0x70, digest[8] & 0x3F | 0x80
    return str(uuid.UUID(bytes=bytes(digest)))


@dataclass(frozen=True, slots=True)
class WrittenTick:
    """A tick as it was committed, and the tables that it shows, carried ones too."""

    commit: TickCommit
    shown: Mapping[str, Rows]


class Script:
    """One segment of a world's history, made tick by tick. Forks and new runs are scripts that follow another one.

    It carries idle tables and numbers ticks and entities as an engine does. It never calls a store.
    """

    def __init__(
        self,
        name: str = "a",
        *,
        run: int = 1,
        first_tick: int = 0,
        seed: int = 0,
        after: tuple[Script, int] | None = None,
        world_id: str | None = None,
    ) -> None:
        self.name, self.run, self.after = name, run, after
        self.segment: Segment
        self.ticks: list[WrittenTick] = []
        self.live: dict[str, Snapshot] = {}
        self.drafts = 0
        self.next_entity_id = 1
        parent = None
        if after is not None:
            source, tick = after
            source = source.at(tick)
            parent = Point(source.segment.world_id, source.segment.run_id, tick)
            first_tick = tick + 1
            written = source.tick_at(tick)
            self.after = (source, tick)
            self.next_entity_id = written.commit.next_entity_id
            self.live = {table: rows.live for table, rows in written.shown.items() if rows.live.num_rows}
        world = world_id or identifier(name)
        self.segment = Segment(world, identifier(f"{world} run {run}"), first_tick, parent, name, seed)

    def __repr__(self) -> str:
        return f"{self.name}/{self.run}"

    @property
    def last(self) -> int:
        """The newest tick; one less than the segment's first tick if there is none."""
        return self.segment.first_tick + len(self.ticks) - 1

    @property
    def first(self) -> int:
        """The first tick of the history, ancestors included."""
        return self.line()[0].segment.first_tick

    def line(self) -> list[Script]:
        """The script and its ancestors, oldest first."""
        found = [self]
        while found[-1].after is not None:
            found.append(found[-1].after[0])
        return found[::-1]

    def spans(self) -> list[tuple[Segment, int, int]]:
        """The segments of the whole history, oldest first, each with its first and last tick in this history."""
        line = self.line()
        ends = [script.after[1] for script in line[1:] if script.after] + [self.last]
        return [(script.segment, script.segment.first_tick, end) for script, end in zip(line, ends, strict=True)]

    def at(self, tick: int) -> Script:
        """The script of this history that holds a tick."""
        here = self
        while tick < here.segment.first_tick:
            if here.after is None:
                raise LookupError(f"{self} has no tick {tick}")
            here = here.after[0]
        return here

    def tick_at(self, tick: int) -> WrittenTick:
        """A tick of the whole history."""
        here = self.at(tick)
        return here.ticks[tick - here.segment.first_tick]

    def draft(
        self,
        *written: Rows,
        tick: int | None = None,
        applied: tuple[str, ...] = (),
        attempt: str | None = None,
        continuation: bytes | None = None,
    ) -> TickCommit:
        """A commit of the next tick, or of another one, without adding it to this script.

        Each has an attempt and a continuation of its own.
        """
        tables = {rows.live.archetype.name: rows for rows in written}
        ids = [pc.max(rows.live.entity_ids).as_py() or 0 for rows in written if rows.live.num_rows]
        carried = {name: snapshot for name, snapshot in self.live.items() if name not in tables}
        bound = max([self.next_entity_id, *(highest + 1 for highest in ids)])
        number = self.last + 1 if tick is None else tick
        self.drafts += 1
        if attempt is None:
            attempt = identifier(f"{self.segment.run_id} tick {number} draft {self.drafts}")
        if continuation is None:
            continuation = f"after tick {number}, draft {self.drafts}".encode()
        return TickCommit(self.segment, number, tables, bound, carried, applied, attempt, continuation)

    def tick(
        self,
        *written: Rows,
        applied: tuple[str, ...] = (),
        next_entity_id: int | None = None,
        attempt: str | None = None,
        continuation: bytes | None = None,
    ) -> TickCommit:
        """Add the next tick; tables that it does not write are carried."""
        commit = self.draft(*written, applied=applied, attempt=attempt, continuation=continuation)
        if next_entity_id is not None:
            commit = replace(commit, next_entity_id=next_entity_id)
        self.add(commit)
        return commit

    def add(self, commit: TickCommit) -> None:
        """Add a draft of the next tick."""
        self.next_entity_id = commit.next_entity_id
        shown = dict(commit.tables())
        self.ticks.append(WrittenTick(commit, shown))
        self.live = {name: rows.live for name, rows in shown.items() if rows.live.num_rows}

    def fork(self, name: str, *, at: int | None = None, seed: int = 0) -> Script:
        """A new world that shares this history up to a tick, by default the newest."""
        return Script(name, after=(self, self.last if at is None else at), seed=seed)

    def new_run(self) -> Script:
        """The same world under its next run."""
        return Script(
            self.name, run=self.run + 1, after=(self, self.last), seed=self.segment.seed, world_id=self.segment.world_id
        )

    def archetypes(self) -> dict[str, Archetype]:
        """Every table that the history wrote, by name."""
        found: dict[str, Archetype] = {}
        for _, first, last in self.spans():
            for tick in self.at(first).ticks[: last - first + 1]:
                found.update((name, rows.live.archetype) for name, rows in tick.commit.written.items())
        return found

    def expected(
        self,
        archetype: Archetype,
        first: int,
        last: int,
        columns: tuple[str, ...] | None = None,
        entity_ids: pa.Array | None = None,
    ) -> pa.Table:
        """The rows that a scan of one segment must return; all columns by default."""
        wanted = columns_of(archetype) if columns is None else columns
        parts = [part.select(wanted) for part in self._parts(archetype, first, last, entity_ids)]
        if parts:
            return pa.concat_tables(parts)
        return pa.schema([field_of(archetype, name) for name in wanted]).empty_table()

    def _parts(self, archetype: Archetype, first: int, last: int, ids: pa.Array | None) -> Iterator[pa.Table]:
        segment = self.at(last).segment
        for tick in range(first, last + 1):
            rows = self.tick_at(tick).shown.get(archetype.name)
            for snapshot, is_active in ((rows.live, True), (rows.tombstones, False)) if rows else ():
                if not snapshot:
                    continue
                table = snapshot.to_arrow()
                constant = {
                    "world_id": segment.world_id,
                    "run_id": segment.run_id,
                    "tick": tick,
                    "is_active": is_active,
                }
                for name, value in constant.items():
                    array = pa.array([value] * table.num_rows, BASE_FIELDS[name].type)
                    table = table.append_column(BASE_FIELDS[name], array)
                yield table if ids is None else table.filter(pc.is_in(table.column("entity_id"), value_set=ids))


def columns_of(archetype: Archetype) -> tuple[str, ...]:
    """Every column of a table, base columns first."""
    return (*BASE_COLUMNS, *archetype.schema.names[1:])


def field_of(archetype: Archetype, name: str) -> pa.Field:
    """The field of a base or component column."""
    return BASE_FIELDS[name] if name in BASE_FIELDS else archetype.schema.field(name)
