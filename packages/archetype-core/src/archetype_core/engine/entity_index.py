"""The index of live entities: the archetype of each, in about twelve bytes per entity."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

from archetype_core.engine.selection import Ids, Places
from archetype_core.schema.archetype import Archetype

if TYPE_CHECKING:
    import numpy as np

_BULK = 4096


class EntityIndex:
    """Maps entity id to archetype: two sorted arrays, and a dictionary of recent changes over them.

    A lookup is logarithmic. Changes go to the dictionary, which is merged into the arrays when it outgrows a quarter of them,
    so the cost of a change does not depend on the number of entities.
    """

    __slots__ = ("_archetypes", "_codes", "_count", "_ids", "_recent", "_sorted", "_tables")

    def __init__(self) -> None:
        import numpy as np

        self._ids: np.ndarray[Any, Any] = np.empty(0, np.int64)
        self._tables: np.ndarray[Any, Any] = np.empty(0, np.int32)
        self._sorted = _view(self._ids)
        self._archetypes: list[Archetype] = []
        self._codes: dict[Archetype, int] = {}
        self._recent: dict[int, Archetype | None] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def get(self, entity_id: int) -> Archetype | None:
        """The archetype of an entity, or ``None`` if it is not alive."""
        try:
            return self._recent[entity_id]
        except KeyError:
            pass
        ids = self._sorted
        # numpy's own search lets other threads take the GIL, which costs a single lookup up to 5 ms.
        place = bisect_left(ids, entity_id)
        if place == len(ids) or ids[place] != entity_id:
            return None
        return self._archetypes[int(self._tables[place])]

    def places(self, ids: Ids) -> Places:
        """The archetypes of many entities."""
        found = Places(ids, self._archetypes)
        known = self._ids
        if len(known):
            at = known.searchsorted(ids)
            at[at == len(known)] = 0
            is_known = known[at] == ids
            found.codes[is_known] = self._tables[at[is_known]]
        found.overlay(self._recent)
        return found

    def enter(self, entity_ids: pa.Array, archetype: Archetype) -> None:
        """Add entities that were not alive before."""
        self._count += len(entity_ids)
        # Many at once are mostly the newest ids, which merging only appends.
        if len(entity_ids) > max(_BULK, len(self._ids) // 32):
            self._merge([(entity_ids, archetype)])
        else:
            self._recent.update(dict.fromkeys(entity_ids.to_pylist(), archetype))
            self._merge_if_large()

    def move(self, entity_ids: Iterable[int], archetype: Archetype | None) -> None:
        """Move live entities to another archetype; ``None`` removes them."""
        ids = list(entity_ids)
        if archetype is None:
            self._count -= len(ids)
        self._recent.update(dict.fromkeys(ids, archetype))
        self._merge_if_large()

    def copy(self) -> EntityIndex:
        """An independent copy; the arrays are shared, because they are never changed in place."""
        # After merging, further copies cost nothing until something changes.
        if len(self._recent) > _BULK:
            self._merge([])
        other = EntityIndex()
        other._ids, other._tables, other._count = self._ids, self._tables, self._count
        other._sorted = self._sorted
        other._archetypes, other._codes = list(self._archetypes), dict(self._codes)
        other._recent = dict(self._recent)
        return other

    def _merge_if_large(self) -> None:
        if len(self._recent) > max(16 * _BULK, len(self._ids) // 4):
            self._merge([])

    def _merge(self, bulk: list[tuple[pa.Array, Archetype]]) -> None:
        """Merge the dictionary and the bulk additions into the arrays."""
        import numpy as np

        ids, tables = self._ids, self._tables
        if self._recent:
            changed = np.fromiter(self._recent, np.int64, len(self._recent))
            codes = np.fromiter(
                (-1 if one is None else self._code(one) for one in self._recent.values()), np.int32, len(self._recent)
            )
            stays = ~np.isin(ids, changed)
            alive = codes >= 0
            ids = np.concatenate([ids[stays], changed[alive]])
            tables = np.concatenate([tables[stays], codes[alive]])
        for entity_ids, archetype in bulk:
            added = entity_ids.to_numpy(zero_copy_only=False)
            ids = np.concatenate([ids, added])
            tables = np.concatenate([tables, np.full(len(added), self._code(archetype), np.int32)])
        if len(ids) > 1 and not bool(np.all(ids[1:] > ids[:-1])):
            order = np.argsort(ids, kind="stable")
            ids, tables = ids[order], tables[order]
        self._ids, self._tables, self._recent = ids, tables, {}
        self._sorted = _view(ids)

    def _code(self, archetype: Archetype) -> int:
        code = self._codes.get(archetype)
        if code is None:
            code = self._codes[archetype] = len(self._archetypes)
            self._archetypes.append(archetype)
        return code


def _view(ids: np.ndarray[Any, Any]) -> Sequence[int]:
    return memoryview(cast("Any", ids))
