"""What a world hands to a store: one tick, whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import pyarrow as pa

from archetype_core.errors import CommitError
from archetype_core.schema.snapshot import Snapshot
from archetype_core.store.request import activity
from archetype_core.store.timeline import Segment

_NOTHING: Mapping[str, Snapshot] = MappingProxyType({})


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
