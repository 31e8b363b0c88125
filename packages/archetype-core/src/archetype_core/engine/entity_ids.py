"""Where a spawned entity gets its id: per world, from 1, never reused."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field

from archetype_core.argument import MAX_ENTITY_ID


@dataclass(slots=True)
class EntityIds:
    """The ids that a world gives out next, and those that are reserved. The caller holds the world's lock."""

    next: int = 1
    """The id of the next new entity."""
    _reserved: list[range] = field(default_factory=list)
    """Reserved ids without an entity yet, ascending."""

    def take(self, count: int) -> range:
        """Fresh ids for new entities; ``ValueError`` once the last id is used."""
        if self.next + count > MAX_ENTITY_ID:
            raise ValueError(f"{count} more entities would pass the last id, {MAX_ENTITY_ID}")
        ids = range(self.next, self.next + count)
        self.next = ids.stop
        return ids

    def reserve(self, count: int) -> range:
        """Fresh ids for entities that come later."""
        ids = self.take(count)
        if ids:
            self._reserved.append(ids)
        return ids

    def redeem(self, wanted: range) -> None:
        """Consume reserved ids; ``ValueError`` for one that is not reserved."""
        if not wanted:
            return
        reserved = self._reserved
        index = bisect_right(reserved, wanted.start, key=lambda ids: ids.start) - 1
        if index < 0 or wanted.start < reserved[index].start or wanted.stop > reserved[index].stop:
            spelled = str(wanted.start) if len(wanted) == 1 else f"{wanted.start} to {wanted.stop - 1}"
            raise ValueError(
                f"entity id {spelled} is not reserved, or already used: reserve ids first, and use each once"
            )
        ids = reserved[index]
        rest = (range(ids.start, wanted.start), range(wanted.stop, ids.stop))
        reserved[index : index + 1] = [one for one in rest if one]

    def given(self, count: int, reserved: range | None) -> range:
        """Ids for new entities: the given reserved ones, or fresh ones."""
        if reserved is None:
            return self.take(count)
        if len(reserved) != count:
            raise ValueError(f"{len(reserved)} reserved ids for {count} entities: give one each")
        self.redeem(reserved)
        return reserved

    def resume(self, next_id: int, reserved: Iterable[range]) -> None:
        """Continue after ids that an earlier process gave out or reserved."""
        self.next = max(self.next, next_id)
        self._reserved = sorted([*self._reserved, *(ids for ids in reserved if ids)], key=lambda ids: ids.start)
