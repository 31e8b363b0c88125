"""The messages that a tick delivers, sorted by the tables of their recipients (G7)."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from archetype_core.schema import message
from archetype_core.schema.archetype import Archetype
from archetype_core.schema.snapshot import Snapshot

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from archetype_core.engine.state import WorldState


class Post:
    """The messages of one tick. They are sorted when the first processor asks, all at once. Thread-safe."""

    def __init__(self, state: WorldState) -> None:
        self._state = state
        self._tick = state.tick - 1
        self._positions: Mapping[Archetype, np.ndarray[Any, Any]] | None = None
        self._table: pa.Table | None = None
        self._lock = threading.Lock()

    def to(self, members: tuple[Archetype, ...]) -> pa.Table:
        """The messages to the live entities of some tables, in the order of sending."""
        import numpy as np

        with self._lock:
            if self._table is None or self._positions is None:
                sent = self._state.delivered or Snapshot.empty(Archetype.of(message.Message))
                self._table = message.delivery(sent, self._tick)
                # Not when the tick begins: rows that evolve have other archetypes by now.
                places = self._state.index.places(sent.entity_ids.to_numpy(zero_copy_only=False))
                self._positions = dict(places.groups())
        found = [self._positions[one] for one in members if one in self._positions]
        if not found:
            return self._table.slice(0, 0)
        return self._table.take(found[0] if len(found) == 1 else np.sort(np.concatenate(found)))
