"""The code of a process that is killed: it uses a gate with several worlds and reports every answer at once.

Every command carries a unique label, so that its effects can be counted afterwards.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archetype_contracts.gate.limits import GateLimits
from archetype_contracts.gate.sample import Coin, SampleError
from archetype_contracts.gate.subject import GateHooks
from archetype_core.clock import SystemClock
from archetype_core.command import (
    ADMIN,
    PLAYER,
    VIEWER,
    ActorCtx,
    AddProcessor,
    Command,
    CommandGate,
    CreateWorld,
    Custom,
    Despawn,
    EntityCommand,
    ForkWorld,
    OpenWorld,
    QuerySnapshot,
    Run,
    Send,
    Spawn,
    SpawnMany,
    Step,
    UpdateTable,
    UpdateWhere,
)
from archetype_core.config import RunConfig
from archetype_core.engine import Arrays, Processor
from archetype_core.errors import PendingMutations, PermissionDenied, ProcessorError
from archetype_core.schema import Mailbox

WORLDS = ("alpha", "beta")
AHEAD = 3
"""The maximum number of ticks ahead for which a command is queued."""
ADMIN_ACTOR, PLAYER_ACTOR = ActorCtx("root", (ADMIN,)), ActorCtx("player", (PLAYER,))

Report = Callable[..., None]


@dataclass(slots=True)
class Plan:
    """What a processor does in one tick."""

    marker: str
    """A message that is part of the tick's own commit."""
    act: Callable[[], Awaitable[None]]
    fails: bool


class Sender(Processor):
    """Carries a plan out, once; it runs only in worlds with a coin."""

    components = (Coin,)

    def __init__(self) -> None:
        self.plan: Plan | None = None
        self.recipient: int | None = None
        """An entity that lives, once a tick had one."""

    async def process(self, arrays: Arrays, messages: Mailbox) -> None:
        """Send the marker and act; the rows stay as they are."""
        self.recipient = int(arrays.entity_id[0])
        plan, self.plan = self.plan, None
        if plan is not None:
            messages.send(self.recipient, plan.marker)
            await plan.act()
            if plan.fails:
                raise SampleError("this tick is planned to fail")


class GateSession:
    """The commands of one process; it runs until it is killed or has done a number of operations."""

    def __init__(self, hooks: GateHooks, place: Path, seed: int, number: int, report: Report) -> None:
        self.hooks, self.place, self.number, self.report = hooks, place, number, report
        self.chance = random.Random(f"{seed} {number}")  # noqa: S311  # reason: repeatable by its seed
        self._labels = 0
        self._ids: dict[str, str] = {}
        self._senders: dict[str, Sender] = {}
        self._spawned: dict[str, set[int]] = {name: set() for name in WORLDS}
        """Coins that this process spawned many at once, and did not change yet."""
        self._changes: dict[str, list[int]] = {name: [] for name in WORLDS}
        """The numbers of its changes whose coins it did not despawn yet."""
        self.gate: CommandGate

    async def run(self, operations: int) -> None:
        """Open the gate and its worlds, and run random operations."""
        self.place.mkdir(parents=True, exist_ok=True)
        async with self.hooks.open_gate(self.place, limits=GateLimits(), clock=SystemClock()) as self.gate:
            for name in WORLDS:
                await self._enter(name)
            verbs = (self._submit, self._submit, self._spawn, self._batch, self._execute, self._step, self._step)
            every: tuple[Callable[[str], Awaitable[None]], ...] = (
                *verbs,
                self._send_inside,
                self._send_inside,
                self._run_ticks,
                self._fork,
                self._refused,
                *(self._spawn_many, self._change_many, self._change_many, self._despawn_many, self._despawn_many),
            )
            for _ in range(operations):
                await self.chance.choice(every)(self.chance.choice(WORLDS))
        self.report(end=True)

    async def _enter(self, name: str) -> None:
        storage = self.hooks.storage(self.place)
        info = await self.gate.execute(ADMIN_ACTOR, OpenWorld(name, storage, missing_ok=True))
        if info is None:
            info = await self.gate.execute(ADMIN_ACTOR, CreateWorld(name, storage, seed=1))
        self._ids[name] = info.world_id
        self._senders[name] = Sender()
        await self.gate.execute(ADMIN_ACTOR, AddProcessor(self._senders[name]), info.world_id)
        self.report(ack=["world", info.world_id, name])

    def _label(self) -> str:
        self._labels += 1
        return f"{self.number}/{self._labels}"

    def _command(self, name: str) -> tuple[str, EntityCommand[Any]]:
        label, to = self._label(), self._senders[name].recipient
        is_spawn = self.chance.random() < 0.6
        return label, Spawn((Coin(face=label),)) if is_spawn or to is None else Send(to, label)

    def _when(self, name: str) -> dict[str, Any]:
        info = self.gate.peek(ADMIN_ACTOR, self._ids[name])
        assert info is not None
        later = self.chance.choice((0, 0, 0, 1, AHEAD))
        return {"tick": info.tick + later, "priority": self.chance.randint(-1, 1)}

    async def _submit(self, name: str) -> None:
        label, command = self._command(name)
        self.report(tried=[self._ids[name], label])
        ticket = await self.gate.submit(PLAYER_ACTOR, command, self._ids[name], **self._when(name))
        self.report(ack=["queued", self._ids[name], label, ticket.command_id, [*ticket.entity_ids]])

    async def _spawn(self, name: str) -> None:
        label = self._label()
        self.report(tried=[self._ids[name], label])
        entity = await self.gate.submit_spawn(PLAYER_ACTOR, self._ids[name], Coin(face=label), **self._when(name))
        self.report(ack=["queued", self._ids[name], label, "", [entity]])

    async def _batch(self, name: str) -> None:
        each = [self._command(name) for _ in range(3)]
        for label, _ in each:
            self.report(tried=[self._ids[name], label])
        commands = [command for _, command in each]
        tickets = await self.gate.submit_batch(PLAYER_ACTOR, commands, self._ids[name], **self._when(name))
        for (label, _), ticket in zip(each, tickets, strict=True):
            self.report(ack=["queued", self._ids[name], label, ticket.command_id, [*ticket.entity_ids]])

    async def _execute(self, name: str) -> None:
        label, durable = self._label(), self.chance.random() < 0.5
        self.report(tried=[self._ids[name], label])
        entity = await self.gate.execute(PLAYER_ACTOR, Spawn((Coin(face=label),)), self._ids[name], durable=durable)
        self.report(ack=["durable" if durable else "staged", self._ids[name], label, "", [entity]])

    async def _send(self, name: str, command: EntityCommand[Any]) -> tuple[str, Any]:
        """Queue or execute a command; returns what is promised of it, and its result."""
        if self.chance.random() < 0.5:
            ticket = await self.gate.submit(PLAYER_ACTOR, command, self._ids[name], **self._when(name))
            return "queued", ticket.entity_ids
        durable = self.chance.random() < 0.5
        result = await self.gate.execute(PLAYER_ACTOR, command, self._ids[name], durable=durable)
        return "durable" if durable else "staged", result

    async def _spawn_many(self, name: str) -> None:
        labels = [self._label() for _ in range(self.chance.choice((2, 5, 40)))]
        for label in labels:
            self.report(tried=[self._ids[name], label])
        how, ids = await self._send(name, SpawnMany(tuple((Coin(face=one),) for one in labels)))
        self.report(ack=["many", self._ids[name], how, labels, [*ids]])
        self._spawned[name].update(ids)

    async def _coins(self, name: str) -> dict[int, tuple[str, int]]:
        """The face and number of every coin that is alive."""
        found: Any = await self.gate.execute(ADMIN_ACTOR, QuerySnapshot((Coin,)), self._ids[name])
        columns = found.to_pydict()
        return dict(
            zip(columns["entity_id"], zip(columns["coin__face"], columns["coin__number"], strict=True), strict=True)
        )

    async def _change_many(self, name: str) -> None:
        """Give some coins a number that none had before."""
        coins = await self._coins(name)
        chosen = sorted(self._spawned[name] & coins.keys())[: self.chance.choice((2, 40))]
        if not chosen:
            await self._spawn_many(name)
            await self._step(name)
            return
        self._spawned[name].difference_update(chosen)
        self._labels += 1
        number = self.number * 10_000 + self._labels
        command: EntityCommand[Any] = UpdateTable({Coin.c.number: number}, chosen)
        if self.chance.random() < 0.5:
            command = UpdateWhere(Coin.c.face.is_in([coins[one][0] for one in chosen]), {Coin.c.number: number})
        self.report(changing=[self._ids[name], number, chosen])
        how, _ = await self._send(name, command)
        if how != "staged":
            self.report(ack=["changed", self._ids[name], number])
        self._changes[name].append(number)

    async def _despawn_many(self, name: str) -> None:
        """Despawn the coins of an applied change."""
        applied = {number for _, number in (await self._coins(name)).values()}
        number = next((one for one in self._changes[name] if one in applied), None)
        if number is None:
            if self._changes[name]:
                await self._step(name)
            return
        self._changes[name].remove(number)
        self.report(ending=[self._ids[name], number])
        how, _ = await self._send(name, Despawn(Coin.c.number == number))
        if how != "staged":
            self.report(ack=["ended", self._ids[name], number])

    async def _step(self, name: str) -> None:
        result = await self.gate.execute(ADMIN_ACTOR, Step(), self._ids[name])
        self.report(ack=["tick", self._ids[name], result.tick])

    async def _send_inside(self, name: str) -> None:
        """Make a tick whose processor sends a durable command; the two are there together, or neither is."""
        world, other = self._ids[name], self._ids[self.chance.choice(WORLDS)]
        marker, label, is_queued = self._label(), self._label(), self.chance.random() < 0.7
        sent: list[tuple[str, list[int]]] = []

        async def act() -> None:
            command = Spawn((Coin(face=label),))
            if is_queued:
                ticket = await self.gate.submit(PLAYER_ACTOR, command, other)
                sent.append((ticket.command_id, [*ticket.entity_ids]))
            else:
                sent.append(("", [await self.gate.execute(PLAYER_ACTOR, command, other, durable=True)]))

        self.report(tried=[world, marker])
        self.report(tried=[other, label])
        self.report(together=[world, marker, other, label])
        self._senders[name].plan = Plan(marker, act, fails=self.chance.random() < 0.3)
        try:
            result = await self.gate.execute(ADMIN_ACTOR, Step(), world)
        except ProcessorError:
            return
        self.report(ack=["tick", world, result.tick])
        for command_id, ids in sent:
            self.report(ack=["queued", other, label, command_id, ids])
        # Nothing is left of it if the world had no coin.
        self._senders[name].plan = None

    async def _run_ticks(self, name: str) -> None:
        result = await self.gate.execute(ADMIN_ACTOR, Run(RunConfig(steps=3)), self._ids[name])
        self.report(ack=["tick", self._ids[name], result.final_tick])

    async def _fork(self, name: str) -> None:
        fork_name = f"{name} {self._label()}"
        try:
            info = await self.gate.execute(ADMIN_ACTOR, ForkWorld(fork_name), self._ids[name], durable=True)
        except PendingMutations:
            return
        label = self._label()
        self.report(ack=["world", info.world_id, fork_name])
        self.report(tried=[info.world_id, label])
        ticket = await self.gate.submit(PLAYER_ACTOR, Spawn((Coin(face=label),)), info.world_id)
        self.report(ack=["queued", info.world_id, label, ticket.command_id, [*ticket.entity_ids]])
        if self.chance.random() < 0.5:
            result = await self.gate.execute(ADMIN_ACTOR, Step(), info.world_id)
            self.report(ack=["tick", info.world_id, result.tick])

    async def _refused(self, name: str) -> None:
        refused: tuple[Command[Any], ...] = (Step(), Custom("note"))
        for command in refused:
            try:
                await self.gate.execute(ActorCtx("watching", (VIEWER,)), command, self._ids[name])
            except PermissionDenied:
                continue
            self.report(broken=f"expected PermissionDenied for a viewer, but {command.kind} was accepted")
