"""A rehearsal: mutations are checked as staging checks them, and nothing is staged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from archetype_core.engine.mutation_log import MutationLog

if TYPE_CHECKING:
    from archetype_core.engine.attempt import Draft
    from archetype_core.engine.selection import Ids, Places
    from archetype_core.schema.archetype import Archetype


class Rehearsal:
    """A draft over another one, forgotten at its end. Its mutations see each other; no entity id is used up."""

    __slots__ = ("_below", "_next", "log")

    def __init__(self, below: Draft, next_id: int) -> None:
        self.log = MutationLog()
        self._below = below
        self._next = next_id

    def place(self, entity_id: int) -> Archetype | None:
        """The archetype that an entity would have."""
        return self.log.place(entity_id, self._below.place)

    def places(self, ids: Ids) -> Places:
        """The archetypes that many entities would have."""
        return self.log.overlaid(self._below.places(ids))

    def take(self, count: int) -> range:
        """Ids that nobody has, to be forgotten too."""
        ids = range(self._next, self._next + count)
        self._next = ids.stop
        return ids

    def reserve(self, count: int) -> range:
        """As ``take``."""
        return self.take(count)

    def redeem(self, ids: range) -> None:
        """Leave reserved ids as they are."""
