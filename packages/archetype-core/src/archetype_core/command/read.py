"""Commands that read. They change nothing, and pass the gate like any other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from archetype_core.command.audit import AuditFilter, AuditHead, AuditRow
from archetype_core.command.command import Command, names
from archetype_core.command.info import HookInfo, ProcessorInfo, ResourceInfo, WorldInfo
from archetype_core.command.meter import ActorUsage
from archetype_core.config import StorageConfig
from archetype_core.read.aggregate import DensityGrid
from archetype_core.read.label import Labels
from archetype_core.read.request import AggregateQuery, DensityQuery, HistoryQuery, MessageQuery, SearchQuery
from archetype_core.schema.archetype import Archetype
from archetype_core.schema.component import Component
from archetype_core.schema.message import Letters
from archetype_core.schema.snapshot import Snapshot
from archetype_core.schema.version import Missing

if TYPE_CHECKING:
    from daft import DataFrame
    from daft.expressions import Expression

    FrameCommand = Command[DataFrame]
else:
    FrameCommand = Command  # importing Daft takes as long as all other imports together


def _column(column: Any) -> str:
    """The name of a column or component; of anything else its text, for the audit of a refused command."""
    if isinstance(column, str):
        return column
    if isinstance(column, type):
        return column.__name__
    name = getattr(column, "name", None)
    return str(name()) if callable(name) else repr(column)


@dataclass(frozen=True, slots=True)
class Query(HistoryQuery, FrameCommand):
    """Tick history as a lazy frame."""

    kind: ClassVar[str] = "query_world"

    def describe(self) -> Mapping[str, Any]:
        return {"components": names(self.components), "lineage": self.lineage}


@dataclass(frozen=True, slots=True)
class QueryEpisodes(HistoryQuery, FrameCommand):
    """The histories of a rollout's episodes as one lazy frame, with ``branch``, ``seed``, ``episode`` and label columns."""

    kind: ClassVar[str] = "query_world"
    lineage: bool = False
    world_ids: tuple[str, ...] = field(kw_only=True)
    """The episodes' worlds, in order; they may have been destroyed since."""
    labels: tuple[Labels, ...] = field(kw_only=True, default=())
    """More columns for each episode: for all or none of ``world_ids``."""

    def __post_init__(self) -> None:
        if self.labels and len(self.labels) != len(self.world_ids):
            raise ValueError(f"{len(self.labels)} labels for {len(self.world_ids)} episodes: give one mapping for each")

    def describe(self) -> Mapping[str, Any]:
        return {"components": names(self.components), "worlds": len(self.world_ids)}


@dataclass(frozen=True, slots=True)
class QuerySnapshot(FrameCommand):
    """One tick as a frame; by default the last completed one, from memory."""

    kind: ClassVar[str] = "query_world"
    components: tuple[type[Component], ...] = ()
    at: int | None = None
    where: Expression | None = None
    missing: Missing = "null"

    def describe(self) -> Mapping[str, Any]:
        return {"components": names(self.components), "at": self.at}


@dataclass(frozen=True, slots=True)
class TickTables:
    """The live rows of one tick, table by table."""

    tick: int
    """One below the first tick for a world that has none yet."""
    tables: Mapping[Archetype, Snapshot]


@dataclass(frozen=True, slots=True)
class QueryTables(Command[TickTables]):
    """All live entities with all their components at one tick; by default the last completed one, from memory."""

    kind: ClassVar[str] = "query_world"
    at: int | None = None

    def describe(self) -> Mapping[str, Any]:
        return {"at": self.at}


@dataclass(frozen=True, slots=True)
class Diff(FrameCommand):
    """The difference of two moments, each a tick of this world or ``(world_id, tick)``; tick ``None`` is the last.

    ``columns`` are columns and component classes to compare, by default the whole world.
    """

    kind: ClassVar[str] = "query_world"
    before: int | tuple[str, int | None]
    after: int | tuple[str, int | None]
    columns: tuple[Any, ...] = ()
    where: Expression | None = None

    def describe(self) -> Mapping[str, Any]:
        more = {"columns": [_column(one) for one in self.columns]} if self.columns else {}
        return {"before": self.before, "after": self.after, **more}


@dataclass(frozen=True, slots=True)
class Digest(Command[str]):
    """The canonical digest of a committed tick, by default the last."""

    kind: ClassVar[str] = "query_world"
    at: int | None = None

    def describe(self) -> Mapping[str, Any]:
        return {"at": self.at}


@dataclass(frozen=True, slots=True)
class ReadMessages(MessageQuery, Command[Letters]):
    """The messages that were sent, in the order of sending."""

    kind: ClassVar[str] = "query_world"

    def describe(self) -> Mapping[str, Any]:
        return {"recipient": self.recipient, "sender": self.sender, "kind": self.message_kind}


@dataclass(frozen=True, slots=True)
class SearchWorld(SearchQuery, FrameCommand):
    """The entities whose vector or text is most like a query at a tick, best first."""

    kind: ClassVar[str] = "query_world"

    def describe(self) -> Mapping[str, Any]:
        asked = self.query if isinstance(self.query, str) else f"a vector of {len(self.query)}"
        if isinstance(self.query, tuple) and self.query and isinstance(self.query[0], tuple):
            asked = f"{len(self.query)} vectors of {len(self.query[0])}"
        more = {} if self.exact else {"exact": False}
        return {
            "column": _column(self.column),
            "query": asked,
            "k": self.k,
            "at": self.at,
            "metric": self.metric,
            **more,
        }


@dataclass(frozen=True, slots=True)
class Aggregate(AggregateQuery, FrameCommand):
    """Numbers about columns at a tick or a range of ticks, also of other worlds at the same ticks."""

    kind: ClassVar[str] = "query_world"
    others: tuple[str, ...] = ()
    """The ids of other live worlds."""

    def describe(self) -> Mapping[str, Any]:
        at = {"first": self.at.start, "end": self.at.stop} if isinstance(self.at, range) else self.at
        more = {"others": list(self.others)} if self.others else {}
        return {"columns": [_column(one) for one in self.columns], "at": at, **more}


@dataclass(frozen=True, slots=True)
class Density(DensityQuery, Command[DensityGrid]):
    """How many entities are where in the plane of two columns, at one tick."""

    kind: ClassVar[str] = "query_world"

    def describe(self) -> Mapping[str, Any]:
        return {"columns": [_column(self.x), _column(self.y)], "at": self.at, "bins": list(self.bins)}


@dataclass(frozen=True, slots=True)
class GetComponents(Command[tuple[Component, ...]]):
    """A live entity's components as of the last completed tick: those asked for, or all."""

    kind: ClassVar[str] = "query_world"
    entity_id: int
    components: tuple[type[Component], ...] = ()

    def describe(self) -> Mapping[str, Any]:
        return {"entity_id": self.entity_id, "components": names(self.components)}


@dataclass(frozen=True, slots=True)
class GetWorldInfo(Command[WorldInfo]):
    """The current state of a world."""

    kind: ClassVar[str] = "get_world_info"


@dataclass(frozen=True, slots=True)
class ListWorlds(Command[tuple[WorldInfo, ...]]):
    """All worlds of a storage; without a storage, the live ones."""

    kind: ClassVar[str] = "list_worlds"
    storage: StorageConfig | None = None

    def describe(self) -> Mapping[str, Any]:
        return {"storage": None if self.storage is None else self.storage.uri}


@dataclass(frozen=True, slots=True)
class ListProcessors(Command[tuple[ProcessorInfo, ...]]):
    """A world's processors in the order they run."""

    kind: ClassVar[str] = "list_processors"


@dataclass(frozen=True, slots=True)
class ListHooks(Command[tuple[HookInfo, ...]]):
    """A world's hooks, in call order."""

    kind: ClassVar[str] = "list_hooks"


@dataclass(frozen=True, slots=True)
class ListResources(Command[tuple[ResourceInfo, ...]]):
    """A world's resources."""

    kind: ClassVar[str] = "list_resources"


@dataclass(frozen=True, slots=True)
class GetHistory(Command[tuple[AuditRow, ...]]):
    """Audit rows of a world; sent to the gate itself, of the whole ledger."""

    kind: ClassVar[str] = "get_audit_history"
    filter: AuditFilter = field(default_factory=AuditFilter)

    def describe(self) -> Mapping[str, Any]:
        one = self.filter
        return {"actor": one.actor, "type": one.type, "status": one.status, "after": one.after, "limit": one.limit}


@dataclass(frozen=True, slots=True)
class GetAuditHead(Command[AuditHead]):
    """The end of a world's audit log, to be kept elsewhere; sent to the gate itself, that of the first ledger."""

    kind: ClassVar[str] = "get_audit_head"


@dataclass(frozen=True, slots=True)
class GetUsage(Command[ActorUsage]):
    """What an actor has used of its quotas, by default the one that asks; of another only for admins. Sent to the gate itself."""

    kind: ClassVar[str] = "get_usage"
    actor: str | None = None

    def describe(self) -> Mapping[str, Any]:
        return {"actor": self.actor}
