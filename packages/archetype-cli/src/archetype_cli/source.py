"""What commands read from: a server or a local store, behind one interface with the same answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from archetype_cli.answer import Answer

BASE_COLUMNS = ("world_id", "run_id", "entity_id", "tick", "is_active")
"""The columns that every row has, whatever its components are."""
HIDDEN_COLUMNS = frozenset({"world_id", "run_id", "is_active"})
"""Those that a table for people leaves out."""
DIFF_COLUMNS = ("op", "entity_id", "column", "before", "after")
WORLD_FACTS = ("name", "world_id", "tick", "entities", "parent", "run_id", "seed", "archetypes")
"""What a history says of a world. Only a server knows more, such as its queue."""

SUMMARY_COLUMNS = (
    "world_id",
    "tick",
    "archetype",
    "column",
    "count",
    "nulls",
    "nans",
    "infinite",
    "mean",
    "min",
    "max",
    "quantiles",
)
HISTOGRAM_COLUMNS = ("edges", "histogram", "outside")
"""Those after them, if a histogram is asked."""
KEY_FACTS = ("key_id", "actor", "roles", "worlds", "created_at", "expires_at", "revoked_at")


@dataclass(frozen=True)
class Selection:
    """Which rows of a world's history: by default all entities and components at the last tick."""

    components: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    ticks: tuple[int | None, int | None] | None = None
    """The first and last tick, both included, ``None`` for an open end; without them the last tick."""
    entity_ids: tuple[int, ...] = ()
    where: str | None = None
    limit: int | None = None
    include_inactive: bool = False
    is_arrow: bool = False
    """Whether the answer will be written as Arrow, so that it need not be read as rows."""


@dataclass(frozen=True)
class Moment:
    """A world at a tick, by default the last."""

    world: str
    tick: int | None = None


@dataclass(frozen=True)
class AuditQuery:
    """Which rows of an audit log, newest first unless ``oldest_first``."""

    world: str | None = None
    actor: str | None = None
    type: str | None = None
    status: Literal["applied", "queued", "rejected", "failed"] | None = None
    since: str | None = None
    until: str | None = None
    limit: int = 100
    oldest_first: bool = False


@dataclass(frozen=True)
class Likeness:
    """What to search for: words in a column of text, or vectors in one of vectors; by default at the last tick."""

    column: str
    query: str | Sequence[Any]
    k: int = 10
    tick: int | None = None
    metric: Literal["cosine", "dot", "l2"] = "cosine"


@dataclass(frozen=True)
class Terms:
    """Under which terms a server does what changes a world."""

    expected_tick: int | None = None
    """What the caller takes for the world's next tick."""
    key: str | None = None
    """A name for the request: sent again, it is not done again. The client chooses one if this is ``None``."""


FREE = Terms()


@dataclass(frozen=True)
class Summary:
    """Which numbers about columns: by default of a world's last tick."""

    columns: tuple[str, ...]
    """Columns, and components for all of theirs."""
    ticks: tuple[int | None, int | None] | None = None
    """As those of a `Selection`."""
    every: int = 1
    others: tuple[str, ...] = ()
    """More worlds, at the same ticks."""
    by_archetype: bool = False
    quantiles: tuple[float, ...] = (0.25, 0.5, 0.75)
    bins: int | tuple[float, ...] | None = None
    """How many bins a histogram has, or their edges."""


@dataclass(frozen=True)
class Plane:
    """Two columns whose plane is divided into bins, by default at the last tick."""

    x: str
    y: str
    tick: int | None = None
    bins: tuple[int, int] = (10, 10)
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None


@dataclass(frozen=True)
class Axis:
    """One side of a plane: a column, the least and greatest edge, and how many bins of equal width are between."""

    column: str
    min: float
    max: float
    bins: int

    def edge(self, number: int) -> float:
        """Return where a bin begins."""
        share = number / self.bins
        return self.min * (1 - share) + self.max * share


@dataclass(frozen=True)
class Grid:
    """How many entities are in each bin of a plane: a list for each bin of ``y``, the least first."""

    tick: int
    x: Axis
    y: Axis
    count: int
    outside: int
    missing: int
    counts: Sequence[Sequence[int]]


class Source(Protocol):
    """What commands read from. A server and a local store give the same columns and the same errors."""

    def worlds(self) -> Sequence[Mapping[str, Any]]:
        """Every world, in the order of creation."""
        ...

    def world(self, name: str) -> Mapping[str, Any]:
        """One world, by name or id."""
        ...

    def entity(self, world: str, entity_id: int, tick: int | None) -> Mapping[str, Any]:
        """The components of one entity at a tick, by default the last."""
        ...

    def rows(self, world: str, selection: Selection) -> Answer:
        """Rows of a world's history by tick and entity."""
        ...

    def diff(self, before: Moment, after: Moment, components: tuple[str, ...], where: str | None) -> Answer:
        """What differs between two moments: a row for each entity and column."""
        ...

    def search(self, world: str, likeness: Likeness) -> Answer:
        """The entities that are most like a query, best first."""
        ...

    def summary(self, world: str, wanted: Summary) -> Answer:
        """Numbers about columns: a row for each world, tick and column."""
        ...

    def grid(self, world: str, plane: Plane) -> Grid:
        """How many entities are where in the plane of two columns."""
        ...

    def branches(self) -> Sequence[Mapping[str, Any]]:
        """Every world with its parent, parents before their forks."""
        ...

    def history(self, query: AuditQuery) -> Iterator[Mapping[str, Any]]:
        """Rows of the audit log."""
        ...

    def new_ticks(self, world: str) -> Iterator[Mapping[str, Any]]:
        """The last committed tick of a world, and then each new one once it is committed; does not end."""
        ...

    def new_commands(self, world: str | None, types: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        """Rows of the audit log that are settled from now on: of these types, or all but reads; does not end."""
        ...

    def close(self) -> None:
        """Release everything; idempotent."""
        ...
