"""Batches many small tables into one frame, for processors declared ``rowwise``.

Without batching, a thousand archetypes of ten rows mean a thousand evaluations. Each table gets its
result as a window: a range of the shared columns, sliced only when read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa

from archetype_core.engine.processor import Slot
from archetype_core.schema.archetype import Archetype
from archetype_core.schema.snapshot import ENTITY_ID, Column, Snapshot

SMALL_ROWS = 8192


class Window(Mapping[str, Column]):
    """The columns of one table, some of them a range of a batch's columns."""

    __slots__ = ("_columns", "batch", "changed", "length", "offset")

    def __init__(
        self, columns: Mapping[str, Column], batch: Batch, changed: Mapping[str, Column], offset: int, length: int
    ) -> None:
        self._columns = columns
        self.batch = batch
        self.changed = changed
        self.offset = offset
        self.length = length

    def __getitem__(self, name: str) -> Column:
        whole = self.changed.get(name)
        return self._columns[name] if whole is None else whole.slice(self.offset, self.length)

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    @property
    def untouched(self) -> Mapping[str, Column]:
        """The table's own columns, without the window's changes."""
        return self._columns


class Batch:
    """The rows of several tables, concatenated, with only the columns that the processors declare."""

    __slots__ = ("members", "rows")

    def __init__(self, members: tuple[Archetype, ...], rows: Snapshot) -> None:
        self.members = members
        self.rows = rows

    @classmethod
    def of(cls, members: tuple[Archetype, ...], live: Mapping[Archetype, Snapshot], slots: Sequence[Slot]) -> Batch:
        """Batch the members' live rows. Reuses the last tick's batch if no member changed since."""
        needs = {kind for slot in slots for kind in slot.needs}
        first = live[members[0]].columns
        if isinstance(first, Window) and first.batch.members == members:
            batch = first.batch
            windows = (live[member].columns for member in members)
            if batch.rows.archetype.has(needs) and all(
                isinstance(window, Window) and window.batch is batch for window in windows
            ):
                return batch
        archetype = Archetype.of(*sorted(needs, key=lambda kind: kind.name))
        snapshots = [live[member] for member in members]
        columns = {
            name: Column(pa.concat_arrays([snapshot.columns[name].arrow for snapshot in snapshots]))
            for name in (ENTITY_ID, *archetype.column_names)
        }
        return cls(members, Snapshot(archetype, columns, sum(snapshot.num_rows for snapshot in snapshots)))

    def split(self, result: Snapshot, live: Mapping[Archetype, Snapshot]) -> Iterator[tuple[Archetype, Snapshot]]:
        """The rows of each member, with the batch's changes; none if nothing changed."""
        changed = {name: column for name, column in result.columns.items() if column is not self.rows.columns[name]}
        if not changed:
            return
        after = Batch(self.members, result)
        known: Mapping[str, Column] | None = None
        both: Mapping[str, Column] = changed
        offset = 0
        for member in self.members:
            before = live[member]
            count, columns = before.num_rows, before.columns
            windowed: Mapping[str, Column] = changed
            if isinstance(columns, Window):
                # A window over a window would keep every earlier batch alive.
                if columns.batch is self:
                    # The members of a batch have the same changes, most often as one object.
                    if columns.changed is not known:
                        known = columns.changed
                        both = {**{name: result.columns[name] for name in known}, **changed}
                    windowed = both
                    columns = columns.untouched
                elif columns.changed.keys() <= changed.keys():
                    columns = columns.untouched
                else:
                    kept = columns.changed.keys() - changed.keys()
                    columns = {**columns.untouched, **{name: columns[name] for name in kept}}
            yield member, Snapshot(member, Window(columns, after, windowed, offset, count), count)
            offset += count


def groups(
    live: Mapping[Archetype, Snapshot], work: Mapping[Archetype, tuple[Slot, ...]]
) -> Iterator[tuple[tuple[Archetype, ...], tuple[Slot, ...]]]:
    """Groups of two or more small tables that run exactly the same row-wise processors."""
    alike: dict[tuple[Slot, ...], list[Archetype]] = {
        slots: [] for slots in dict.fromkeys(work.values()) if all(slot.is_rowwise for slot in slots)
    }
    if not alike:
        return
    for archetype, slots in work.items():
        if slots in alike and live[archetype].num_rows <= SMALL_ROWS:
            alike[slots].append(archetype)
    for slots, members in alike.items():
        if len(members) > 1:
            # Random numbers are drawn per row, so a replay needs the same row order.
            in_order = any(slot.signature.takes("rng") for slot in slots)
            yield tuple(sorted(members, key=lambda one: one.name) if in_order else members), slots
