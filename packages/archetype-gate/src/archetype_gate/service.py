"""The gate: authorizes and charges every command, executes or queues it, and records it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

from archetype_core.clock import Clock, IdSource
from archetype_core.command import (
    ActorCtx,
    AuditFilter,
    AuditRow,
    Command,
    EntityCommand,
    EpisodeResult,
    GetHistory,
    IdempotencyKey,
    Spawn,
    Ticket,
    WorldInfo,
)
from archetype_core.engine import in_thread
from archetype_core.errors import GateClosed, ReentrantStep, StaleTick
from archetype_core.schema import Component
from archetype_gate import telemetry
from archetype_gate.admission import Admission
from archetype_gate.audit_log import AuditLog
from archetype_gate.audit_text import failure_reason
from archetype_gate.call import Call, CallsInFlight
from archetype_gate.command_queuer import CommandQueuer
from archetype_gate.command_stager import CommandStager
from archetype_gate.concern import is_single
from archetype_gate.deduplicator import Deduplicator, answered
from archetype_gate.dispatcher import CommandDispatcher
from archetype_gate.held_command import CommandHolder, recover_held
from archetype_gate.large_call import in_turn, is_large
from archetype_gate.policy import Policy
from archetype_gate.quota import QuotaMeter, Usage
from archetype_gate.sight import Sight
from archetype_gate.storage import Backend, StorageService
from archetype_gate.timestamp import to_micros
from archetype_gate.world_service import WorldService

R = TypeVar("R")


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
        self._is_open = True
        self._in_flight = CallsInFlight()
        self._audit = AuditLog(worlds, storage, clock, ids)
        self._sight = Sight(worlds, storage)
        self._admission = Admission(policy, self._sight, dispatcher, meter, self._audit)
        holder = CommandHolder(worlds, meter)
        self._stager = CommandStager(self._admission, self._audit, holder, ids)
        self._queuer = CommandQueuer(self._admission, self._audit, holder, ids)
        self._deduplicator = Deduplicator(
            storage, self._sight, self._admission, self._audit, ids=ids, keys_per_actor=meter.quotas.keys
        )

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
        self,
        actor: ActorCtx,
        command: Command[R],
        world_id: str | None = None,
        *,
        durable: bool = False,
        expected_tick: int | None = None,
        key: IdempotencyKey | None = None,
    ) -> R:
        """Execute a command now and return its result; mutations are staged for the world's next tick.

        A staged command is on disk with its tick, or after 100 ms if that is sooner; with ``durable`` it is on disk when this
        returns. Mutations need no thread and no I/O, except to reserve the next block of entity ids, and to note the first
        spawn after two ticks without one. Inside a tick they are held until its attempt is committed, and forgotten if it fails.

        Raises ``PermissionDenied``, ``QuotaExceeded``, ``WorldNotFound``, ``GateClosed``, ``StaleTick`` if ``expected_tick``
        is not the world's next tick, ``KeyConflict`` if ``key`` was used for another request or is in use, ``TypeError`` for a
        wrong actor or address, ``LedgerError`` while the ledger cannot be written (reads still work), and whatever the command
        itself raises.
        """
        _check_command(command)
        is_one, is_mutation = is_single(command), isinstance(command, EntityCommand)
        with Call(
            self._in_flight,
            actor,
            command.kind,
            world_id,
            is_mutation=is_mutation,
            runs_code=not is_one,
            expected_tick=expected_tick,
        ) as call:
            self._begin(call)
            if key is not None:
                do = partial(self._executed, call, command, True)
                return await self._deduplicator.once(call, (command,), key, do)
            return await self._executed(call, command, durable)

    async def foresee(
        self, actor: ActorCtx, command: Command[Any], world_id: str, *, expected_tick: int | None = None
    ) -> None:
        """Raise, and record, what a command that is to be executed later would be refused with now; otherwise no row, no cost.

        It asks for roles, worlds and the expected tick, not for quotas.
        """
        _check_command(command)
        with Call(
            self._in_flight,
            actor,
            command.kind,
            world_id,
            is_mutation=False,
            runs_code=False,
            expected_tick=expected_tick,
        ) as call:
            self._begin(call)
            await in_thread(partial(self._admission.foresee, call, command))
            call.status = "queued"

    async def _executed(self, call: Call, command: Command[R], durable: bool) -> R:
        live = call.live
        if isinstance(command, EntityCommand):
            # What waits for the disk must not hold up the event loop.
            large = call.answer is not None or (call.runs_code and is_large((command,), live))
            if live is None or not (large or live.turn.is_taken):
                result = self._stager.stage(call, command, durable)
            else:
                result = await in_turn(live, large, partial(self._stager.stage, call, command, durable))
        else:
            (admitted,) = await in_turn(live, False, partial(self._admission.admit, call, (command,)))
            result = await self._execute(call, command, admitted)
        if durable:
            await self._audit.sync(call.world_id)
        return result  # type: ignore[no-any-return]  # reason: the command says what its result is

    def _begin(self, call: Call) -> None:
        """Take the moment of a call and find its world."""
        if not self._is_open:
            raise GateClosed
        given: object = call.actor
        if not isinstance(given, ActorCtx):
            raise TypeError(f"actor must be an ActorCtx, not {given!r}")
        call.live = live = self._sight.find(call.actor, call.world_id)
        call.tick = None if live is None else live.world.tick
        call.at_us = to_micros(self._clock.now())

    async def _execute(self, call: Call, command: Command[Any], admitted: Command[Any]) -> Any:
        call.status = "failed"
        try:
            admitted, terms = await self._deduplicator.begin(call, admitted)
            result = None
            if await self._sight.check_stored(call, admitted):
                result = await self._dispatcher.execute(admitted, call.world_id, call.live, self._audit.read, terms)
        except StaleTick as refusal:
            call.status = "rejected"
            self._admission.record_refusal(call, [command], refusal)
            await self._deduplicator.failed(call, command, refusal)
            raise
        except BaseException as failure:
            reason = failure_reason(failure)
            if call.dropped:
                reason += f" (commands dropped with the attempt: {call.dropped})"
            self._audit.record(call, [self._audit.entry(call, command, "failed", reason)])
            await self._deduplicator.failed(call, command, failure)
            if (told := self._sight.failure(call.actor, failure)) is not failure:
                raise told from None
            raise
        result = await self._sight.shown(call.actor, result)
        if isinstance(result, WorldInfo) and call.world_id is None:
            # The command that created or opened a world belongs to that world's audit rows.
            call.world_id, call.tick = result.world_id, result.tick
        error = result.error if isinstance(result, EpisodeResult) else None
        entry = self._audit.entry(call, command, "failed" if error else "applied", error or "")
        if call.answer is not None:
            entry.command_id, entry.answer = call.answer.command_id, answered(call.answer, result)
        self._audit.record(call, [entry])
        call.status = "applied"
        return result

    async def submit(
        self,
        actor: ActorCtx,
        command: EntityCommand[Any],
        world_id: str,
        *,
        tick: int | None = None,
        priority: int = 0,
        expected_tick: int | None = None,
        key: IdempotencyKey | None = None,
    ) -> Ticket:
        """Queue a command for the first tick that is not before ``tick``, by default the next; on disk when this returns.

        Inside a tick it is held, and is on disk with that tick's commit; it is forgotten if the attempt fails.

        Due commands apply by tick, then ascending priority, then submission. A command that cannot be applied at its
        tick is recorded as ``failed`` and stops neither the tick nor the others. Costs one group commit of the ledger.

        Raises what ``execute`` raises; also ``NotDeferrable`` for a command that cannot be stored, ``ValueRejected`` for
        data that cannot be encoded, and ``ValueError`` for a bad tick or priority.
        """
        (ticket,) = await self.submit_batch(
            actor, [command], world_id, tick=tick, priority=priority, expected_tick=expected_tick, key=key
        )
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
        expected_tick: int | None = None,
        key: IdempotencyKey | None = None,
    ) -> tuple[Ticket, ...]:
        """Queue several commands, all or none, in one group commit; raises as ``submit``. No commands: no row, no check."""
        if not commands:
            return ()
        for one in commands:
            _check_command(one)
        kind = commands[0].kind if len(commands) == 1 else "batch"
        with Call(
            self._in_flight, actor, kind, world_id, is_mutation=True, runs_code=True, expected_tick=expected_tick
        ) as call:
            self._begin(call)
            do = partial(self._queuer.queue, call, commands, tick, priority)
            tickets = await (do() if key is None else self._deduplicator.once(call, commands, key, do))
            call.status = "queued"
            return tickets

    def peek(self, actor: ActorCtx, world_id: str) -> WorldInfo | None:
        """Describe a live world from memory, for display: no I/O, no quota, no audit row.

        ``None`` if the world is not live or the actor may not read it.
        """
        live = self._sight.find(actor, world_id)
        if live is None or not self._policy.allows(actor, "get_world_info"):
            return None
        return live.info()

    async def settled(self, after: int | None, limit: int) -> tuple[AuditRow, ...]:
        """Return settled audit rows of all worlds by settlement, oldest first; without ``after`` the last one alone.

        For a feed that tells permitted readers what happens: no quota, no audit row, and not gated.
        """
        newest = after is None
        which = AuditFilter(after=after, limit=1 if newest else limit, oldest_first=not newest, by_settlement=True)
        found = await self._audit.read(GetHistory(which), None)
        assert isinstance(found, tuple)
        return found

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


def _check_command(given: object) -> None:
    """Raise ``TypeError`` for what is no command: it has no price, no name and no audit row."""
    if not isinstance(given, Command):
        hint = f": wrap it, Spawn(({type(given).__name__}(…),))" if isinstance(given, Component) else ""
        raise TypeError(f"a command is an object such as Spawn, Update or Despawn, not {given!r}{hint}")
