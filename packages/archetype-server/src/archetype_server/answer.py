"""The bodies of answers."""

from __future__ import annotations

import json
from datetime import date, datetime
from typing import Any, Generic, Literal, TypeVar

from msgspec import Struct

from archetype_core.command import (
    ActorUsage,
    AuditRow,
    EpisodeResult,
    HookInfo,
    ProcessorInfo,
    RolloutResult,
    RunResult,
    StepResult,
    Ticket,
    WorldInfo,
)
from archetype_server.key_store import KeyInfo
from archetype_server.redaction import Redaction

T = TypeVar("T")


class Page(Struct, Generic[T], frozen=True):
    """A part of a list. ``next`` is the cursor of the part after it, ``null`` at the end."""

    items: list[T]
    next: str | None = None


class Problem(Struct, frozen=True):
    """An error, as RFC 9457 has it. More members may state its facts."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    instance: str


class WorldAnswer(Struct, frozen=True):
    """A world. ``tick`` is the next one to run."""

    world_id: str
    name: str
    run_id: str
    tick: int
    entities: int
    archetypes: dict[str, int]
    queued: int
    pending: int
    storage: str
    is_live: bool
    parent: str | None
    template: str | None
    seed: int | None
    stepped_at: datetime | None

    @classmethod
    def of(cls, info: WorldInfo, template: str | None) -> WorldAnswer:
        """Return the answer for a world that was made from a template."""
        return cls(
            world_id=info.world_id,
            name=info.name,
            run_id=info.run_id,
            tick=info.tick,
            entities=info.entities,
            archetypes=dict(info.archetypes or {}),
            queued=info.queued,
            pending=info.pending,
            # Not the address: where a server has its files is no client's business.
            storage="default",
            is_live=info.is_live,
            parent=info.parent,
            template=template,
            seed=info.seed,
            stepped_at=info.stepped_at,
        )


class AggregateRow(Struct, frozen=True):
    """Numbers about one column at one tick. ``count`` is that of the finite values, and all numbers are about these."""

    world_id: str
    tick: int
    archetype: str | None
    column: str
    count: int
    nulls: int
    nans: int
    infinite: int
    mean: float | None
    min: float | None
    max: float | None
    quantiles: list[float]
    histogram: list[int] | None = None
    outside: int | None = None


class AggregateAnswer(Struct, frozen=True):
    """Numbers about columns, by world, tick, column and archetype; ``edges`` are those of the histograms of a column."""

    quantiles: list[float]
    edges: dict[str, list[float]]
    items: list[AggregateRow]
    next: None = None


class Axis(Struct, frozen=True):
    """One side of a density: a column, the least and greatest edge, and how many bins of equal width are between."""

    column: str
    min: float
    max: float
    bins: int


class DensityAnswer(Struct, frozen=True):
    """How many entities are in each bin of two columns.

    ``data`` is base64 of little-endian ``uint32`` numbers, row by row, one row for each bin of ``y``, the least first.
    """

    tick: int
    x: Axis
    y: Axis
    count: int
    outside: int
    missing: int
    data: str


class Destroyed(Struct, frozen=True):
    """Whether there was a world to destroy. ``world`` is its id or its name, as the request had it."""

    world: str
    destroyed: bool


class KeyAnswer(Struct, frozen=True):
    """What is known of a key."""

    key_id: str
    actor: str
    roles: list[str]
    worlds: list[str] | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None

    @classmethod
    def of(cls, info: KeyInfo) -> KeyAnswer:
        """Return the answer for a key."""
        worlds = None if info.worlds is None else list(info.worlds)
        return cls(info.key_id, info.actor, list(info.roles), worlds, info.created_at, info.expires_at, info.revoked_at)


class NewKey(Struct, frozen=True):
    """A new key. It is not shown again."""

    key: str
    info: KeyAnswer


class Revoked(Struct, frozen=True):
    """Whether there was a key that was not revoked before."""

    key_id: str
    revoked: bool


class EntityRef(Struct, frozen=True):
    """The entity that a mutation was about."""

    entity_id: int


class EntityRefs(Struct, frozen=True):
    """The entities that a mutation was about."""

    entity_ids: list[int]


class EntityAnswer(Struct, frozen=True):
    """An entity with all its components at a tick."""

    entity_id: int
    tick: int
    components: list[dict[str, Any]]


class EntityState(Struct, frozen=True):
    """An entity of a state."""

    entity_id: int
    components: list[dict[str, Any]]


class State(Struct, frozen=True):
    """The entities of a world at a tick, by id."""

    world_id: str
    tick: int
    items: list[EntityState]
    next: str | None = None


class TicketAnswer(Struct, frozen=True):
    """A command that waits for its tick, and the ids of the entities that it will spawn."""

    command_id: str
    entity_ids: list[int]

    @classmethod
    def of(cls, ticket: Ticket) -> TicketAnswer:
        """Return the answer for a ticket."""
        return cls(ticket.command_id, list(ticket.entity_ids))


class StepAnswer(Struct, frozen=True):
    """A committed tick."""

    world_id: str
    run_id: str
    tick: int
    applied: int
    duration_s: float

    @classmethod
    def of(cls, result: StepResult) -> StepAnswer:
        """Return the answer for a result."""
        return cls(result.world_id, result.run_id, result.tick, result.applied, result.duration_s)


class RunAnswer(Struct, frozen=True):
    """Committed ticks; none if ``final_tick`` is the lower."""

    world_id: str
    run_id: str
    first_tick: int
    final_tick: int
    steps: int
    applied: int
    duration_s: float

    @classmethod
    def of(cls, result: RunResult) -> RunAnswer:
        """Return the answer for a result."""
        return cls(
            result.world_id,
            result.run_id,
            result.first_tick,
            result.final_tick,
            result.steps,
            result.applied,
            result.duration_s,
        )


class EpisodeAnswer(Struct, frozen=True):
    """The result of an episode."""

    world_id: str
    name: str
    run_id: str
    seed: int
    episode: int
    first_tick: int
    final_tick: int
    steps: int
    reason: Literal["max_steps", "termination", "terminal_component", "failed"]
    duration_s: float
    score: float | None
    error: str | None

    @classmethod
    def of(cls, result: EpisodeResult) -> EpisodeAnswer:
        """Return the answer for a result."""
        return cls(
            world_id=result.world_id,
            name=result.name,
            run_id=result.run_id,
            seed=result.seed,
            episode=result.episode,
            first_tick=result.first_tick,
            final_tick=result.final_tick,
            steps=result.duration_steps,
            reason=result.reason,
            duration_s=result.duration_s,
            score=result.score,
            error=result.error,
        )


class RolloutAnswer(Struct, frozen=True):
    """The results of a rollout's episodes, in order."""

    rollout_id: str
    base_world_id: str
    episodes: list[EpisodeAnswer]
    duration_s: float

    @classmethod
    def of(cls, result: RolloutResult) -> RolloutAnswer:
        """Return the answer for a result."""
        episodes = [EpisodeAnswer.of(one) for one in result.episodes]
        return cls(result.rollout_id, result.base_world_id, episodes, result.duration_s)


class AuditAnswer(Struct, frozen=True):
    """A row of the audit log."""

    seq: int
    command_id: str
    world_id: str
    actor: str
    roles: list[str]
    type: str
    payload: Any
    status: Literal["applied", "queued", "rejected", "failed"]
    reason: str
    tick: int | None
    submitted_at: datetime
    settled_at: datetime | None
    duration_s: float

    @classmethod
    def of(cls, row: AuditRow, redaction: Redaction) -> AuditAnswer:
        """Return the answer for a row, without the server's paths."""
        return cls(
            seq=row.seq,
            command_id=row.command_id,
            world_id=row.world_id,
            actor=row.actor,
            roles=list(row.roles),
            type=row.type,
            payload=redaction.data(json.loads(row.payload)),
            status=row.status,
            reason=redaction.text(row.reason),
            tick=row.tick,
            submitted_at=row.submitted_at,
            settled_at=row.settled_at,
            duration_s=row.duration_s,
        )


class ProcessorAnswer(Struct, frozen=True):
    """A processor of a world."""

    qualname: str
    priority: float
    components: list[str]

    @classmethod
    def of(cls, info: ProcessorInfo) -> ProcessorAnswer:
        """Return the answer for a processor."""
        return cls(info.qualname, info.priority, list(info.components))


class HookAnswer(Struct, frozen=True):
    """A hook of a world."""

    event: str
    handler: str
    mode: str
    fail_fast: bool

    @classmethod
    def of(cls, info: HookInfo) -> HookAnswer:
        """Return the answer for a hook."""
        return cls(info.event_type, info.handler_qualname, info.mode, info.fail_fast)


class ResourceAnswer(Struct, frozen=True):
    """A resource of a world."""

    qualname: str


class MessageAnswer(Struct, frozen=True):
    """A message that was sent in a tick."""

    recipient: int
    sender: int | None
    kind: str
    body: Any
    tick: int


class DigestAnswer(Struct, frozen=True):
    """The digest of a tick: equal for equal contents, in any store."""

    world_id: str
    digest: str


class Branch(Struct, frozen=True):
    """A world in the tree of forks."""

    world_id: str
    name: str
    tick: int
    is_live: bool
    children: list[Branch]


class TemplateAnswer(Struct, frozen=True):
    """A template that worlds can be made from."""

    name: str
    components: list[str]
    processors: list[str]


class Me(Struct, frozen=True):
    """Who the caller is, and what it has used of its quotas."""

    actor: str
    roles: list[str]
    day: date
    credits_used: int
    credits_reserved: int
    credits_limit: int | None
    commands_limit: int | None
    commands: dict[str, int]

    @classmethod
    def of(cls, roles: frozenset[str], usage: ActorUsage) -> Me:
        """Return the answer for an actor's roles and usage."""
        return cls(
            actor=usage.actor,
            roles=sorted(roles),
            day=usage.day,
            credits_used=usage.credits_used,
            credits_reserved=usage.credits_reserved,
            credits_limit=usage.credits_limit,
            commands_limit=usage.commands_limit,
            commands=dict(usage.commands),
        )


class Health(Struct, frozen=True):
    """That the server works."""

    status: Literal["ok"] = "ok"
