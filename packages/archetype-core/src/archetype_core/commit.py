"""What crosses from the engine to a store: ticks, the segments they belong to, and the questions a store answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import pyarrow as pa

from archetype_core.errors import CommitError
from archetype_core.snapshot import Snapshot

TICK = "tick"
WORLD_ID = "world_id"
RUN_ID = "run_id"
IS_ACTIVE = "is_active"

_NOTHING: Mapping[str, Snapshot] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Point:
    """A place in history: the end of a tick of a run of a world."""

    world_id: str
    run_id: str
    tick: int


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of consecutive ticks with one world and one run; a fork or a new run begins another one.

    ``parent`` is the last tick that it shares with the segment it grew from, ``None`` for a world made from nothing.
    """

    world_id: str
    run_id: str
    first_tick: int
    parent: Point | None
    name: str
    seed: int


@dataclass(frozen=True, slots=True)
class Rows:
    """What one tick writes to one table: the active rows, then the tombstones of those that left."""

    live: Snapshot
    tombstones: Snapshot | None = None

    @property
    def num_rows(self) -> int:
        return self.live.num_rows + (self.tombstones.num_rows if self.tombstones else 0)

    def to_arrow(self) -> pa.Table:
        """Both kinds of row as one table, with ``is_active``."""
        parts = [activity(self.live.to_arrow(), True)]
        if self.tombstones:
            parts.append(activity(self.tombstones.to_arrow(), False))
        return pa.concat_tables(parts)


@dataclass(frozen=True, slots=True)
class TickCommit:
    """One tick, whole: what it wrote, what stands unchanged, and what the world needs to come back.

    ``written`` are the tables that this tick touched. ``carried`` are the live tables that it did not: their active rows
    stand at this tick exactly as they stood at the one before. A store that keeps only ``written`` and looks back for the
    rest costs nothing for idle tables; a simple store writes both.
    """

    segment: Segment
    tick: int
    written: Mapping[str, Rows]
    next_entity_id: int
    carried: Mapping[str, Snapshot] = field(default_factory=lambda: _NOTHING)
    applied: tuple[str, ...] = ()

    def tables(self) -> Iterator[tuple[str, Rows]]:
        """Every table with rows at this tick, written or carried."""
        yield from self.written.items()
        for name, snapshot in self.carried.items():
            yield name, Rows(snapshot)


@dataclass(frozen=True, slots=True)
class Head:
    """A committed tick of a world and what is needed to go on from it."""

    segment: Segment
    tick: int
    next_entity_id: int
    applied: tuple[str, ...]
    live: Mapping[str, int]
    """Active rows of every table that has any."""


@dataclass(frozen=True, slots=True)
class WorldRecord:
    """A world that a store holds."""

    world_id: str
    name: str
    run_id: str
    tick: int


@dataclass(frozen=True, slots=True)
class Span:
    """The part of a segment between two ticks, both included."""

    segment: Segment
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Timeline:
    """A world's history: its segments back through its ancestors, oldest first, and every table they wrote."""

    spans: tuple[Span, ...]
    tables: Mapping[str, pa.Schema]

    @property
    def first(self) -> int:
        return self.spans[0].first

    @property
    def last(self) -> int:
        return self.spans[-1].last

    def between(self, first: int | None = None, last: int | None = None) -> tuple[Span, ...]:
        """The spans that cover the given ticks, cut to them."""
        if not self.spans:
            return ()
        low = self.first if first is None else first
        high = self.last if last is None else last
        cut = (Span(span.segment, max(span.first, low), min(span.last, high)) for span in self.spans)
        return tuple(span for span in cut if span.first <= span.last)

    def at(self, tick: int) -> Span | None:
        """The one-tick span of a tick, or ``None`` where the history has no such tick."""
        found = self.between(tick, tick)
        return found[0] if found else None

    def own(self, world_id: str) -> Timeline:
        """The same history without the ancestors of a world."""
        return Timeline(tuple(span for span in self.spans if span.segment.world_id == world_id), self.tables)


@dataclass(frozen=True, slots=True)
class Scan:
    """A request for rows of one table over consecutive ticks of one segment.

    A store must honour ``columns``, the ticks and ``entity_ids``, keep the committed order within a tick, and impose no
    filter of its own (tombstones are rows). ``where`` is a hint: a store may return rows that do not match it.
    """

    table: str
    segment: Segment
    first: int
    last: int
    columns: tuple[str, ...]
    """Any of ``entity_id``, ``tick``, ``is_active``, ``world_id``, ``run_id`` and the table's component columns."""
    entity_ids: pa.Array | None = None
    where: object | None = None
    """A ``pyarrow.compute.Expression`` over base and component columns, or ``None``."""

    def schema(self, table: pa.Schema) -> pa.Schema:
        """The schema of the answer, given the table's own."""
        return pa.schema([BASE_FIELDS[name] if name in BASE_FIELDS else table.field(name) for name in self.columns])


BASE_FIELDS: Mapping[str, pa.Field] = MappingProxyType(
    {
        WORLD_ID: pa.field(WORLD_ID, pa.large_string(), nullable=False),
        RUN_ID: pa.field(RUN_ID, pa.large_string(), nullable=False),
        "entity_id": pa.field("entity_id", pa.int64(), nullable=False),
        TICK: pa.field(TICK, pa.int64(), nullable=False),
        IS_ACTIVE: pa.field(IS_ACTIVE, pa.bool_(), nullable=False),
    }
)


def activity(table: pa.Table, active: bool) -> pa.Table:
    """The table with a constant ``is_active`` column."""
    return table.append_column(BASE_FIELDS[IS_ACTIVE], pa.repeat(pa.scalar(active), table.num_rows))


def project(snapshot: Snapshot, scan: Scan, tick: int, active: bool, schema: pa.Schema) -> pa.RecordBatch:
    """The columns a scan asks for, of one tick's snapshot, with the constant ones filled in."""
    if scan.entity_ids is not None:
        import pyarrow.compute as pc

        wanted = pc.is_in(snapshot.entity_ids, value_set=scan.entity_ids)
        snapshot = snapshot.take(pc.indices_nonzero(wanted).cast(pa.int64()))
    constant = {TICK: tick, IS_ACTIVE: active, WORLD_ID: scan.segment.world_id, RUN_ID: scan.segment.run_id}
    arrays = [
        pa.repeat(pa.scalar(constant[name], BASE_FIELDS[name].type), snapshot.num_rows)
        if name in constant
        else snapshot.columns[name].arrow
        for name in scan.columns
    ]
    if not arrays:
        return pa.RecordBatch.from_struct_array(pa.StructArray.from_buffers(pa.struct([]), snapshot.num_rows, [None]))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def check_successors(ticks: Sequence[TickCommit]) -> None:
    """Refuse a commit whose ticks are not consecutive ticks of one segment that begins right after its parent."""
    previous = None
    for commit in ticks:
        if previous is not None and (commit.segment != previous.segment or commit.tick != previous.tick + 1):
            raise CommitError("a commit holds consecutive ticks of one segment")
        previous = commit
    segment = ticks[0].segment
    if ticks[0].tick < segment.first_tick:
        raise CommitError(f"tick {ticks[0].tick} lies before its segment, which begins at {segment.first_tick}")
    if segment.parent is not None and segment.first_tick != segment.parent.tick + 1:
        raise CommitError(
            f"segment {segment.run_id} begins at tick {segment.first_tick}, its parent ends at {segment.parent.tick}"
        )
