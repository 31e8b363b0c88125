"""A small correct gate over worlds in memory, which the broken gates of ``gate_mutants`` change.

It keeps every promise in the simplest way, and has one method for each thing that a mutant changes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import reference_query as query
from reference_keys import NOTED, KeyPart
from reference_ledger import Ledger, Waiting, row_fields
from reference_quota import QuotaPart
from reference_sight import ACTOR, SightPart
from reference_worlds import LiveWorld, WorldPart

from archetype_contracts import GateLimits
from archetype_contracts.gate.policy import allows
from archetype_core import command as c
from archetype_core.clock import Clock
from archetype_core.engine import Attempt, current_attempt
from archetype_core.errors import (
    ArchetypeError,
    EntityNotFound,
    GateClosed,
    NoHandler,
    NotDeferrable,
    PermissionDenied,
    SignatureError,
    StaleTick,
    UnknownRecipient,
    WorldNotFound,
)
from archetype_core.schema import Component
from archetype_core.store import Store

LEDGERS: dict[Path, Ledger] = {}
EXPECTED: ContextVar[int | None] = ContextVar("expected", default=None)
"""The tick that the call under way expects to make first."""
_LONG = 4096


class ReferenceGate(SightPart, QuotaPart, WorldPart, KeyPart):
    """Every verb checks the policy, charges quotas, adds an audit row, and executes."""

    def __init__(self, place: Path, limits: GateLimits, clock: Clock) -> None:
        self.ledger = LEDGERS.setdefault(place, self.empty())
        self.limits, self.clock = limits, clock
        self.live: dict[str, LiveWorld] = {}
        self.stores: dict[str, Store] = {}
        self.creating = asyncio.Lock()
        self.running: set[tuple[str, str]] = set()
        self.is_open = True

    @staticmethod
    def empty() -> Ledger:
        return Ledger()

    # The port

    async def execute(
        self,
        actor: c.ActorCtx,
        command: c.Command[Any],
        world_id: str | None = None,
        *,
        durable: bool = False,
        expected_tick: int | None = None,
        key: c.IdempotencyKey | None = None,
    ) -> Any:
        self.check_open()
        do = partial(self.executed, actor, command, world_id, expected_tick)
        return await (do() if key is None else self.once(actor, [command], world_id, key, do))

    async def executed(
        self, actor: c.ActorCtx, command: c.Command[Any], world_id: str | None, expected_tick: int | None
    ) -> Any:
        noted = NOTED.get()
        if noted is not None and noted.ticks:
            expected_tick = None
        live = self.admit(actor, [command], world_id, expected_tick=expected_tick)
        if isinstance(command, c.EntityCommand):
            meant = self.meant(cast("LiveWorld", live), command)
            answer = self.stage(actor, meant, cast("LiveWorld", live))
            return meant.data.num_rows if isinstance(command, c.UpdateWhere) else answer
        tick = None if live is None else live.world.tick
        seq = self.enter(actor, command, world_id, "queued", tick=tick).seq
        counter = None
        if live is not None:
            live.dropped, counter = 0, self.counter_of(actor, live)
        EXPECTED.set(expected_tick)
        ACTOR.set(actor)
        try:
            named = c.GetUsage(command.actor or actor.id) if isinstance(command, c.GetUsage) else command
            answer = self.shown(actor, await self.do(named, live, world_id))
        except StaleTick as refusal:
            self.ledger.settle(seq, "rejected", str(refusal), tick, self.clock.now())
            if counter is not None:
                self.refund([command], counter, self.day_of(actor))
            raise
        except BaseException as failure:
            reason = str(failure) or type(failure).__name__
            reason += self.told(live.dropped) if live is not None else ""
            self.ledger.settle(seq, "failed", reason, tick, self.clock.now())
            if (told := self.told_failure(actor, failure)) is not failure:
                raise told from None
            raise
        self.ledger.settle(seq, "applied", "", tick, self.clock.now())
        return answer

    async def submit(self, actor: c.ActorCtx, command: Any, world_id: str, **when: Any) -> c.Ticket:
        (ticket,) = await self.submit_batch(actor, [command], world_id, **when)
        return ticket

    async def submit_batch(
        self,
        actor: c.ActorCtx,
        commands: Sequence[Any],
        world_id: str,
        *,
        tick: int | None = None,
        priority: int = 0,
        expected_tick: int | None = None,
        key: c.IdempotencyKey | None = None,
    ) -> tuple[c.Ticket, ...]:
        self.check_open()

        async def do() -> tuple[c.Ticket, ...]:
            return self.queued(actor, commands, world_id, tick, priority, expected_tick)

        return await (do() if key is None else self.once(actor, commands, world_id, key, do))

    def queued(  # noqa: PLR0917  # reason: of submit_batch
        self,
        actor: c.ActorCtx,
        commands: Sequence[Any],
        world_id: str,
        tick: int | None,
        priority: int,
        expected_tick: int | None,
    ) -> tuple[c.Ticket, ...]:
        admitted = self.admit(actor, commands, world_id, is_queued=True, expected_tick=expected_tick)
        live = cast("LiveWorld", admitted)
        try:
            self.check_queued(live, commands)
        except ArchetypeError as refusal:
            self.refund([self.meant(live, one) for one in commands], self.counter_of(actor, live), self.day_of(actor))
            self.reject(actor, commands, world_id, refusal)
            raise
        commands, attempt = [self.meant(live, one) for one in commands], self.attempt_to_queue()
        is_own = attempt is not None and attempt.world_id == world_id
        at = live.world.tick + is_own if tick is None else tick
        queued = [
            Waiting(0, self.ledger.name(), one, self.reserve(live, query.spawned(one)), at, priority)
            for one in commands
        ]
        self.keep(attempt, actor, queued, live, live.known.queue)
        return tuple(c.Ticket(one.command_id, one.ids) for one in queued)

    async def submit_spawn(
        self, actor: c.ActorCtx, world_id: str, *components: Component, tick: int | None = None, priority: int = 0
    ) -> int:
        ticket = await self.submit(actor, c.Spawn(components), world_id, tick=tick, priority=priority)
        return ticket.entity_ids.start

    def peek(self, actor: c.ActorCtx, world_id: str) -> c.WorldInfo | None:
        live = self.live.get(world_id)
        is_there = live is not None and self.may(actor, c.GetWorldInfo()) and self.sees(actor, world_id)
        return query.info(live) if live is not None and is_there else None

    async def flush(self) -> None:
        """Do nothing: every answer is stored already."""

    async def close(self) -> None:
        self.is_open = False
        for world_id in reversed(list(self.live)):
            await self.close_world(world_id)
        for store in self.stores.values():
            store.close()

    # Policy and quotas

    def check_open(self) -> None:
        if not self.is_open:
            raise GateClosed

    def may(self, actor: c.ActorCtx, command: c.Command[Any]) -> bool:
        is_other = isinstance(command, c.GetUsage) and command.actor not in (None, actor.id)
        return allows(actor.roles, command.kind) and (not is_other or c.ADMIN in actor.roles)

    def expect(self, live: LiveWorld, tick: int | None, found: int) -> None:
        """Refuse a command that is sent for another tick."""
        if tick is not None and tick != found:
            raise StaleTick(live.world.name, tick, found)

    def admit(
        self,
        actor: c.ActorCtx,
        commands: Sequence[c.Command[Any]],
        world_id: str | None,
        *,
        is_queued: bool = False,
        expected_tick: int | None = None,
    ) -> LiveWorld | None:
        """Check commands and return their live world; a refusal adds a row for each command."""
        try:
            for command in commands:
                if not self.may(actor, command):
                    raise PermissionDenied(actor.id, actor.roles, command.kind)
                if is_queued and not command.is_deferrable:
                    raise NotDeferrable(command.kind)
            self.look(actor, commands, world_id)
            live = None if world_id is None else self.live.get(world_id)
            is_missing_fine = all(isinstance(one, c.DestroyWorld | c.CloseWorld) for one in commands) and commands
            needs_world = is_queued or isinstance(commands[0], c.EntityCommand)
            if live is None and (world_id is not None or needs_world) and not is_missing_fine:
                raise WorldNotFound(str(world_id), self.live)
            if live is not None and commands and not isinstance(commands[0], c.Step | c.Run | c.RunEpisode):
                self.expect(live, expected_tick, live.world.staging_tick)
            self.charge(actor, commands, live)
        except ArchetypeError as refusal:
            self.reject(actor, commands, world_id, refusal)
            raise
        return live

    def reject(
        self, actor: c.ActorCtx, commands: Sequence[c.Command[Any]], world_id: str | None, refusal: Exception
    ) -> None:
        for command in commands:
            self.enter(actor, command, world_id, "rejected", reason=str(refusal))

    def enter(
        self,
        actor: c.ActorCtx,
        command: c.Command[Any],
        world_id: str | None,
        status: c.Status,
        *,
        reason: str = "",
        tick: int | None = None,
        command_id: str = "",
    ) -> c.AuditRow:
        payload = json.dumps(dict(command.describe()), default=str)
        payload = payload if len(payload) <= _LONG else json.dumps({"bytes": len(payload)})
        row = row_fields(actor, command, world_id, payload)
        return self.ledger.enter(
            {**row, "status": status, "reason": reason, "tick": tick, "submitted_at": self.clock.now()}, command_id
        )

    # Attempts

    def attempt_to_stage(self) -> Attempt | None:
        """The attempt that an executed command waits for."""
        return current_attempt()

    def attempt_to_queue(self) -> Attempt | None:
        """The attempt that a submitted command waits for."""
        return current_attempt()

    def keep(
        self, attempt: Attempt | None, actor: c.ActorCtx, waiting: list[Waiting], live: LiveWorld, place: list[Waiting]
    ) -> None:
        """Record commands and keep them, once the attempt that they were sent from is committed."""
        counter, day = self.counter_of(actor, live), self.day_of(actor)

        def commit() -> None:
            for one in waiting:
                world_id = live.known.world_id
                one.seq = self.enter(actor, one.command, world_id, "queued", command_id=one.command_id).seq
                place.append(one)

        def drop() -> None:
            self.refund([one.command for one in waiting], counter, day)
            self.live[attempt.world_id].dropped += len(waiting)  # type: ignore[union-attr]  # reason: only called in one

        if attempt is None:
            commit()
        else:
            attempt.hold(commit, drop)

    def told(self, dropped: int) -> str:
        """What the row of a failed step says about its dropped commands."""
        return f" ({dropped} commands dropped)" if dropped else ""

    # Mutations

    def reserve(self, live: LiveWorld, count: int) -> range:
        ids = live.world.reserve(count)
        live.known.next_entity_id = max(live.known.next_entity_id, ids.stop)
        return ids

    def stage(self, actor: c.ActorCtx, command: c.EntityCommand[Any], live: LiveWorld) -> Any:
        """Stage an executed command, and keep it until a tick applies it."""
        attempt = self.attempt_to_stage()
        ids = self.reserve(live, query.spawned(command))
        waiting = Waiting(0, self.ledger.name(), command, ids, live.world.tick, 0)
        try:
            self.put(live, waiting, is_skippable=True)
        except Exception as failure:
            self.enter(actor, command, live.known.world_id, "failed", reason=str(failure))
            raise
        if not waiting.is_staged:
            self.enter_applied(attempt, actor, waiting, live)
            return ids or None
        self.keep(attempt, actor, [waiting], live, live.known.staged)
        return ids.start if isinstance(command, c.Spawn) else ids or None

    def check_queued(self, live: LiveWorld, commands: Sequence[c.Command[Any]]) -> None:
        """Refuse what would be refused now, and also if everything queued were applied."""
        try:
            self.rehearse(live, [], commands)
        except (EntityNotFound, SignatureError, UnknownRecipient):
            self.rehearse(live, sorted(live.known.queue, key=lambda one: one.seq), commands)

    def rehearse(self, live: LiveWorld, before: list[Waiting], commands: Sequence[c.Command[Any]]) -> None:
        query.rehearse(live.world, [(one.command, one.ids) for one in before], commands)

    def enter_applied(self, attempt: Attempt | None, actor: c.ActorCtx, waiting: Waiting, live: LiveWorld) -> None:
        """Record a command that changed nothing, once the attempt that it was sent from is committed."""

        def commit() -> None:
            here = live.known.world_id
            self.enter(actor, waiting.command, here, "applied", tick=waiting.tick, command_id=waiting.command_id)

        if attempt is None:
            commit()
        else:
            attempt.hold(commit, lambda: None)

    def put(self, live: LiveWorld, waiting: Waiting, *, is_skippable: bool = False) -> None:
        """Stage a command in a live world, completely or not at all."""
        with live.world.commanded(waiting.command_id, undo=True, is_skippable=is_skippable) as commanded:
            if isinstance(waiting.command, c.Custom):
                handler = live.handlers.get(waiting.command.name)
                if handler is None:
                    raise NoHandler(waiting.command.name, live.handlers)
                handler(live.world, waiting.command.data)
            else:
                query.apply(live.world, waiting.command, waiting.ids)
            waiting.is_staged = commanded.is_staged or not is_skippable

    def apply_due(self, live: LiveWorld) -> None:
        """Stage due commands; those that a failed tick kept are staged already."""
        for waiting in self.in_order(live.known.queue):
            if waiting.is_staged or waiting.tick > live.world.tick:
                continue
            try:
                self.put(live, waiting)
            except Exception as failure:  # noqa: BLE001  # reason: a handler may raise any error
                live.known.queue.remove(waiting)
                self.ledger.settle(waiting.seq, "failed", repr(failure), live.world.tick, self.clock.now())

    def in_order(self, queue: list[Waiting]) -> list[Waiting]:
        return sorted(queue, key=lambda one: one.place)

    async def tick(self, live: LiveWorld, config: Any, inputs: Any) -> c.StepResult:
        async with live.turn:
            self.expect(live, EXPECTED.get(), live.world.tick)
            EXPECTED.set(None)
            self.apply_due(live)
            one = None if config is None else replace(config, steps=1)
            outcome = await live.world.step(one, **inputs)
            live.stepped_at = self.clock.now()
            # What a fork copied has no row, and no command id of its own.
            waiting = [*live.known.staged, *live.known.queue]
            applied = [one for one in waiting if one.command_id in outcome.applied or not one.seq]
            self.applied(live, applied, outcome.tick)
        if (noted := NOTED.get()) is not None:
            noted.ticks.append((outcome.tick, len(applied)))
        return c.StepResult(live.known.world_id, live.world.run_id, outcome.tick, len(applied), outcome.duration_s)

    def applied(self, live: LiveWorld, applied: list[Waiting], tick: int) -> None:
        live.known.segment = live.world.segment
        for waiting in applied:
            if waiting.seq:
                self.ledger.settle(waiting.seq, "applied", "", tick, self.clock.now())
        self.forget(live, applied)

    def forget(self, live: LiveWorld, applied: list[Waiting]) -> None:
        for place in (live.known.staged, live.known.queue):
            place[:] = [one for one in place if one not in applied]

    # Commands that are no mutations

    async def do(  # noqa: PLR0912  # reason: one case per command
        self, command: c.Command[Any], live: LiveWorld | None, world_id: str | None
    ) -> Any:
        """Execute a command that is not a mutation."""
        match command:
            case c.CreateWorld():
                return await self.create(command)
            case c.OpenWorld():
                return await self.open(command)
            case c.CloseWorld():
                return await self.close_world(str(world_id))
            case c.DestroyWorld():
                return await self.destroy(str(world_id))
            case c.ForkWorld() if live:
                return await self.fork(command, live)
            case c.Step() if live:
                return await self.tick(live, command.config, command.inputs)
            case c.Run() if live:
                before = self.made_before()
                for _ in range(command.config.steps - len(before)):
                    done = await self.tick(live, command.config, command.inputs)
                    before.append((done.tick, done.applied))
                first = before[0][0] if before else live.world.tick
                applied = sum(count for _, count in before)
                ids = (live.known.world_id, live.world.run_id)
                return c.RunResult(*ids, first, first + len(before) - 1, applied, 0.0)
            case c.RunEpisode() if live:
                return await self.episode(live, command.config, 0)
            case c.RunRollout() if live:
                episodes = []
                for number in range(command.config.num_episodes):
                    made = await self.fork(c.ForkWorld(), live)
                    episodes.append(await self.episode(self.live[made.world_id], command.config.episode_config, number))
                return c.RolloutResult("rollout", live.known.world_id, tuple(episodes), 0.0)
            case c.GetHistory():
                return self.ledger.read(world_id, command.filter)
            case c.GetAuditHead():
                return c.AuditHead(len(self.ledger.rows), "", self.clock.now())
            case c.ListWorlds():
                stored = self.ledger.worlds.values() if command.storage is not None else ()
                found = {one.world_id: query.stored_info(one) for one in stored if not one.is_destroyed}
                return tuple({**found, **{key: query.info(one) for key, one in self.live.items()}}.values())
            case c.GetUsage():
                return self.usage(command.actor or "")
            case c.Administer():
                return None
            case c.SealStorage():
                # Its stores have no journal.
                return 0
            case c.ReplaceParts() if live:
                await live.world.replace_parts(command.parts, command.before)
                live.handlers.update(command.parts.handlers or {})
                return None
        return query.answer(command, live, self)

    def made_before(self) -> list[tuple[int, int]]:
        """The ticks that earlier calls with the key have made."""
        noted = NOTED.get()
        return [] if noted is None else list(noted.ticks)

    async def episode(self, live: LiveWorld, config: c.EpisodeConfig, number: int) -> c.EpisodeResult:
        first = live.world.tick
        for _ in range(config.max_steps):
            await self.tick(live, config.run_config, {})
        world = live.world
        ids = (world.world_id, world.name, world.run_id, world.seed)
        return c.EpisodeResult(*ids, number, first, world.tick - 1, "max_steps", 0.0)
