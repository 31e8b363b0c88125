"""One command of every class, each with what it needs to succeed, in a world that has a little of everything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from archetype_contracts.gate.sample import Coin, Notebook, Resting, Sash
from archetype_contracts.gate.subject import GateSubject
from archetype_core.command import (
    AddComponents,
    AddHandler,
    AddHook,
    AddProcessor,
    AddResource,
    CloseWorld,
    Command,
    CreateWorld,
    Custom,
    Despawn,
    DestroyWorld,
    Diff,
    Digest,
    EpisodeConfig,
    ForkWorld,
    GetComponents,
    GetHistory,
    GetWorldInfo,
    ListHooks,
    ListProcessors,
    ListResources,
    ListWorlds,
    OpenWorld,
    Query,
    QueryEpisodes,
    QuerySnapshot,
    RemoveComponents,
    RemoveHook,
    RemoveProcessor,
    RemoveResource,
    RolloutConfig,
    Run,
    RunEpisode,
    RunRollout,
    Send,
    Spawn,
    SpawnMany,
    SpawnTable,
    Step,
    Update,
)
from archetype_core.config import RunConfig
from archetype_core.engine import PostTick
from archetype_core.schema import Archetype


class Luggage:
    """A resource."""


class Scene:
    """A world with entities, a processor, a hook, a resource and a handler, two ticks old."""

    def __init__(self, subject: GateSubject, name: str = "world") -> None:
        self.subject = subject
        self.world = subject.world(name)
        self.notebook = Notebook()
        self._made = 0
        root = subject.root
        self.coin = root(Spawn((Coin(number=1, face="one"),)), self.world)
        self.both = root(Spawn((Coin(number=2, face="two"), Sash(colour="red"))), self.world)
        root(AddProcessor(Resting()), self.world)
        root(AddResource(Luggage()), self.world)
        root(AddHandler("note", self.notebook), self.world)
        self.hook = root(AddHook(PostTick, lambda _event: None), self.world)
        subject.step(self.world, 2)

    def other(self, *, is_live: bool = True) -> str:
        """A fork of the world with a name of its own."""
        self.settle()
        fork = self.subject.fork(self.world)
        self.subject.step(fork)
        if not is_live:
            self.subject.root(CloseWorld(), fork)
        return fork

    def name(self) -> str:
        """A name that no world has."""
        self._made += 1
        return f"made {self._made}"

    def settle(self) -> None:
        """Step until nothing is staged, which a fork asks for."""
        if self.subject.info(self.world).pending:
            self.subject.step(self.world)


Made = tuple[Command[Any], str | None]


@dataclass(frozen=True)
class Specimen:
    """A way to make a command of one class, and the world, if any, that it is for."""

    of: type[Command[Any]]
    make: Callable[[Scene], Made]

    @property
    def kind(self) -> str:
        return self.of.kind


def _to(of: type[Command[Any]], make: Callable[[Scene], Command[Any]]) -> Specimen:
    return Specimen(of, lambda scene: (make(scene), scene.world))


def _to_gate(of: type[Command[Any]], make: Callable[[Scene], Command[Any]]) -> Specimen:
    return Specimen(of, lambda scene: (make(scene), None))


def _clean(of: type[Command[Any]], make: Callable[[Scene], Command[Any]]) -> Specimen:
    def made(scene: Scene) -> Made:
        scene.settle()
        return make(scene), scene.world

    return Specimen(of, made)


_COINS = Archetype.of(Coin)
_TABLE = pa.table({"coin__number": pa.array([7, 8], pa.int64()), "coin__face": ["seven", "eight"]})

DEFERRABLE = (
    _to(Spawn, lambda _: Spawn((Coin(number=3),))),
    _to(SpawnMany, lambda _: SpawnMany(((Coin(number=4),), (Coin(number=5),)))),
    _to(SpawnTable, lambda _: SpawnTable(_TABLE, _COINS)),
    _to(Despawn, lambda scene: Despawn((scene.subject.root(Spawn((Coin(),)), scene.world),))),
    _to(Update, lambda scene: Update(scene.coin, (Coin(number=9),))),
    _to(AddComponents, lambda scene: AddComponents(scene.coin, (Sash(colour="blue"),))),
    _to(RemoveComponents, lambda scene: RemoveComponents(scene.both, (Sash,))),
    _to(Send, lambda scene: Send(scene.coin, {"hello": 1}, sender=scene.both)),
    _to(Custom, lambda _: Custom("note", [1, "two"])),
)
"""The commands that may wait in a queue."""

SPECIMENS = (
    *DEFERRABLE,
    _to(Query, lambda _: Query((Coin,))),
    _to(QueryEpisodes, lambda scene: QueryEpisodes((Coin,), world_ids=(scene.world,))),
    _to(QuerySnapshot, lambda _: QuerySnapshot((Coin,))),
    _to(Diff, lambda _: Diff(0, 1)),
    _to(Digest, lambda _: Digest()),
    _to(GetComponents, lambda scene: GetComponents(scene.coin)),
    _to(GetWorldInfo, lambda _: GetWorldInfo()),
    _to_gate(ListWorlds, lambda _: ListWorlds()),
    _to(ListProcessors, lambda _: ListProcessors()),
    _to(ListHooks, lambda _: ListHooks()),
    _to(ListResources, lambda _: ListResources()),
    _to(GetHistory, lambda _: GetHistory()),
    _to(AddProcessor, lambda _: AddProcessor(Resting())),
    _to(RemoveProcessor, lambda _: RemoveProcessor(Resting)),
    _to(AddHook, lambda _: AddHook(PostTick, lambda _event: None)),
    _to(RemoveHook, lambda scene: RemoveHook(scene.hook)),
    _to(AddResource, lambda _: AddResource(Luggage())),
    _to(RemoveResource, lambda _: RemoveResource(Luggage)),
    _to(AddHandler, lambda scene: AddHandler("another", scene.notebook)),
    _to(Step, lambda _: Step()),
    _to(Run, lambda _: Run(RunConfig(steps=2))),
    _to(RunEpisode, lambda _: RunEpisode(EpisodeConfig(max_steps=2))),
    _clean(RunRollout, lambda _: RunRollout(RolloutConfig(1, EpisodeConfig(max_steps=1)))),
    _clean(ForkWorld, lambda _: ForkWorld()),
    _to_gate(CreateWorld, lambda scene: CreateWorld(scene.name(), scene.subject.storage)),
    Specimen(OpenWorld, lambda scene: (OpenWorld(scene.other(is_live=False), scene.subject.storage), None)),
    Specimen(CloseWorld, lambda scene: (CloseWorld(), scene.other())),
    Specimen(DestroyWorld, lambda scene: (DestroyWorld(), scene.other())),
)
"""Every command there is."""
