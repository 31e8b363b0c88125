"""The seams of the system, as small protocols: no base class to inherit, data crosses as frozen dataclasses or Arrow.

Verbs of ``Store`` and ``Kernel`` block and may be called from any thread. The engine calls them from its worker threads,
never from an event loop; why they are not coroutines is told in ``docs/decisions``.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import pyarrow as pa

if TYPE_CHECKING:
    from archetype_core.archetype import Archetype
    from archetype_core.commit import Head, Rows, Scan, TickCommit, Timeline, WorldRecord
    from archetype_core.context import TickContext
    from archetype_core.kernel import Staged
    from archetype_core.processor import Slot
    from archetype_core.search import Search
    from archetype_core.snapshot import Snapshot


class Capability(enum.StrEnum):
    """Something a store may do beyond committing ticks and reading its head; declared, never inferred."""

    TIME_TRAVEL = "time_travel"
    """Any tick ever committed can be scanned, not only the newest."""
    PERSISTENCE = "persistence"
    """What was acknowledged is there when the place is opened again: in another process, if the place outlives this one."""
    SHARED = "shared"
    """Several open handles of one place see each other's commits at once, and only one of them wins a tick."""
    FILES = "files"
    """``files(scan)`` names Parquet files that hold exactly the answer, for engines that read them natively."""
    SEARCH = "search"
    """``search(search)`` of ``SearchStore`` ranks the rows of a table at any tick by how like a query they are."""


@runtime_checkable
class Store(Protocol):
    """Durable, append-only history of worlds.

    A commit is atomic: after any failure either all its ticks are there or none. Nothing is ever rewritten.
    """

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What this store claims; the contract suite holds it to exactly that."""
        ...

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        """Store consecutive ticks of one segment, all or nothing; an empty sequence is a no-op.

        ``TickConflict`` if the first is not the successor of the world's head, or opens a segment elsewhere than at it;
        ``CommitError`` if the ticks do not form one run of one segment, or grow from a tick that is not there.
        """
        ...

    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        """Stream the rows asked for, ticks ascending; empty where the table has none. ``TickNotFound`` outside history."""
        ...

    def head(self, world_id: str, *, at: int | None = None) -> Head:
        """The newest committed tick of a world's history, or the one at ``at``; ``WorldNotFound``, ``TickNotFound``."""
        ...

    def timeline(self, world_id: str) -> Timeline:
        """A world's segments back through its ancestors and all their tables; ``WorldNotFound``."""
        ...

    def worlds(self) -> tuple[WorldRecord, ...]:
        """Every world with at least one committed tick."""
        ...

    def files(self, scan: Scan) -> tuple[str, ...]:
        """Paths of Parquet files that together hold the answer; ``UnsupportedCapability`` unless ``FILES`` is claimed."""
        ...

    def close(self) -> None:
        """Release everything; idempotent. Any other verb afterwards raises ``StoreClosed``."""
        ...


@runtime_checkable
class SearchStore(Store, Protocol):
    """A store that claims ``SEARCH``."""

    def search(self, search: Search) -> pa.Table:
        """The entities most like the query and their scores, best first, equals by entity; ``TickNotFound`` as for ``scan``.

        Where ``search.exact`` is false the store may answer from an index that misses some of the best; whatever it gives is
        active at that tick and has its exact score. ``UnsupportedCapability`` from a store that has the verb and does not
        claim it.
        """
        ...


@runtime_checkable
class Kernel(Protocol):
    """Folds the mutations of a tick into the rows that processors produced."""

    def materialize(self, prior: Snapshot, processed: Snapshot, staged: Staged) -> Rows:
        """The rows that a tick writes to one table.

        ``prior`` are the live rows of the tick before, ``processed`` the same entities in the same order after the
        processors. Rows named by ``staged`` come out as written, over ``prior``, untouched by processors (T2).
        """
        ...


@runtime_checkable
class Executor(Protocol):
    """Runs the processors of a tick; where the frames live meanwhile is its own affair."""

    def run(
        self, live: Mapping[Archetype, Snapshot], work: Mapping[Archetype, tuple[Slot, ...]], context: TickContext
    ) -> Mapping[Archetype, Snapshot]:
        """The frames after the processors, of every archetype in ``work``; a failure of any is raised, typed."""
        ...

    def close(self) -> None:
        """Let go of threads and the like; idempotent."""
        ...


class Clock(Protocol):
    """Where the engine takes the time from."""

    def now(self) -> datetime:
        """The current time, aware, in UTC."""
        ...


class IdSource(Protocol):
    """Where the engine takes new identifiers from."""

    def new(self) -> str:
        """A new UUIDv7 as text; later ones sort after earlier ones."""
        ...
