"""The gate: authorizes and charges every command, executes or queues it, and records it."""

from __future__ import annotations

import contextvars
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar, cast

from archetype_core.clock import Clock, IdSource
from archetype_core.command import (
    ADMIN,
    ActorCtx,
    CloseWorld,
    Command,
    DestroyWorld,
    EntityCommand,
    EpisodeResult,
    ForkWorld,
    GetUsage,
    Spawn,
    Ticket,
    UpdateTable,
    UpdateWhere,
    WorldInfo,
)
from archetype_core.engine import Attempt, current_attempt, in_thread
from archetype_core.errors import (
    ArchetypeError,
    AttemptOver,
    GateClosed,
    NotDeferrable,
    PermissionDenied,
    ReentrantStep,
)
from archetype_core.schema import Component
from archetype_gate import command_codec, telemetry
from archetype_gate.audit_log import AuditLog, Call
from archetype_gate.dispatcher import CommandDispatcher
from archetype_gate.held_command import CommandHolder, HeldCommand, recover_held
from archetype_gate.in_flight import InFlightCalls
from archetype_gate.large_call import in_turn, is_large
from archetype_gate.ledger import AcceptedCommand, AuditEntry
from archetype_gate.live_world import LiveWorld, due_tick, failure_reason
from archetype_gate.policy import PROCESS_KINDS, VIEWER_KINDS, Policy
from archetype_gate.quota import QuotaMeter, Usage
from archetype_gate.storage import Backend, StorageService
from archetype_gate.timestamp import to_micros
from archetype_gate.world_service import WorldService

R = TypeVar("R")

_NO_LOCK: AbstractContextManager[Any] = nullcontext()

# The call that the current context is executing.
_executing: contextvars.ContextVar[Call | None] = contextvars.ContextVar("archetype_gate_call", default=None)


class CommandService:
    """The ``CommandGate`` over a ledger: authorizes, charges, executes or queues, and records every command.

    Methods may be called from any thread and event loop. Every command leaves one audit row, also if it is
    rejected or fails, except after ``GateClosed``, ``LedgerError``, a wrong actor or what is no command. A rejected
    command costs nothing.
    """

    def __init__(
        self,
        worlds: WorldService,
        storage: StorageService,
        dispatcher: CommandDispatcher,
        *,
        policy: Policy,
        meter: QuotaMeter,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._worlds = worlds
        self._storage = storage
        self._dispatcher = dispatcher
        self._policy = policy
        self._meter = meter
        self._clock = clock
        self._ids = ids
        self._audit = AuditLog(worlds, storage, clock, ids)
        self._is_open = True
        self._in_flight = InFlightCalls()
        self._holder = CommandHolder(worlds)

    def add_backend(self, backend: Backend) -> None:
        """Recover what a new backend's ledger holds, and restore its usage; give it the entries from before any was open."""
        today = self._clock.now().date()
        recover_held(backend)
        if backend.ledger not in [one.ledger for one in self._storage.backends]:
            self._meter.restore(backend.ledger.usage_since(today - timedelta(days=1)))
        self._audit.write_early(backend.ledger)

    def add_usage(self, usage: Usage) -> None:
        """Write credits that were settled without a command."""
        telemetry.count_usage(usage)
        self._audit.add_usage(usage)

    async def execute(
        self, actor: ActorCtx, command: Command[R], world_id: str | None = None, *, durable: bool = False
    ) -> R:
        """Execute a command now and return its result; mutations are staged for the world's next tick.

        A staged command is on disk with its tick, or after 100 ms if that is sooner; with ``durable`` it is on disk when this
        returns. Mutations need no thread and no I/O, except to reserve the next block of entity ids, and to note the first
        spawn after two ticks without one. Inside a tick they are held until its attempt is committed, and forgotten if it fails.

        Raises ``PermissionDenied``, ``QuotaExceeded``, ``WorldNotFound``, ``GateClosed``, ``TypeError`` for a wrong
        actor or address, ``LedgerError`` while the ledger cannot be written (reads still work), and whatever the
        command itself raises.
        """
        _check_commands([command])
        with telemetry.command_span(command.kind, world_id, actor) as span, self._in_flight.call():
            call = self._begin(actor, world_id)
            try:
                if isinstance(command, EntityCommand):
                    work = partial(self._mutate, call, command, durable)
                    result = await in_turn(call.live, is_large([command], call.live), work)
                else:
                    (admitted,) = await in_turn(call.live, False, partial(self._admit, call, [command]))
                    call.status = "failed"
                    result = await self._execute(call, command, admitted)
                    call.status = "applied"
                if durable:
                    await self._audit.sync(call.world_id)
            finally:
                telemetry.record_verdict(span, command.kind, call.status, time.perf_counter() - call.began)
            return cast("R", result)

    def _mutate(self, call: Call, command: EntityCommand[Any], durable: bool) -> Any:
        """Admit a mutation and stage it."""
        live = call.live
        # What a table or a condition means is found out once: nothing may be staged until its changes are.
        is_kept = live is not None and isinstance(command, UpdateTable | UpdateWhere)
        with live.world.lock if live is not None and is_kept else _NO_LOCK:
            admitted = cast("EntityCommand[Any]", self._admit(call, [command])[0])
            call.status = "failed"
            result = self._stage(call, admitted, durable)
        if isinstance(command, UpdateWhere) and isinstance(admitted, UpdateTable):
            return admitted.data.num_rows
        return result

    def _begin(self, actor: object, world_id: str | None) -> Call:
        if not self._is_open:
            raise GateClosed
        if not isinstance(actor, ActorCtx):
            raise TypeError(f"actor must be an ActorCtx, not {actor!r}")
        live = self._worlds.find(world_id)
        tick = live.world.tick if live is not None else None
        return Call(actor, world_id, live, time.perf_counter(), to_micros(self._clock.now()), tick)

    def _admit(
        self, call: Call, commands: Sequence[Command[Any]], *, is_queued: bool = False
    ) -> Sequence[Command[Any]]:
        """Authorize commands, check their arguments and charge for them, all or none; records a refusal and raises it.

        Returns the commands to apply: mutations with arguments of their own, and ids in place of conditions.
        """
        is_admin = ADMIN in call.actor.roles
        try:
            for command in commands:
                if not self._policy.allows(call.actor, command.kind):
                    raise PermissionDenied(call.actor.id, call.actor.roles, command.kind or type(command).__name__)
                if isinstance(command, GetUsage) and command.actor not in (None, call.actor.id) and not is_admin:
                    raise PermissionDenied(call.actor.id, call.actor.roles, f"{command.kind} of another actor")
            for command in commands:
                self._dispatcher.check(command, call.world_id, call.live)
            needs_no_write = isinstance(commands[0], DestroyWorld | CloseWorld) or commands[0].kind in VIEWER_KINDS
            if call.live is not None and _is_stored(commands[0]):
                call.live.backend.check_writable()
            if call.live is not None and not needs_no_write:
                call.live.backend.ledger.check_writable()
            if isinstance(commands[0], EntityCommand):
                # Raises if the caller is part of an attempt that has failed.
                current_attempt()
            if is_queued and call.live is not None:
                admitted: Sequence[Command[Any]] = call.live.queueable(cast("Sequence[EntityCommand[Any]]", commands))
            else:
                admitted = [_resolved(one, call) for one in commands]
            day = self._clock.now().date()
            call.usage = self._meter.charge(call.actor, admitted, day, call.world_id, call.tick or 0)
        except (ArchetypeError, TypeError, ValueError) as refusal:
            self._audit.record(
                call, [self._audit.entry(call, one, "rejected", failure_reason(refusal)) for one in commands]
            )
            raise
        if call.usage is not None:
            telemetry.count_usage(call.usage)
        return admitted

    def _stage(self, call: Call, command: EntityCommand[Any], durable: bool) -> Any:
        """Stage a mutation for the next tick; never awaits, because hooks and processors call it inside a tick."""
        live = call.live
        assert live is not None

        def keep(accepted: AcceptedCommand | None) -> None:
            def apply() -> None:
                if accepted is not None:
                    live.add_staged(accepted)

            # What changes nothing waits for no tick.
            call.status = "applied" if accepted is None else "queued"
            entry = self._audit.entry(call, command, call.status, "", accepted)
            attempt = current_attempt()
            if attempt is None:
                apply()
                live.backend.ledger.record([entry])
            else:
                is_durable = durable and accepted is not None
                self._holder.hold(attempt, [self._held(live, entry, apply, is_durable=is_durable)])

        usage = call.usage
        try:
            return live.stage(command, self._ids.new(), keep)
        except AttemptOver as failure:
            call.usage = usage
            self._reject(call, [command], failure)
            raise
        except Exception as failure:
            self._audit.record(call, [self._audit.entry(call, command, "failed", failure_reason(failure))])
            raise

    def _held(self, live: LiveWorld, entry: AuditEntry, apply: Callable[[], None], *, is_durable: bool) -> HeldCommand:
        """A command that waits for the attempt that it was sent from; what it cost is given back if that fails."""
        step = _executing.get()

        def dropped() -> None:
            if entry.usage is not None:
                self._meter.refund(entry.usage)
            if step is not None:
                step.dropped += 1

        return HeldCommand(live, entry, is_durable, apply, dropped)

    async def _execute(self, call: Call, command: Command[Any], admitted: Command[Any]) -> Any:
        executing = _executing.set(call)
        try:
            result = await self._dispatcher.execute(admitted, call.world_id, call.live, self._audit.read)
        except BaseException as failure:
            reason = failure_reason(failure)
            if call.dropped:
                reason += f" (commands dropped with the attempt: {call.dropped})"
            self._audit.record(call, [self._audit.entry(call, command, "failed", reason)])
            raise
        finally:
            _executing.reset(executing)
        if isinstance(result, WorldInfo) and call.world_id is None:
            # The command that created or opened a world belongs to that world's audit rows.
            call.world_id, call.tick = result.world_id, result.tick
        error = result.error if isinstance(result, EpisodeResult) else None
        self._audit.record(call, [self._audit.entry(call, command, "failed" if error else "applied", error or "")])
        return result

    async def submit(
        self, actor: ActorCtx, command: EntityCommand[Any], world_id: str, *, tick: int | None = None, priority: int = 0
    ) -> Ticket:
        """Queue a command for the first tick that is not before ``tick``, by default the next; on disk when this returns.

        Inside a tick it is held, and is on disk with that tick's commit; it is forgotten if the attempt fails.

        Due commands apply by tick, then ascending priority, then submission. A command that cannot be applied at its
        tick is recorded as ``failed`` and stops neither the tick nor the others. Costs one group commit of the ledger.

        Raises what ``execute`` raises; also ``NotDeferrable`` for a command that cannot be stored, ``ValueRejected`` for
        data that cannot be encoded, and ``ValueError`` for a bad tick or priority.
        """
        (ticket,) = await self.submit_batch(actor, [command], world_id, tick=tick, priority=priority)
        return ticket

    async def submit_spawn(
        self, actor: ActorCtx, world_id: str, *components: Component, tick: int | None = None, priority: int = 0
    ) -> int:
        """Queue the spawn of one entity and return its id, which is reserved now; costs and raises as ``submit``."""
        ticket = await self.submit(actor, Spawn(components), world_id, tick=tick, priority=priority)
        return ticket.entity_ids.start

    async def submit_batch(
        self,
        actor: ActorCtx,
        commands: Sequence[EntityCommand[Any]],
        world_id: str,
        *,
        tick: int | None = None,
        priority: int = 0,
    ) -> tuple[Ticket, ...]:
        """Queue several commands, all or none, in one group commit; raises as ``submit``. No commands: no row, no check."""
        if not commands:
            return ()
        _check_commands(commands)
        kind = commands[0].kind if len(commands) == 1 else "batch"
        with telemetry.command_span(kind, world_id, actor) as span, self._in_flight.call():
            call = self._begin(actor, world_id)
            try:
                tickets = await self._submit(call, commands, tick, priority)
                call.status = "queued"
            finally:
                telemetry.record_verdict(span, kind, call.status, time.perf_counter() - call.began)
            return tickets

    async def _submit(
        self, call: Call, commands: Sequence[EntityCommand[Any]], tick: int | None, priority: int
    ) -> tuple[Ticket, ...]:
        for command in commands:
            if not command.is_deferrable:
                refusal = NotDeferrable(command.kind)
                self._audit.record(
                    call, [self._audit.entry(call, one, "rejected", failure_reason(refusal)) for one in commands]
                )
                raise refusal
        large = is_large(commands, call.live)
        queued = await in_turn(call.live, large, partial(self._queue, call, commands, tick, priority, large))
        live, attempt = queued.live, queued.attempt
        if attempt is None and not large:
            await in_thread(partial(self._write, call, queued))
        elif attempt is not None and attempt.status == "committed":
            # It was committed meanwhile, so nobody else writes them before this returns.
            await in_thread(live.backend.ledger.sync)
        return tuple(Ticket(one.command_id, one.entity_ids) for one in queued.accepted)

    def _queue(
        self, call: Call, commands: Sequence[EntityCommand[Any]], tick: int | None, priority: int, is_written: bool
    ) -> _Queued:
        """Admit commands and assign their entity ids; hold them for the caller's attempt, or write them if that is wanted."""
        admitted = cast("list[EntityCommand[Any]]", self._admit(call, commands, is_queued=True))
        live, usage = call.live, call.usage
        assert live is not None
        try:
            attempt = current_attempt()
            # What a tick sends to its own world waits for the tick after it.
            is_own = attempt is not None and attempt.world_id == live.world_id
            due = due_tick(tick, priority, live.world.tick + is_own)
            queued = _Queued(live, admitted, self._accept(live, admitted, due, priority), attempt, usage)
            if attempt is not None:
                self._hold_queued(attempt, call, admitted, queued.accepted)
        except Exception as failure:
            call.usage = usage
            self._reject(call, commands, failure)
            raise
        if attempt is None and is_written:
            self._write(call, queued)
        return queued

    def _write(self, call: Call, queued: _Queued) -> None:
        try:
            self._write_queued(call, queued.commands, queued.accepted)
        except Exception as failure:
            call.usage = queued.usage
            self._reject(call, queued.commands, failure)
            raise

    def _write_queued(
        self, call: Call, commands: Sequence[EntityCommand[Any]], accepted: Sequence[AcceptedCommand]
    ) -> None:
        """Put commands on disk and queue them, in one thread: the caller may be cancelled once they are accepted."""
        live = call.live
        assert live is not None
        ledger = live.backend.ledger
        ledger.record(
            [
                self._audit.entry(call, command, "queued", "", one)
                for command, one in zip(commands, accepted, strict=True)
            ]
        )
        try:
            ledger.sync()
        except BaseException:
            if ledger.withdraw([one.command_id for one in accepted]):
                raise
        for one, command in zip(accepted, commands, strict=True):
            live.enqueue(one, command)

    def _hold_queued(
        self,
        attempt: Attempt,
        call: Call,
        commands: Sequence[EntityCommand[Any]],
        accepted: Sequence[AcceptedCommand],
    ) -> None:
        """Queue commands once the attempt that they were sent from is committed."""
        live = call.live
        assert live is not None
        self._holder.hold(
            attempt,
            [
                self._held(
                    live,
                    self._audit.entry(call, command, "queued", "", one),
                    partial(live.enqueue, one, command),
                    is_durable=True,
                )
                for command, one in zip(commands, accepted, strict=True)
            ],
        )

    def _reject(self, call: Call, commands: Sequence[Command[Any]], failure: Exception) -> None:
        """Record that charged commands were refused after all, and refund them."""
        if call.usage is not None:
            self._meter.refund(call.usage)
            call.usage = None
        self._audit.record(
            call, [self._audit.entry(call, one, "rejected", failure_reason(failure)) for one in commands]
        )

    def _accept(
        self,
        live: LiveWorld,
        commands: Sequence[EntityCommand[Any]],
        due: int,
        priority: int,
    ) -> list[AcceptedCommand]:
        """Encode commands and assign their entity ids; ``ValueRejected`` for one that cannot be encoded."""
        payloads = [command_codec.checked_encoding(one) for one in commands]
        return [
            AcceptedCommand(self._ids.new(), live.world_id, type(one).__name__, payload, ids, due, priority)
            for one, payload, ids in zip(commands, payloads, live.assign_ids(commands), strict=True)
        ]

    def peek(self, actor: ActorCtx, world_id: str) -> WorldInfo | None:
        """Describe a live world from memory, for display: no I/O, no quota, no audit row.

        ``None`` if the world is not live or the actor may not read it.
        """
        live = self._worlds.find(world_id)
        if live is None or not self._policy.allows(actor, "get_world_info"):
            return None
        return live.info()

    async def flush(self) -> None:
        """Wait until everything recorded so far is on disk; ``LedgerError`` if a ledger cannot be written."""
        for backend in self._storage.backends:
            await in_thread(backend.ledger.sync)

    def check_outside(self) -> None:
        """Raise ``ReentrantStep`` if the caller is inside a call of this gate: closing would wait for that call."""
        if self._in_flight.is_inside:
            busy = next((one.world for one in self._worlds.live_worlds), None)
            remedy = "close the gate outside of hooks and processors, when the call has returned"
            raise ReentrantStep(busy.name if busy else "?", busy.tick if busy else 0, remedy)

    async def close(self) -> None:
        """Close every live world, the newest first, wait for calls in flight, then close ledgers and stores; idempotent.

        New calls raise ``GateClosed``. Queues and histories stay on disk. ``ReentrantStep`` from inside a call, and then
        nothing is closed. Failures are raised as one ``ExceptionGroup`` after everything is closed.
        """
        self.check_outside()
        self._is_open = False
        failures = await self._worlds.close_all()
        await in_thread(self._in_flight.wait)
        try:
            await self._storage.close()
        except ExceptionGroup as group:
            failures.extend(group.exceptions)
        if failures:
            raise ExceptionGroup("parts of the gate failed to close; everything else is closed", failures)


@dataclass(frozen=True, slots=True)
class _Queued:
    """Commands that are accepted for a world's queue."""

    live: LiveWorld
    commands: Sequence[EntityCommand[Any]]
    accepted: Sequence[AcceptedCommand]
    attempt: Attempt | None
    """The one that they were sent from."""
    usage: Usage | None
    """What they cost."""


def _check_commands(commands: Sequence[object]) -> None:
    """Raise ``TypeError`` for what is no command: it has no price, no name and no audit row."""
    for one in commands:
        if not isinstance(one, Command):
            hint = f": wrap it, Spawn(({type(one).__name__}(…),))" if isinstance(one, Component) else ""
            raise TypeError(f"a command is an object such as Spawn, Update or Despawn, not {one!r}{hint}")


def _resolved(command: Command[Any], call: Call) -> Command[Any]:
    if isinstance(command, GetUsage) and command.actor is None:
        return GetUsage(call.actor.id)
    live = call.live
    return live.resolved(command) if live is not None and isinstance(command, EntityCommand) else command


def _is_stored(command: Command[Any]) -> bool:
    """Whether a command changes what the world's own storage has; a fork into another storage only reads it."""
    if isinstance(command, ForkWorld) and command.storage is not None:
        return False
    return command.kind not in VIEWER_KINDS | PROCESS_KINDS
