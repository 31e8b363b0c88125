"""The ports of a tick: ``Executor`` runs its processors, ``Kernel`` folds its mutations into their rows. Their verbs block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from archetype_core.engine.context import TickContext
    from archetype_core.engine.materialize import Staged
    from archetype_core.engine.processor import Slot
    from archetype_core.schema.archetype import Archetype
    from archetype_core.schema.snapshot import Snapshot
    from archetype_core.store.commit import Rows


@runtime_checkable
class Kernel(Protocol):
    """Lays the mutations of a tick over the rows that processors made."""

    def materialize(
        self,
        prior: Mapping[Archetype, Snapshot],
        processed: Mapping[Archetype, Snapshot],
        staged: Mapping[Archetype, Staged],
    ) -> Mapping[Archetype, Rows]:
        """The rows that a tick writes: one entry for each table in ``processed`` or ``staged``.

        ``prior`` are the live tables of the tick before. ``processed`` are those that processors changed: the same entities in
        the same order. Mutations land after the processors, field by field; tombstones have the ``prior`` values (T2, T3).
        """
        ...


@runtime_checkable
class Executor(Protocol):
    """Runs the processors of a tick. Where the frames are held in between is up to the executor."""

    def run(
        self, live: Mapping[Archetype, Snapshot], work: Mapping[Archetype, tuple[Slot, ...]], context: TickContext
    ) -> Mapping[Archetype, Snapshot]:
        """The frames after the processors of every archetype in ``work``. A failure is raised as a ``ProcessorError``."""
        ...

    def close(self) -> None:
        """Release threads and other resources; idempotent."""
        ...
