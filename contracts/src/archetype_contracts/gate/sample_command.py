"""A sample command of every class, and a world in which each of them succeeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from archetype_contracts.gate.sample import Coin, Idle, RecordingHandler, Sash
from archetype_contracts.gate.subject import GateSubject
from archetype_core.command import (
    AddComponents,
    AddHandler,
    AddHook,
    AddProcessor,
    AddResource,
    Administer,
    Aggregate,
    CloseWorld,
    Command,
    CreateWorld,
    Custom,
    Density,
    Despawn,
    DestroyWorld,
    Diff,
    Digest,
    EpisodeConfig,
    ForkWorld,
    GetAuditHead,
    GetComponents,
    GetHistory,
    GetUsage,
    GetWorldInfo,
    ListHooks,
    ListProcessors,
    ListResources,
    ListWorlds,
    OpenWorld,
    Query,
    QueryEpisodes,
    QuerySnapshot,
    QueryTables,
    ReadMessages,
    RemoveComponents,
    RemoveHook,
    RemoveProcessor,
    RemoveResource,
    ReplaceParts,
    RolloutConfig,
    Run,
    RunEpisode,
    RunRollout,
    SealStorage,
    Send,
    Spawn,
    SpawnMany,
    SpawnTable,
    Step,
    Update,
)
from archetype_core.config import RunConfig
from archetype_core.engine import Parts, PostTick
from archetype_core.schema import Archetype


class SampleResource:
    """A resource that commands add and remove."""


class SampleWorld:
    """A world after two ticks, with entities, a processor, a hook, a resource and a handler."""

    def __init__(self, subject: GateSubject, name: str = "world") -> None:
        self.subject = subject
        self.world = subject.world(name)
        self.handler = RecordingHandler()
        self._made = 0
        root = subject.as_admin
        self.coin = root(Spawn((Coin(number=1, face="one"),)), self.world)
        self.both = root(Spawn((Coin(number=2, face="two"), Sash(colour="red"))), self.world)
        root(AddProcessor(Idle()), self.world)
        root(AddResource(SampleResource()), self.world)
        root(AddHandler("note", self.handler), self.world)
        self.hook = root(AddHook(PostTick, lambda _event: None), self.world)
        subject.step(self.world, 2)

    def other(self, *, is_live: bool = True) -> str:
        """Fork the world under a new name; return the fork's id."""
        self.settle()
        fork = self.subject.fork(self.world)
        self.subject.step(fork)
        if not is_live:
            self.subject.as_admin(CloseWorld(), fork)
        return fork

    def name(self) -> str:
        """A new world name."""
        self._made += 1
        return f"made {self._made}"

    def settle(self) -> None:
        """Step if mutations are staged, because a fork refuses them."""
        if self.subject.info(self.world).pending:
            self.subject.step(self.world)


Made = tuple[Command[Any], str | None]


@dataclass(frozen=True)
class SampleCommand:
    """Makes a command of one class, with the world that it is for, or None for the gate."""

    of: type[Command[Any]]
    make: Callable[[SampleWorld], Made]

    @property
    def kind(self) -> str:
        """The kind of the command."""
        return self.of.kind


def _to(of: type[Command[Any]], make: Callable[[SampleWorld], Command[Any]]) -> SampleCommand:
    return SampleCommand(of, lambda sample: (make(sample), sample.world))


def _to_gate(of: type[Command[Any]], make: Callable[[SampleWorld], Command[Any]]) -> SampleCommand:
    return SampleCommand(of, lambda sample: (make(sample), None))


def _without_staged(of: type[Command[Any]], make: Callable[[SampleWorld], Command[Any]]) -> SampleCommand:
    def made(sample: SampleWorld) -> Made:
        sample.settle()
        return make(sample), sample.world

    return SampleCommand(of, made)


_COINS = Archetype.of(Coin)
_TABLE = pa.table({"coin__number": pa.array([7, 8], pa.int64()), "coin__face": ["seven", "eight"]})

DEFERRABLE = (
    _to(Spawn, lambda _: Spawn((Coin(number=3),))),
    _to(SpawnMany, lambda _: SpawnMany(((Coin(number=4),), (Coin(number=5),)))),
    _to(SpawnTable, lambda _: SpawnTable(_TABLE, _COINS)),
    _to(Despawn, lambda sample: Despawn((sample.subject.as_admin(Spawn((Coin(),)), sample.world),))),
    _to(Update, lambda sample: Update(sample.coin, (Coin(number=9),))),
    _to(AddComponents, lambda sample: AddComponents(sample.coin, (Sash(colour="blue"),))),
    _to(RemoveComponents, lambda sample: RemoveComponents(sample.both, (Sash,))),
    _to(Send, lambda sample: Send(sample.coin, {"hello": 1}, sender=sample.both)),
    _to(Custom, lambda _: Custom("note", [1, "two"])),
)
"""The commands that may be queued."""

SAMPLE_COMMANDS = (
    *DEFERRABLE,
    _to(Query, lambda _: Query((Coin,))),
    _to(QueryEpisodes, lambda sample: QueryEpisodes((Coin,), world_ids=(sample.world,))),
    _to(QuerySnapshot, lambda _: QuerySnapshot((Coin,))),
    _to(QueryTables, lambda _: QueryTables()),
    _to(Diff, lambda _: Diff(0, 1)),
    _to(Aggregate, lambda _: Aggregate((Coin,), bins=2)),
    _to(Density, lambda _: Density("coin__number", "coin__number", bins=(2, 2))),
    _to(Digest, lambda _: Digest()),
    _to(ReadMessages, lambda _: ReadMessages()),
    _to(GetComponents, lambda sample: GetComponents(sample.coin)),
    _to(GetWorldInfo, lambda _: GetWorldInfo()),
    _to_gate(ListWorlds, lambda _: ListWorlds()),
    _to(ListProcessors, lambda _: ListProcessors()),
    _to(ListHooks, lambda _: ListHooks()),
    _to(ListResources, lambda _: ListResources()),
    _to(GetHistory, lambda _: GetHistory()),
    _to(GetAuditHead, lambda _: GetAuditHead()),
    _to_gate(GetUsage, lambda _: GetUsage()),
    _to(AddProcessor, lambda _: AddProcessor(Idle())),
    _to(RemoveProcessor, lambda _: RemoveProcessor(Idle)),
    _to(AddHook, lambda _: AddHook(PostTick, lambda _event: None)),
    _to(RemoveHook, lambda sample: RemoveHook(sample.hook)),
    _to(AddResource, lambda _: AddResource(SampleResource())),
    _to(RemoveResource, lambda _: RemoveResource(SampleResource)),
    _to(AddHandler, lambda sample: AddHandler("another", sample.handler)),
    _to(ReplaceParts, lambda _: ReplaceParts(Parts(processors=(Idle(),)))),
    _to(Step, lambda _: Step()),
    _to(Run, lambda _: Run(RunConfig(steps=2))),
    _to(RunEpisode, lambda _: RunEpisode(EpisodeConfig(max_steps=2))),
    _without_staged(RunRollout, lambda _: RunRollout(RolloutConfig(1, EpisodeConfig(max_steps=1)))),
    _without_staged(ForkWorld, lambda _: ForkWorld()),
    _to_gate(CreateWorld, lambda sample: CreateWorld(sample.name(), sample.subject.storage)),
    _to_gate(Administer, lambda _: Administer("make a key", {"for": "ada"})),
    _to_gate(SealStorage, lambda sample: SealStorage(sample.subject.storage)),
    SampleCommand(OpenWorld, lambda sample: (OpenWorld(sample.other(is_live=False), sample.subject.storage), None)),
    SampleCommand(CloseWorld, lambda sample: (CloseWorld(), sample.other())),
    SampleCommand(DestroyWorld, lambda sample: (DestroyWorld(), sample.other())),
)
"""A command of every class."""
