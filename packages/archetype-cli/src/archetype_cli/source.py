"""What commands read from: a server or a local store, behind one interface with the same answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from archetype_cli.answer import Answer


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

    def branches(self) -> Sequence[Mapping[str, Any]]:
        """Every world with its parent, parents before their forks."""
        ...

    def history(self, query: AuditQuery) -> Iterator[Mapping[str, Any]]:
        """Rows of the audit log."""
        ...

    def new_ticks(self, world: str) -> Iterator[Mapping[str, Any]]:
        """The last committed tick of a world, and then each new one once it is committed; does not end."""
        ...

    def close(self) -> None:
        """Release everything; idempotent."""
        ...
