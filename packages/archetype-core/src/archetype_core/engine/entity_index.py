"""The index of live entities: the archetype of each, in about twelve bytes per entity."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from archetype_core.schema.archetype import Archetype

if TYPE_CHECKING:
    import numpy as np

_BULK = 4096


class EntityIndex:
    """Maps entity id to archetype: two sorted arrays, and a dictionary of recent changes over them.

    A lookup is logarithmic. Changes go to the dictionary, which is merged into the arrays when it outgrows a quarter of them,
    so the cost of a change does not depend on the number of entities.
    """

    __slots__ = ("_archetypes", "_codes", "_count", "_ids", "_recent", "_tables")

    def __init__(self) -> None:
        import numpy as np

        self._ids: np.ndarray[Any, Any] = np.empty(0, np.int64)
        self._tables: np.ndarray[Any, Any] = np.empty(0, np.int32)
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
        ids = self._ids
        if not len(ids) or not ids[0] <= entity_id <= ids[-1]:
            return None
        place = int(ids.searchsorted(entity_id))
        if ids[place] != entity_id:
            return None
        return self._archetypes[int(self._tables[place])]

    def split(self, entity_ids: np.ndarray[Any, Any]) -> dict[Archetype, np.ndarray[Any, Any]]:
        """The positions of live entities among these, ascending, by archetype."""
        import numpy as np

        found: dict[Archetype, np.ndarray[Any, Any]] = {}
        if not len(entity_ids):
            return found
        codes = np.full(len(entity_ids), -1, np.int32)
        if len(self._ids):
            places = np.minimum(self._ids.searchsorted(entity_ids), len(self._ids) - 1)
            codes = np.where(self._ids[places] == entity_ids, self._tables[places], codes)
        if self._recent:
            for position, entity_id in enumerate(entity_ids.tolist()):
                if entity_id in self._recent:
                    archetype = self._recent[entity_id]
                    codes[position] = -1 if archetype is None else self._code(archetype)
        order = np.argsort(codes, kind="stable")
        present, starts = np.unique(codes[order], return_index=True)
        for code, positions in zip(present.tolist(), np.split(order, starts[1:]), strict=True):
            if code >= 0:
                found[self._archetypes[code]] = positions
        return found

    def enter(self, entity_ids: pa.Array, archetype: Archetype) -> None:
        """Add entities that were not alive before."""
        self._count += len(entity_ids)
        if len(entity_ids) > max(_BULK, len(self._ids) // 4):
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

    def _code(self, archetype: Archetype) -> int:
        code = self._codes.get(archetype)
        if code is None:
            code = self._codes[archetype] = len(self._archetypes)
            self._archetypes.append(archetype)
        return code
