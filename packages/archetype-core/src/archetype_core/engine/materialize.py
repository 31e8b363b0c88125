"""The reference kernel: folds a tick's mutations into the rows that processors produced, in Arrow and numpy.

It defines what a kernel does; the kernel contract compares faster ones with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from archetype_core.schema.snapshot import Column, Snapshot, stack
from archetype_core.store.commit import Rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np


@dataclass(frozen=True, slots=True)
class Patch:
    """Values that overwrite columns of some entities: one row of ``columns`` per entity id; the last row of an entity wins."""

    entity_ids: pa.Array
    columns: Mapping[str, pa.Array]


@dataclass(frozen=True, slots=True)
class Staged:
    """What a tick does to one table, folded to one operation per entity.

    An entity in ``leaving`` gets a tombstone if ``prior`` has it, otherwise no row. ``patches`` apply in order,
    to prior and to entering rows. ``entering`` rows are new: an entity's first row decides its position, its last row its
    values.
    """

    entering: Snapshot | None = None
    patches: Sequence[Patch] = ()
    leaving: pa.Array | None = None

    def __bool__(self) -> bool:
        return bool(self.entering) or bool(self.patches) or bool(self.leaving)


class PythonKernel:
    """Materializes with Arrow and numpy. Cost grows with the rows touched; without staged mutations it is zero."""

    def materialize(self, prior: Snapshot, processed: Snapshot, staged: Staged) -> Rows:
        """Fold one table's mutations into the rows that its processors made."""
        if not staged:
            return Rows(processed)
        tombstones = None
        entering = _dedupe(staged.entering) if staged.entering else None
        if staged.leaving is not None and len(staged.leaving):
            gone = pc.is_in(prior.entity_ids, value_set=staged.leaving)
            if pc.any(gone).as_py():
                tombstones = prior.take(_positions(gone))
                stay = _positions(pc.invert(gone))
                same = processed is prior
                prior = prior.take(stay)
                processed = prior if same else processed.take(stay)
            if entering:
                entering = entering.take(_positions(pc.invert(pc.is_in(entering.entity_ids, value_set=staged.leaving))))
        patches = list(staged.patches)
        if entering:
            again = pc.is_in(entering.entity_ids, value_set=prior.entity_ids)
            if pc.any(again).as_py():
                # A new row of an existing entity replaces all its values, in its old position.
                known = entering.take(_positions(again))
                values = {name: column.arrow for name, column in known.columns.items() if name != "entity_id"}
                patches.insert(0, Patch(known.entity_ids, values))
                entering = entering.take(_positions(pc.invert(again)))
        live = _patched(prior, processed, patches)
        if entering:
            live = stack(live.archetype, (live, _overlay(entering, patches)))
        return Rows(live, tombstones)


def _positions(mask: pa.Array) -> pa.Array:
    return pc.indices_nonzero(mask).cast(pa.int64())


def _dedupe(entering: Snapshot) -> Snapshot:
    """One row per entity: the position of its first row, the values of its last."""
    import numpy as np

    ids = entering.entity_ids.to_numpy(zero_copy_only=False)
    if len(ids) < 2 or bool(np.all(ids[1:] > ids[:-1])):
        return entering
    unique, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    if len(unique) == len(ids):
        return entering
    last = np.zeros(len(unique), np.int64)
    np.maximum.at(last, inverse, np.arange(len(ids)))
    return entering.take(pa.array(last[np.argsort(first, kind="stable")]))


def _patched(prior: Snapshot, processed: Snapshot, patches: Sequence[Patch]) -> Snapshot:
    """``processed`` with each patched row replaced by its ``prior`` values plus the patches (T2)."""
    import numpy as np

    ids = prior.entity_ids
    hits = [pc.index_in(patch.entity_ids, value_set=ids) for patch in patches]
    rows = [pc.drop_null(hit) for hit in hits]
    if not any(len(row) for row in rows):
        return processed
    touched = np.unique(np.concatenate([row.to_numpy(zero_copy_only=False) for row in rows]))
    written = _overlay(prior.take(pa.array(touched)), patches)
    place = np.arange(prior.num_rows)
    place[touched] = prior.num_rows + np.arange(len(touched))
    indices = pa.array(place)
    patched = {name for patch in patches for name in patch.columns}
    changed = {}
    for name, column in processed.columns.items():
        if column is prior.columns[name] and name not in patched:
            continue
        changed[name] = Column(pa.concat_arrays([column.arrow, written.columns[name].arrow]).take(indices))
    return processed.with_columns(changed)


def _overlay(rows: Snapshot, patches: Sequence[Patch]) -> Snapshot:
    """The rows with the patches applied in order."""
    import numpy as np

    changed: dict[str, Any] = {}
    for patch in patches:
        hit = pc.index_in(patch.entity_ids, value_set=rows.entity_ids)
        mask = hit.is_valid()
        if not pc.any(mask).as_py():
            continue
        source = _positions(mask).to_numpy()
        place: np.ndarray[Any, Any] = np.arange(rows.num_rows)
        # Assigned in order, so the last of several rows for one entity wins.
        place[hit.drop_null().to_numpy()] = rows.num_rows + source
        indices = pa.array(place)
        for name, values in patch.columns.items():
            base = changed.get(name, rows.columns[name].arrow)
            changed[name] = pa.concat_arrays([base, values]).take(indices)
    return rows.with_columns({name: Column(array) for name, array in changed.items()}) if changed else rows
