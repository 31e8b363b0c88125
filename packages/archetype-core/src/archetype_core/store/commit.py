"""``TickCommit``: everything that one tick commits to a store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import pyarrow as pa

from archetype_core.errors import CommitError
from archetype_core.schema.snapshot import Snapshot
from archetype_core.store.request import with_activity
from archetype_core.store.timeline import Segment

_NOTHING: Mapping[str, Snapshot] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Rows:
    """What one tick writes to one table: its active rows, then tombstones of the entities that left."""

    live: Snapshot
    tombstones: Snapshot | None = None

    @property
    def num_rows(self) -> int:
        """The number of active rows and tombstones."""
        return self.live.num_rows + (self.tombstones.num_rows if self.tombstones else 0)

    def to_arrow(self) -> pa.Table:
        """Return active rows and tombstones as one table with ``is_active``."""
        parts = [with_activity(self.live.to_arrow(), True)]
        if self.tombstones:
            parts.append(with_activity(self.tombstones.to_arrow(), False))
        return pa.concat_tables(parts)


@dataclass(frozen=True, slots=True)
class TickCommit:
    """One complete tick: the tables it wrote, the unchanged ones, and what a world needs to resume from it.

    ``written`` has the tables that this tick changed. ``carried`` has the other live tables, whose active rows are the same
    as one tick before. A store may keep only ``written`` and look the rest up in earlier ticks, so that idle tables cost
    nothing; a simple store writes both. ``applied`` has the ids of the commands that this tick applied. ``attempt`` is the id
    of this try of the tick; the head has it too, so that a writer whose commit ended in doubt can tell whether it is stored.
    ``continuation`` is what the world continues from beside its rows, such as mutations that processors staged for the next
    tick. A store keeps these bytes as they are and gives them back with the head; often there are few or none.
    """

    segment: Segment
    tick: int
    written: Mapping[str, Rows]
    next_entity_id: int
    carried: Mapping[str, Snapshot] = field(default_factory=lambda: _NOTHING)
    applied: tuple[str, ...] = ()
    attempt: str = ""
    continuation: bytes = b""

    def tables(self) -> Iterator[tuple[str, Rows]]:
        """Yield every table with rows at this tick, written or carried."""
        yield from self.written.items()
        for name, snapshot in self.carried.items():
            yield name, Rows(snapshot)


def check_successors(ticks: Sequence[TickCommit]) -> None:
    """Raise ``CommitError`` unless the ticks are consecutive ticks of one segment that begins right after its parent."""
    previous = None
    for commit in ticks:
        if previous is not None and (commit.segment != previous.segment or commit.tick != previous.tick + 1):
            raise CommitError(
                f"tick {commit.tick} does not follow tick {previous.tick} of the same segment: "
                "commit consecutive ticks of one segment at a time"
            )
        previous = commit
    segment = ticks[0].segment
    if ticks[0].tick < segment.first_tick:
        raise CommitError(f"tick {ticks[0].tick} is before its segment, which begins at tick {segment.first_tick}")
    if segment.parent is not None and segment.first_tick != segment.parent.tick + 1:
        raise CommitError(
            f"segment {segment.run_id} begins at tick {segment.first_tick}, but its parent ends at tick {segment.parent.tick}"
        )
