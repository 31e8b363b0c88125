"""A world's state between two ticks: live tables, entity index, staged mutations and position in history."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from archetype_core.engine.continuation import Continuation
from archetype_core.engine.entity_ids import EntityIds
from archetype_core.engine.entity_index import EntityIndex
from archetype_core.engine.fold import Change
from archetype_core.engine.mutation_log import MutationLog
from archetype_core.engine.processor import Slot, System
from archetype_core.engine.selection import Ids, Places
from archetype_core.schema.archetype import Archetype
from archetype_core.schema.component import Component
from archetype_core.schema.snapshot import Snapshot
from archetype_core.store.commit import Rows
from archetype_core.store.timeline import Point, Segment


@dataclass(slots=True)
class WorldState:
    """The state of a world in memory. Only a committed tick changes the live tables, under ``lock``."""

    segment: Segment
    tick: int
    """The next tick to run."""
    ids: EntityIds = field(default_factory=EntityIds)
    live: dict[Archetype, Snapshot] = field(default_factory=dict)
    index: EntityIndex = field(default_factory=EntityIndex)
    delivered: Snapshot | None = None
    """Messages sent in the last tick."""
    pending: MutationLog = field(default_factory=MutationLog)
    frozen: MutationLog | None = None
    """Mutations that a running tick applies, until it commits or restores them."""
    continuation: Continuation = field(default_factory=Continuation)
    """What the last tick left for the next one; its mutations are the first that are pending."""
    has_history: bool = False
    components: tuple[type[Component], ...] = ()
    """The component classes that the world's declaration names."""
    named: tuple[type[Component], ...] = ()
    """These and those of the processors, as of the last look at them."""
    committed: Mapping[Archetype, Snapshot] | None = None
    """The live tables as the last tick committed them, if rows have evolved since."""
    known: set[str] = field(default_factory=set)
    """The names of all components that the world's tables had, in history or since."""
    evolutions: list[str] = field(default_factory=list)
    """What has evolved since the last tick, in words."""
    evolved_for: tuple[Slot, ...] | None = None
    """The processors whose classes the live tables fit."""
    checked: set[type[Component]] = field(default_factory=set)
    """The classes that all stored values are known to fit."""
    expected: tuple[str, ...] = ()
    """The names of the processors that ran before the world was opened, until its first tick here."""
    warned: set[str] = field(default_factory=set)
    warned_for: tuple[Slot, ...] | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)
    _taken: MutationLog | None = None
    """What ``freeze`` took, without what the attempt's own hooks staged."""
    _busy: dict[Archetype, tuple[Slot, ...]] | None = None
    _busy_for: tuple[Slot, ...] = ()
    _written: frozenset[Archetype] | None = None
    _carried: Mapping[str, Snapshot] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def tip(self) -> Point | None:
        """The last committed tick of this world's history, if there is any."""
        if not self.has_history:
            return None
        if self.tick == self.segment.first_tick:
            return self.segment.parent
        return Point(self.segment.world_id, self.segment.run_id, self.tick - 1)

    @property
    def staged(self) -> MutationLog:
        """All mutations that are not in the live tables yet: those of a running tick, then those staged since."""
        return self.pending if self.frozen is None else self.frozen.then(self.pending)

    @property
    def log(self) -> MutationLog:
        """Where callers outside a tick stage mutations."""
        return self.pending

    def take(self, count: int) -> range:
        """Fresh entity ids."""
        self.ids.tell(count)
        return self.ids.take(count)

    def reserve(self, count: int) -> range:
        """Fresh entity ids for entities that come later."""
        self.ids.tell(count)
        return self.ids.reserve(count)

    def redeem(self, ids: range) -> None:
        """Consume reserved entity ids."""
        self.ids.redeem(ids)

    def freeze(self, before: MutationLog) -> MutationLog:
        """Take everything staged for a tick, then what its own hooks staged; later mutations belong to the next tick."""
        with self.lock:
            self._taken, self.pending = self.pending, MutationLog()
            self.frozen = self._taken.then(before) if before.count else self._taken
            return self.frozen

    def restore(self) -> None:
        """Put back what ``freeze`` took, before everything staged since."""
        with self.lock:
            if self._taken is not None:
                self.pending = self._taken.then(self.pending)
            self.frozen = self._taken = None

    @property
    def last(self) -> Mapping[Archetype, Snapshot]:
        """The live tables of the last committed tick."""
        return self.live if self.committed is None else self.committed

    def replace_live(self, live: dict[Archetype, Snapshot]) -> None:
        """Replace the live tables between two ticks; ``committed`` keeps those of the last one."""
        self.committed = self.last
        self.live, self.index = live, EntityIndex()
        for archetype, rows in live.items():
            self.index.enter(rows.entity_ids, archetype)
        self._busy, self._written = None, None

    def place(self, entity_id: int) -> Archetype | None:
        """The archetype that an entity will have once everything staged is applied."""
        return self.pending.place(entity_id, self.place_after_tick)

    def places(self, ids: Ids) -> Places:
        """The archetypes that many entities will have once everything staged is applied."""
        return self.pending.overlaid(self.places_after_tick(ids))

    def places_after_tick(self, ids: Ids) -> Places:
        """The archetypes that many entities will have after the running tick, whatever was staged since it began."""
        found = self.index.places(ids)
        return self.frozen.overlaid(found) if self.frozen else found

    def place_after_tick(self, entity_id: int) -> Archetype | None:
        """The archetype that an entity will have after the running tick, whatever was staged since it began."""
        return self.frozen.place(entity_id, self.index.get) if self.frozen else self.index.get(entity_id)

    def lives(self, entity_id: int) -> bool:
        """Whether an entity is alive now or will be after the running tick."""
        return self.index.get(entity_id) is not None or self.place_after_tick(entity_id) is not None

    def knows(self, entity_id: int) -> bool:
        """Whether an entity is alive, staged to be spawned or reserved."""
        return self.lives(entity_id) or self.place(entity_id) is not None or self.ids.is_reserved(entity_id)

    def busy(self, system: System) -> Mapping[Archetype, tuple[Slot, ...]]:
        """The live archetypes that have processors; cached between ticks, so idle archetypes cost nothing."""
        if self._busy is None or self._busy_for is not system.slots:
            matched = ((archetype, system.matching(archetype)) for archetype in self.live)
            self._busy = {archetype: slots for archetype, slots in matched if slots}
            self._busy_for = system.slots
        return self._busy

    def carried(self, written: frozenset[Archetype]) -> Mapping[str, Snapshot]:
        """The live tables that a tick does not write. Returns the same mapping object while these do not change."""
        if written != self._written:
            idle = {archetype.name: rows for archetype, rows in self.live.items() if archetype not in written}
            self._carried, self._written = MappingProxyType(idle), written
        return self._carried

    def swap(
        self,
        segment: Segment,
        written: Mapping[Archetype, Rows],
        changes: Sequence[Change],
        letters: Snapshot | None,
    ) -> None:
        """Make a committed tick the live state."""
        with self.lock:
            for archetype, rows in written.items():
                if rows.live.num_rows:
                    if archetype not in self.live:
                        self._busy = self.evolved_for = self.warned_for = None
                    self.live[archetype] = rows.live
                elif self.live.pop(archetype, None) is not None:
                    self._busy = None
            for change in changes:
                if change.origin is None and change.target is not None:
                    self.index.enter(change.entity_ids, change.target)
                else:
                    self.index.move(change.entity_ids.to_pylist(), change.target)
            self.committed = None
            self.segment = segment
            self.tick += 1
            self.has_history = True
            self.frozen = self._taken = None
            self.delivered = letters
