"""The ``Store`` port: what every store does, and the capabilities a store may claim.

All methods block and must be thread-safe. The engine calls them from worker threads, never from an event loop;
``docs/decisions/0002`` says why they are not coroutines.
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
    """What a store may do beyond committing ticks and reading the head; a store declares it, nothing infers it."""

    TIME_TRAVEL = "time_travel"
    """``scan`` reads every committed tick, not only the newest."""
    PERSISTENCE = "persistence"
    """Acknowledged ticks survive closing and reopening; in another process too, if the storage outlives this one."""
    SHARED = "shared"
    """Several open handles of one storage see each other's commits at once, and only one of them wins a tick."""
    FILES = "files"
    """``files(scan)`` returns Parquet files that hold exactly the result, for engines that read them natively."""
    SEARCH = "search"
    """``SearchStore.search`` ranks the rows of a table at any tick by similarity to a query."""


@runtime_checkable
class Store(Protocol):
    """Append-only history of worlds.

    A commit is atomic: after any failure all of its ticks are stored, or none. No committed row ever changes.
    """

    @property
    def capabilities(self) -> frozenset[Capability]:
        """The capabilities this store claims; the contract suite tests exactly these."""
        ...

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        """Store consecutive ticks of one segment, all or none; an empty sequence is a no-op.

        ``TickConflict`` if the first tick does not follow the world's head, or starts a segment that does not begin there; also
        for a tick that is stored already with the same rows or under the same attempt.
        ``CommitError`` if the ticks are not consecutive ticks of one segment, or its parent tick is not in this store. An
        error that may come after the data reached the disk is ``CommitUncertain``, or not one of ours: the writer then reads
        the head, where ``attempt`` tells whether its ticks are stored. After any other error of ours they never are.
        """
        ...

    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        """Stream the requested rows by ascending tick; empty if the table has none. ``TickNotFound`` outside history."""
        ...

    def head(self, world_id: str, *, at: int | None = None) -> Head:
        """Return the newest committed tick of a world, or tick ``at``; raises ``WorldNotFound`` or ``TickNotFound``.

        Every tick has the attempt and the continuation that it was committed with, older ones and those of a batch too. What a
        head shows is as durable as a commit that returned, so a writer may adopt it. A store that cannot tell yet raises.
        """
        ...

    def timeline(self, world_id: str) -> Timeline:
        """Return a world's segments, ancestors included, and all their tables; raises ``WorldNotFound``."""
        ...

    def worlds(self) -> tuple[WorldRecord, ...]:
        """Return every world with at least one committed tick."""
        ...

    def files(self, scan: Scan) -> tuple[str, ...]:
        """Return Parquet files that together hold the result; ``UnsupportedCapability`` unless ``FILES`` is claimed."""
        ...

    def close(self) -> None:
        """Release all resources; idempotent. Any other call afterwards raises ``StoreClosed``."""
        ...


@runtime_checkable
class SearchStore(Store, Protocol):
    """A store that also ranks rows; it claims ``SEARCH``."""

    def search(self, search: Search) -> pa.Table:
        """Return the best-matching entities and their scores, best first, ties by entity id; ``TickNotFound`` as ``scan``.

        With ``search.exact=False`` the store may answer from an index that misses some of the best rows; each row that it
        returns is active at that tick and has its exact score. ``UnsupportedCapability`` unless ``SEARCH`` is claimed.
        """
        ...


@runtime_checkable
class SealingStore(Store, Protocol):
    """A store with a journal in front of another store, which gets its ticks later and many at once."""

    def seal(self) -> int:
        """Hand every waiting tick to the store behind the journal, durably, and return how many there were.

        Worlds that another open handle writes are left to that handle. Raises the failure of the store; the ticks then stay
        in the journal.
        """
        ...


@runtime_checkable
class PlacedStore(Store, Protocol):
    """A store at a place that may be read-only."""

    @property
    def is_read_only(self) -> bool:
        """Whether the place can be read and not written; ``commit`` is then ``StorageReadOnly``."""
        ...


@runtime_checkable
class PublishingStore(Store, Protocol):
    """A store whose files other programs read without this code."""

    def publish(self) -> None:
        """Describe what is committed in the published form; ``CommitError`` if that fails, and then the older one stays."""
        ...
