"""``commands``: how a processor stages mutations for the next tick (T9)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from archetype_core.engine.spawn_bundle import Bundle, SpawnRun, stage_runs
from archetype_core.engine.spawn_table import spawned_columns
from archetype_core.engine.staging import Staging
from archetype_core.schema import message

if TYPE_CHECKING:
    import numpy as np
    from daft.expressions import Expression

    from archetype_core.engine.attempt import Attempt, Draft
    from archetype_core.engine.selection import Entities
    from archetype_core.engine.state import WorldState
    from archetype_core.schema.component import Component, ComponentType


class Commands:
    """What a processor asks of the next tick. It is dropped if this tick fails.

    The commands of tables that ran side by side apply by table, then processor priority, then call. Entity ids depend
    on the table alone, not on threads. A message that is sent here belongs to this tick and is delivered in the next one.
    """

    def __init__(self, state: WorldState, attempt: Attempt, table: str) -> None:
        self._staging = _TableStaging(state, attempt, table)

    def spawn(self, *components: Component) -> int:
        """Stage an entity and return its id."""
        return int(self._staging.spawn_bundles([components])[0])

    def spawn_many(self, bundles: Iterable[Bundle]) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Stage one entity per bundle of components, all or none, and return their ids in order."""
        return self._staging.spawn_bundles(bundles)

    def spawn_table(
        self, data: Any, *components: type[Component] | ComponentType
    ) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Stage one entity per row of a table, DataFrame or mapping of columns, and return their ids in order."""
        return self._staging.spawn_rows(data, *components)

    def despawn(self, entities: Entities = (), *more: int) -> None:
        """Stage the end of one entity or many; one that is not alive is logged and skipped."""
        self._staging.despawn(entities, *more)

    def update(self, entities: Entities, *components: Component) -> None:
        """Stage new values for one entity or many: the fields that were passed or assigned."""
        self._staging.update(entities, *components)

    def update_table(self, data: Any, *, entities: Entities | None = None) -> None:
        """Stage new values for many entities: columns with a value for each of them, or one for all."""
        self._staging.update_table(data, entities=entities)

    def update_where(self, where: Expression, values: Mapping[Any, Any]) -> int:
        """Stage new values for all entities that met a condition in the last tick; returns how many they are."""
        return self._staging.update_where(where, values)

    def add_components(self, entities: Entities, *components: Component) -> None:
        """Stage new components for one entity or many; those that they have already stay unchanged."""
        self._staging.add_components(entities, *components)

    def remove_components(self, entities: Entities, *components: type[Component]) -> None:
        """Stage the removal of components from one entity or many."""
        self._staging.remove_components(entities, *components)

    def send(self, recipient: int, body: Any, *, sender: int | None = None, kind: str = "") -> None:
        """Send a message; it is delivered in the next tick."""
        self._staging.send(recipient, body, sender=sender, kind=kind)


class _TableStaging(Staging):
    """Stages for one table of an attempt, in whatever thread it is called."""

    def __init__(self, state: WorldState, attempt: Attempt, table: str) -> None:
        super().__init__(state)
        self._attempt = attempt
        self._table = table

    def _draft(self) -> Draft:
        return self._attempt.draft(self._state, self._table)

    def send(self, recipient: int, body: Any, *, sender: int | None = None, kind: str = "") -> None:
        """Send a message as part of this tick."""
        self._attempt.send(self._table, message.encode(recipient, body, sender, kind))

    def spawn_bundles(self, bundles: Iterable[Bundle]) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Stage one entity per bundle of components; the ids need not be consecutive."""
        return self._stage(self._bundles.runs(bundles))

    def spawn_rows(
        self, data: Any, *components: type[Component] | ComponentType
    ) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Stage one entity per row of a table; the ids need not be consecutive."""
        archetype, columns, count = spawned_columns(data, components, copy=True)
        return self._stage([SpawnRun(archetype, count, columns=columns)])

    def _stage(self, runs: Sequence[SpawnRun]) -> np.ndarray[Any, np.dtype[np.int64]]:
        count = sum(run.count for run in runs)
        with self._state.lock:
            draft, pieces = self._draft(), self._attempt.take_ids(self._table, count)
            stage_runs(draft.log, runs, pieces)
        return _array(pieces)


def _array(pieces: list[range]) -> np.ndarray[Any, np.dtype[np.int64]]:
    import numpy as np

    return np.concatenate([np.arange(ids.start, ids.stop) for ids in pieces]) if pieces else np.empty(0, np.int64)
