"""The port of a store: what the engine asks of any of them, and what one may do beyond that.

Its verbs block and may be called from any thread. The engine calls them from its worker threads, never from an event
loop; `docs/decisions` says why they are not coroutines.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import pyarrow as pa

if TYPE_CHECKING:
    from archetype_core.store.commit import TickCommit
    from archetype_core.store.request import Scan, Search
    from archetype_core.store.timeline import Head, Timeline, WorldRecord


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
