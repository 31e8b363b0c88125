"""Where a spawned entity gets its id: per world, from 1, never reused."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from archetype_core.argument import MAX_ENTITY_ID

Supply = Callable[[int, int], range]
"""Reserves at least so many ids from an id on, where other processes can see it, and returns them."""


@dataclass(slots=True)
class EntityIds:
    """The ids that a world gives out next, and those that are reserved. The caller holds the world's lock."""

    next: int = 1
    """The id of the next new entity."""
    supply: Supply | None = None
    """Asked for more ids before they are given out."""
    on_tell: Callable[[], None] | None = None
    """Called before ids are given to code that is no part of a tick of this world: no commit may know them for a while."""
    _limit: int = 0
    """The end of the ids that ``supply`` gave."""
    _reserved: list[range] = field(default_factory=list)
    """Reserved ids without an entity yet, ascending."""

    def tell(self, count: int) -> None:
        """Say that so many ids are given out next to code that is no part of a tick of this world."""
        if self.on_tell is not None and count:
            self.on_tell()

    def take(self, count: int) -> range:
        """Fresh ids for new entities; ``ValueError`` once the last id is used."""
        if self.next + count > MAX_ENTITY_ID:
            raise ValueError(f"{count} more entities would pass the last id, {MAX_ENTITY_ID}")
        if self.supply is not None and count and self.next + count > self._limit:
            supplied = self.supply(self.next, count)
            self.next, self._limit = max(self.next, supplied.start), supplied.stop
        ids = range(self.next, self.next + count)
        self.next = ids.stop
        return ids

    def reserve(self, count: int) -> range:
        """Fresh ids for entities that come later."""
        ids = self.take(count)
        self.set_aside(ids)
        return ids

    def set_aside(self, ids: range) -> None:
        """Reserve ids that were taken."""
        if ids:
            insort(self._reserved, ids, key=lambda one: one.start)

    def is_reserved(self, entity_id: int) -> bool:
        """Whether an id waits for its entity."""
        index = bisect_right(self._reserved, entity_id, key=lambda ids: ids.start) - 1
        return index >= 0 and entity_id in self._reserved[index]

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

    def resume(self, next_id: int, reserved: Iterable[range]) -> None:
        """Continue after ids that an earlier process gave out or reserved."""
        self.next = max(self.next, next_id)
        self._reserved = sorted([*self._reserved, *(ids for ids in reserved if ids)], key=lambda ids: ids.start)

    def undo(self, taken: Sequence[range], redeemed: Sequence[range]) -> None:
        """Forget ids that were taken or reserved, and reserve those again that were redeemed.

        Ids can be given out again unless somebody else took some after them.
        """
        gone = sorted(taken, key=lambda ids: ids.start)
        for ids in gone:
            self._reserved = [
                part
                for one in self._reserved
                for part in (range(one.start, min(one.stop, ids.start)), range(max(one.start, ids.stop), one.stop))
                if part
            ]
        self.resume(0, (ids for ids in redeemed if not any(ids.start in one for one in gone)))
        while gone and gone[-1].stop == self.next:
            self.next = gone.pop().start


_FIRST_BLOCK = 16


class IdBlocks:
    """Ids for tables that run side by side: what a table gets does not depend on how fast the others are.

    The tables share regions of ids, each one its own block of every region. Every region is twice as large as the one before.
    """

    def __init__(self, take: Callable[[int], range], tables: Iterable[str]) -> None:
        self._take = take
        self._tables = tables
        self._regions: list[range] = []
        self._left: dict[str, range] = {}
        self._blocks: dict[str, int] = {}
        self._end = 0

    @cached_property
    def _ranks(self) -> Mapping[str, int]:
        # Most ticks spawn nothing.
        return {table: rank for rank, table in enumerate(sorted(self._tables))}

    def __contains__(self, table: str) -> bool:
        return table in self._ranks

    def take(self, table: str, count: int) -> list[range]:
        """So many ids for new entities of a table, in order; one range if they are consecutive."""
        pieces: list[range] = []
        while count:
            left = self._left.get(table) or self._block(table)
            given, self._left[table] = left[:count], left[count:]
            count -= len(given)
            self._end = max(self._end, given.stop)
            if pieces and pieces[-1].stop == given.start:
                given = range(pieces.pop().start, given.stop)
            pieces.append(given)
        return pieces

    def take_run(self, table: str, count: int) -> range:
        """So many consecutive ids for new entities of a table; blocks that are too small for them are passed over."""
        left = self._left.get(table, range(0))
        while len(left) < count:
            left = self._block(table)
        given, self._left[table] = left[:count], left[count:]
        self._end = max(self._end, given.stop)
        return given

    def unused(self) -> range:
        """The ids at the end of the regions that no table used."""
        return range(self._end, self._regions[-1].stop) if self._regions else range(0)

    def _block(self, table: str) -> range:
        number = self._blocks.get(table, 0)
        self._blocks[table] = number + 1
        while len(self._regions) <= number:
            self._regions.append(self._take(len(self._ranks) * (_FIRST_BLOCK << len(self._regions))))
        size = _FIRST_BLOCK << number
        start = self._regions[number].start + self._ranks[table] * size
        return range(start, start + size)
