"""The reference kernel: lays a tick's mutations over the rows that processors made, in Arrow and numpy.

It defines what a kernel does; the kernel contract compares faster ones with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from archetype_core.schema.snapshot import ENTITY_ID, Column, Snapshot, stack
from archetype_core.store.commit import Rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from archetype_core.schema.archetype import Archetype

    Tables = Mapping[Archetype, Snapshot]


@dataclass(frozen=True, slots=True)
class Patch:
    """Values that overwrite columns of some entities: one row of ``columns`` per entity id; the last row of an entity wins."""

    entity_ids: pa.Array
    columns: Mapping[str, pa.Array]


@dataclass(frozen=True, slots=True)
class Arrival:
    """Entities that move in from another table: they bring their processed values along and gain ``columns``."""

    source: Archetype
    entity_ids: pa.Array
    columns: Mapping[str, pa.Array]
    """The columns that the source lacks: one row per entity id."""


@dataclass(frozen=True, slots=True)
class Staged:
    """What a tick does to one table, folded to one operation per entity.

    An entity in ``leaving`` gets a tombstone if the table has it, otherwise no row. ``entering`` and ``arriving`` rows are
    new: an entity's first row decides its position, its last row its values. ``patches`` apply in order, to all rows.
    """

    entering: Snapshot | None = None
    arriving: Sequence[Arrival] = ()
    patches: Sequence[Patch] = ()
    leaving: pa.Array | None = None
    order: pa.Array | None = None
    """The ids of all new rows in their final order; ``None`` if it is that of ``entering``, then ``arriving``."""

    def __bool__(self) -> bool:
        return bool(self.entering) or bool(self.arriving) or bool(self.patches) or bool(self.leaving)


class PythonKernel:
    """Materializes with Arrow and numpy. Cost grows with the tables touched; without staged mutations it is zero."""

    def materialize(
        self, prior: Tables, processed: Tables, staged: Mapping[Archetype, Staged]
    ) -> dict[Archetype, Rows]:
        """Lay the mutations of all tables over the rows that processors made."""
        written = {archetype: Rows(rows) for archetype, rows in processed.items() if archetype not in staged}
        for archetype, mutations in staged.items():
            before = _rows_of(archetype, prior)
            after = processed.get(archetype, before)
            arriving = [_arrived(archetype, one, prior, processed) for one in mutations.arriving]
            written[archetype] = _folded(before, after, mutations, arriving)
        return written


def _rows_of(archetype: Archetype, tables: Tables) -> Snapshot:
    rows = tables.get(archetype)
    return Snapshot.empty(archetype) if rows is None else rows


def _arrived(archetype: Archetype, arrival: Arrival, prior: Tables, processed: Tables) -> Snapshot:
    """The rows of entities that move in: processed values of what they had, and what they gain."""
    source = processed.get(arrival.source)
    if source is None:
        source = _rows_of(arrival.source, prior)
    places = positions(source.entity_ids, arrival.entity_ids)
    known = places >= 0
    rows = pa.array(places[known])
    gained = None if bool(known.all()) else pa.array(known)
    columns = {}
    for name in archetype.schema.names:
        if name in arrival.columns:
            array = arrival.columns[name]
            columns[name] = Column(array if gained is None else array.filter(gained))
        else:
            columns[name] = source.columns[name].take(rows)
    return Snapshot(archetype, columns, len(rows))


def _folded(prior: Snapshot, processed: Snapshot, staged: Staged, arriving: Sequence[Snapshot]) -> Rows:
    tombstones = None
    new = _in_order(stack(prior.archetype, [*([staged.entering] if staged.entering else ()), *arriving]), staged.order)
    if staged.leaving is not None and len(staged.leaving):
        gone = membership(prior.entity_ids, staged.leaving)
        if gone.any():
            tombstones = prior.take(_where(pa.array(gone)))
            processed = processed.without(gone)
        new = new.without(membership(new.entity_ids, staged.leaving)) if new else new
    patches = list(staged.patches)
    if new:
        again = pc.is_in(new.entity_ids, value_set=processed.entity_ids)
        if pc.any(again).as_py():
            # A new row of an existing entity replaces all its values, in its old position.
            known = new.take(_where(again))
            values = {name: column.arrow for name, column in known.columns.items() if name != ENTITY_ID}
            patches.insert(0, Patch(known.entity_ids, values))
            new = new.take(_where(pc.invert(again)))
    live = _patched(processed, patches)
    if new:
        live = stack(live.archetype, (live, _patched(new, patches)))
    return Rows(live, tombstones)


def _where(mask: pa.Array) -> pa.Array:
    return pc.indices_nonzero(mask).cast(pa.int64())


def positions(ids: pa.Array, wanted: pa.Array) -> np.ndarray[Any, Any]:
    """For each wanted id its position among ``ids``, or -1."""
    import numpy as np

    here = ids.to_numpy(zero_copy_only=False)
    if len(here) and bool(np.all(here[1:] > here[:-1])):
        there = wanted.to_numpy(zero_copy_only=False)
        places = here.searchsorted(there)
        places[places == len(here)] = 0
        return np.where(here[places] == there, places, -1)
    found = pc.fill_null(pc.index_in(wanted, value_set=ids), -1).to_numpy(zero_copy_only=False)
    return np.asarray(found, np.int64)


def membership(ids: pa.Array, wanted: pa.Array) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """For each id whether it is one of the wanted."""
    import numpy as np

    here = ids.to_numpy(zero_copy_only=False)
    if not bool(np.all(here[1:] > here[:-1])):
        return np.asarray(pc.is_in(ids, value_set=wanted).to_numpy(zero_copy_only=False), np.bool_)
    # A search for each wanted id, where Arrow looks up every row in a hash.
    places = positions(ids, wanted)
    mask = np.zeros(len(here), np.bool_)
    mask[places[places >= 0]] = True
    return mask


def _in_order(new: Snapshot, order: pa.Array | None) -> Snapshot:
    """New rows, one per entity: in the given order, else by each one's first row; the last row has the values."""
    import numpy as np

    ids = new.entity_ids.to_numpy(zero_copy_only=False)
    if order is None:
        order_ids = ids
        if len(ids) < 2 or bool(np.all(ids[1:] > ids[:-1])):
            return new
    else:
        order_ids = order.to_numpy(zero_copy_only=False)
    unique, inverse = np.unique(ids, return_inverse=True)
    last = np.zeros(len(unique), np.int64)
    np.maximum.at(last, inverse, np.arange(len(ids)))
    wanted, first = np.unique(order_ids, return_index=True)
    wanted = wanted[np.argsort(first, kind="stable")]
    places = unique.searchsorted(wanted)
    places[places == len(unique)] = 0
    known = unique[places] == wanted if len(unique) else np.zeros(len(wanted), bool)
    return new.take(pa.array(last[places[known]]))


def _patched(rows: Snapshot, patches: Sequence[Patch]) -> Snapshot:
    """The rows with the patches applied in order, field by field (T2)."""
    import numpy as np

    changed: dict[str, Any] = {}
    for patch in patches:
        places = positions(rows.entity_ids, patch.entity_ids)
        source = np.flatnonzero(places >= 0)
        if not len(source):
            continue
        merged: np.ndarray[Any, Any] = np.arange(rows.num_rows)
        # Assigned in order, so the last of several rows for one entity wins.
        merged[places[source]] = rows.num_rows + source
        indices = pa.array(merged)
        for name, values in patch.columns.items():
            base = changed.get(name, rows.columns[name].arrow)
            changed[name] = pa.concat_arrays([base, values]).take(indices)
    return rows.with_columns({name: Column(array) for name, array in changed.items()}) if changed else rows
