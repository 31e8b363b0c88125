"""The code of a process that is killed: it uses a gate with several worlds and reports every answer at once.

Every command carries a unique label, so that its effects can be counted afterwards.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from archetype_contracts.gate.limits import GateLimits
from archetype_contracts.gate.sample import Coin
from archetype_contracts.gate.subject import GateHooks
from archetype_core.clock import SystemClock
from archetype_core.command import (
    ADMIN,
    PLAYER,
    VIEWER,
    ActorCtx,
    Command,
    CommandGate,
    CreateWorld,
    Custom,
    EntityCommand,
    ForkWorld,
    OpenWorld,
    Run,
    Send,
    Spawn,
    Step,
)
from archetype_core.config import RunConfig
from archetype_core.errors import PendingMutations, PermissionDenied, WorldNotFound

WORLDS = ("alpha", "beta")
AHEAD = 3
"""The maximum number of ticks ahead for which a command is queued."""
ADMIN_ACTOR, PLAYER_ACTOR = ActorCtx("root", (ADMIN,)), ActorCtx("player", (PLAYER,))

Report = Callable[..., None]


class GateSession:
    """The commands of one process; it runs until it is killed or has done a number of operations."""

    def __init__(self, hooks: GateHooks, place: Path, seed: int, number: int, report: Report) -> None:
        self.hooks, self.place, self.number, self.report = hooks, place, number, report
        self.chance = random.Random(f"{seed} {number}")  # noqa: S311  # reason: repeatable by its seed
        self._labels = 0
        self._ids: dict[str, str] = {}
        self.gate: CommandGate

    async def run(self, operations: int) -> None:
        """Open the gate and its worlds, and run random operations."""
        self.place.mkdir(parents=True, exist_ok=True)
        async with self.hooks.open_gate(self.place, limits=GateLimits(), clock=SystemClock()) as self.gate:
            for name in WORLDS:
                await self._enter(name)
            verbs = (self._submit, self._submit, self._spawn, self._batch, self._execute, self._step, self._step)
            every: tuple[Callable[[str], Awaitable[None]], ...] = (*verbs, self._run_ticks, self._fork, self._refused)
            for _ in range(operations):
                await self.chance.choice(every)(self.chance.choice(WORLDS))
        self.report(end=True)

    async def _enter(self, name: str) -> None:
        storage = self.hooks.storage(self.place)
        try:
            info = await self.gate.execute(ADMIN_ACTOR, OpenWorld(name, storage))
        except WorldNotFound:
            info = await self.gate.execute(ADMIN_ACTOR, CreateWorld(name, storage, seed=1))
        self._ids[name] = info.world_id
        self.report(ack=["world", info.world_id, name])

    def _label(self) -> str:
        self._labels += 1
        return f"{self.number}/{self._labels}"

    def _command(self) -> tuple[str, EntityCommand[Any]]:
        label = self._label()
        return label, Spawn((Coin(face=label),)) if self.chance.random() < 0.6 else Send(1, label)

    def _when(self, name: str) -> dict[str, int]:
        info = self.gate.peek(ADMIN_ACTOR, self._ids[name])
        assert info is not None
        later = self.chance.choice((0, 0, 0, 1, AHEAD))
        return {"tick": info.tick + later, "priority": self.chance.randint(-1, 1)}

    async def _submit(self, name: str) -> None:
        label, command = self._command()
        self.report(tried=[self._ids[name], label])
        ticket = await self.gate.submit(PLAYER_ACTOR, command, self._ids[name], **self._when(name))
        self.report(ack=["queued", self._ids[name], label, ticket.command_id, [*ticket.entity_ids]])

    async def _spawn(self, name: str) -> None:
        label = self._label()
        self.report(tried=[self._ids[name], label])
        entity = await self.gate.submit_spawn(PLAYER_ACTOR, self._ids[name], Coin(face=label), **self._when(name))
        self.report(ack=["queued", self._ids[name], label, "", [entity]])

    async def _batch(self, name: str) -> None:
        each = [self._command() for _ in range(3)]
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

    async def _step(self, name: str) -> None:
        result = await self.gate.execute(ADMIN_ACTOR, Step(), self._ids[name])
        self.report(ack=["tick", self._ids[name], result.tick])

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
