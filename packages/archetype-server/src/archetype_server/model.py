"""The bodies of requests. Unknown fields are refused, numbers are int64, and components are named by their type."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from archetype_core.command import (
    AddComponents,
    Custom,
    Despawn,
    EntityCommand,
    EpisodeConfig,
    ForkWorld,
    RemoveComponents,
    RolloutConfig,
    Run,
    RunEpisode,
    RunRollout,
    SearchWorld,
    Send,
    Spawn,
    SpawnMany,
    SpawnTable,
    Step,
    Update,
)
from archetype_core.config import RunConfig
from archetype_core.read import asked
from archetype_core.schema import Component, payload_table, resolve
from archetype_server.problem import Unprocessable

MANY = 16
"""From so many entities on it is worth while to check payloads as columns."""
_MIN, _MAX = -(2**63), 2**63 - 1
Int64 = Annotated[int, Meta(ge=_MIN, le=_MAX)]
EntityId = Annotated[int, Meta(ge=1, le=_MAX)]
Tick = Annotated[int, Meta(ge=0, le=_MAX)]
Count = Annotated[int, Meta(ge=0, le=_MAX)]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Payload = Annotated[
    dict[str, Any],
    Meta(
        description="A component: its class name as `type`, and its fields.",
        extra_json_schema={"required": ["type"], "properties": {"type": {"type": "string"}}},
    ),
]


def components(payloads: list[dict[str, Any]]) -> tuple[Component, ...]:
    """Return the components of payloads; ``PayloadError`` for one that names no known class or does not fit it."""
    return tuple(Component.from_payload(one) for one in payloads)


def kinds(names: list[str]) -> tuple[type[Component], ...]:
    """Return component classes by name; ``UnknownComponent`` for one that this server does not have."""
    return tuple(resolve(name) for name in names)


def check_numbers(value: Any) -> None:
    """Raise ``Unprocessable`` for an integer that is not int64, anywhere in JSON data."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
        elif isinstance(one, int) and not _MIN <= one <= _MAX:
            raise Unprocessable("an integer does not fit 64 bits")


class Body(Struct, forbid_unknown_fields=True, kw_only=True):
    """What all bodies have in common: a field that is not known is refused."""


class CreateBody(Body):
    """A new world."""

    name: Name
    template: Name | None = None
    """Which of the server's templates gives it processors; by default its first one."""
    seed: Annotated[int, Meta(ge=0, le=_MAX)] | None = None
    world_id: Name | None = None
    """With the id of an existing world the answer is that world."""


class KeyBody(Body):
    """A new key for an actor."""

    actor: Name
    roles: Annotated[list[Literal["viewer", "player", "operator", "admin"]], Meta(min_length=1)]
    worlds: list[Name] | None = None
    """The ids or names of the only worlds that there are for it; by default all."""
    expires_at: Annotated[datetime, Meta(tz=True)] | None = None


class ForkBody(Body):
    """A world that continues from another."""

    name: Name | None = None
    at_tick: Tick | None = None
    rng: Literal["same", "fresh"] | Int64 = "same"
    pending: Literal["refuse", "copy"] = "refuse"

    def command(self) -> ForkWorld:
        """Return the command of this body."""
        return ForkWorld(self.name, self.at_tick, rng=self.rng, pending=self.pending)


class SpawnBody(Body):
    """A new entity."""

    components: Annotated[list[Payload], Meta(min_length=1)]

    def command(self) -> Spawn:
        """Return the command of this body."""
        return Spawn(components(self.components))


class SpawnManyBody(Body):
    """New entities, all or none."""

    bundles: list[Annotated[list[Payload], Meta(min_length=1)]]

    def command(self) -> SpawnMany | SpawnTable:
        """Return the command of this body; of many entities of one archetype it is a table."""
        table = payload_table(self.bundles) if len(self.bundles) >= MANY else None
        if table is not None:
            return SpawnTable(*table)
        return SpawnMany(tuple(components(one) for one in self.bundles))


class ComponentsBody(Body):
    """Components of one entity."""

    components: Annotated[list[Payload], Meta(min_length=1)]

    def instances(self) -> tuple[Component, ...]:
        """Return the components."""
        return components(self.components)


class _CommandBody(Body, tag_field="type"):
    """A command that a tick can apply; ``type`` says which."""

    def command(self) -> EntityCommand[Any]:
        """Return the command of this body."""
        raise NotImplementedError  # reason: a msgspec struct cannot be abstract, and each command below has its own


class SpawnCommand(_CommandBody, tag="spawn"):
    """Spawn an entity."""

    components: Annotated[list[Payload], Meta(min_length=1)]

    def command(self) -> Spawn:
        return Spawn(components(self.components))


class DespawnCommand(_CommandBody, tag="despawn"):
    """Despawn an entity."""

    entity_id: EntityId

    def command(self) -> Despawn:
        return Despawn(self.entity_id)


class UpdateCommand(_CommandBody, tag="update"):
    """Change the given fields of an entity."""

    entity_id: EntityId
    components: Annotated[list[Payload], Meta(min_length=1)]

    def command(self) -> Update:
        return Update(self.entity_id, components(self.components))


class AddCommand(_CommandBody, tag="add_component"):
    """Add components to an entity."""

    entity_id: EntityId
    components: Annotated[list[Payload], Meta(min_length=1)]

    def command(self) -> AddComponents:
        return AddComponents(self.entity_id, components(self.components))


class RemoveCommand(_CommandBody, tag="remove_component"):
    """Remove components from an entity."""

    entity_id: EntityId
    components: Annotated[list[Name], Meta(min_length=1)]

    def command(self) -> RemoveComponents:
        return RemoveComponents(self.entity_id, kinds(self.components))


class MessageCommand(_CommandBody, tag="message"):
    """Send a message to an entity."""

    recipient: EntityId
    body: Any
    sender: EntityId | None = None
    kind: str = ""

    def __post_init__(self) -> None:
        check_numbers(self.body)

    def command(self) -> Send:
        return Send(self.recipient, self.body, self.sender, self.kind)


class CustomCommand(_CommandBody, tag="custom"):
    """Call the world's handler of that name."""

    name: Name
    data: Any = None

    def __post_init__(self) -> None:
        check_numbers(self.data)

    def command(self) -> Custom:
        return Custom(self.name, self.data)


AnyCommand = SpawnCommand | DespawnCommand | UpdateCommand | AddCommand | RemoveCommand | MessageCommand | CustomCommand


class SubmitBody(Body):
    """A command for a tick, by default the next."""

    command: AnyCommand
    tick: Tick | None = None
    priority: Int64 = 0


class SubmitManyBody(Body):
    """Commands for a tick, all or none."""

    commands: list[AnyCommand]
    tick: Tick | None = None
    priority: Int64 = 0


class SearchBody(Body):
    """What to look for in a column, at a tick, by default the last."""

    column: Name
    """Such as ``memory__embedding``."""
    query: str | list[float | list[float]]
    """Words for a column of text; a vector, or several, for a column of vectors."""
    k: Annotated[int, Meta(ge=1, le=10_000)] = 10
    at: Tick | None = None
    metric: Literal["cosine", "dot", "l2"] = "cosine"

    def command(self) -> SearchWorld:
        """Return the command of this body."""
        return SearchWorld(self.column, asked(self.query), self.k, self.at, metric=self.metric)


class StepBody(Body):
    """One tick."""

    inputs: dict[str, Any] = msgspec.field(default_factory=dict)
    """What processors that name it get."""
    run_id: Name | None = None

    def __post_init__(self) -> None:
        check_numbers(self.inputs)

    def command(self) -> Step:
        """Return the command of this body."""
        return Step(RunConfig(run_id=self.run_id), self.inputs)


class RunBody(Body):
    """Several ticks."""

    steps: Count
    inputs: dict[str, Any] = msgspec.field(default_factory=dict)
    run_id: Name | None = None

    def __post_init__(self) -> None:
        check_numbers(self.inputs)

    def command(self) -> Run:
        """Return the command of this body."""
        return Run(RunConfig(self.steps, self.run_id), self.inputs)


class EpisodeBody(Body):
    """Ticks until an end: ``max_steps``, or an entity with ``terminal_component``."""

    max_steps: Count = 1000
    terminal_component: Name | None = None
    inputs: dict[str, Any] = msgspec.field(default_factory=dict)
    run_id: Name | None = None

    def __post_init__(self) -> None:
        check_numbers(self.inputs)

    def config(self) -> EpisodeConfig:
        """Return the configuration of this body."""
        terminal = None if self.terminal_component is None else resolve(self.terminal_component)
        return EpisodeConfig(self.max_steps, None, terminal, RunConfig(run_id=self.run_id, inputs=self.inputs))

    def command(self) -> RunEpisode:
        """Return the command of this body."""
        return RunEpisode(self.config())


class RolloutBody(Body):
    """Several episodes, each in a fork."""

    num_episodes: Annotated[int, Meta(ge=1, le=_MAX)] = 1
    max_steps: Count = 1000
    terminal_component: Name | None = None
    inputs: dict[str, Any] = msgspec.field(default_factory=dict)
    parallel: bool | Annotated[int, Meta(ge=1, le=1024)] = False
    name: Name | None = None
    name_prefix: Name = "ep"
    seeds: list[Annotated[int, Meta(ge=0, le=_MAX)]] | None = None
    keep_forks: bool = False

    def __post_init__(self) -> None:
        check_numbers(self.inputs)

    def command(self) -> RunRollout:
        """Return the command of this body."""
        episode = EpisodeBody(
            max_steps=self.max_steps, terminal_component=self.terminal_component, inputs=self.inputs
        ).config()
        return RunRollout(
            RolloutConfig(
                num_episodes=self.num_episodes,
                episode_config=episode,
                parallel=self.parallel,
                name=self.name,
                name_prefix=self.name_prefix,
                seeds=self.seeds,
                destroy_forks_on_complete=not self.keep_forks,
            )
        )


BODIES = (
    CreateBody,
    KeyBody,
    ForkBody,
    SpawnBody,
    SpawnManyBody,
    ComponentsBody,
    SubmitBody,
    SubmitManyBody,
    SearchBody,
    StepBody,
    RunBody,
    EpisodeBody,
    RolloutBody,
)
"""All bodies of requests."""
