"""The gate itself: who may, how much, done or queued, and on record either way."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar, cast

from archetype_core.clock import Clock, IdSource
from archetype_core.command import (
    ActorCtx,
    AuditRow,
    CloseWorld,
    Command,
    DestroyWorld,
    EntityCommand,
    GetHistory,
    Spawn,
    SpawnTable,
    Status,
    Ticket,
    WorldInfo,
)
from archetype_core.engine import in_thread
from archetype_core.errors import (
    GateClosed,
    NotDeferrable,
    PermissionDenied,
    QuotaExceeded,
    ReentrantStep,
    WorldNotFound,
)
from archetype_core.schema import Component
from archetype_gate import telemetry, wire
from archetype_gate.dispatch import Dispatch
from archetype_gate.ledger import Accepted, Ledger, Note
from archetype_gate.live import LiveWorld, checked_due, told
from archetype_gate.policy import READS, Policy
from archetype_gate.quota import Meter, Usage
from archetype_gate.sqlite import SqliteLedger
from archetype_gate.storage import Backend, StorageService
from archetype_gate.summary import summary
from archetype_gate.timestamp import micros
from archetype_gate.worlds import WorldService

R = TypeVar("R")


@dataclass(slots=True)
class _Call:
    """One request on its way through the gate."""

    actor: ActorCtx
    world_id: str | None
    live: LiveWorld | None
    began: float
    at_us: int
    tick: int | None
    usage: Usage | None = None


class CommandService:
    """Authorizes, charges, carries out or queues, and puts on record. Holds the only way to a world there is."""

    def __init__(
        self,
        worlds: WorldService,
        storage: StorageService,
        dispatch: Dispatch,
        *,
        policy: Policy,
        meter: Meter,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._worlds = worlds
        self._storage = storage
        self._dispatch = dispatch
        self._policy = policy
        self._meter = meter
        self._clock = clock
        self._ids = ids
        self._lock = threading.Lock()
        self._homeless: list[Note] = []
        """Rows from before there was any ledger."""
        self._is_open = True
        self._under_way = _CallsUnderWay()

    def opened(self, backend: Backend) -> None:
        """Take up a backend: what actors used before counts, and rows that had no ledger have one now."""
        today = self._clock.now().date()
        if backend.ledger not in [one.ledger for one in self._storage.backends]:
            self._meter.recall(backend.ledger.used(today - timedelta(days=1)))
        with self._lock:
            homeless, self._homeless = self._homeless, []
        backend.ledger.note(homeless)

    # The door.

    async def execute(
        self, actor: ActorCtx, command: Command[R], world_id: str | None = None, *, durable: bool = False
    ) -> R:
        with telemetry.command_span(command.kind, world_id, actor) as span, self._under_way.call():
            status: Status = "rejected"
            call = self._begin(actor, world_id)
            try:
                self._admit(call, [command])
                status = "failed"
                if isinstance(command, EntityCommand):
                    answer = self._stage(call, command)
                    status = "queued"
                else:
                    answer = await self._carry_out(call, command)
                    status = "applied"
                if durable:
                    await self._durable(call)
            finally:
                telemetry.verdict(span, command.kind, status, time.perf_counter() - call.began)
            return cast("R", answer)

    def _begin(self, actor: object, world_id: str | None) -> _Call:
        if not self._is_open:
            raise GateClosed
        if not isinstance(actor, ActorCtx):
            raise TypeError(f"a command is sent by an ActorCtx, not by {actor!r}")
        live = self._worlds.find(world_id)
        tick = live.world.tick if live is not None else None
        return _Call(actor, world_id, live, time.perf_counter(), micros(self._clock.now()), tick)

    def _admit(self, call: _Call, commands: Sequence[Command[Any]]) -> None:
        """Let commands pass, all or none; refusals are on record and cost nothing."""
        try:
            for command in commands:
                if not self._policy.allows(call.actor, command.kind):
                    raise PermissionDenied(call.actor.id, call.actor.roles, command.kind or type(command).__name__)
            for command in commands:
                self._dispatch.check(command, call.world_id, call.live)
            reads = isinstance(commands[0], DestroyWorld | CloseWorld) or commands[0].kind in READS
            if call.live is not None and not reads:
                call.live.backend.ledger.check()
            day = self._clock.now().date()
            call.usage = self._meter.admit(call.actor, commands, day, call.world_id, call.tick or 0)
        except (PermissionDenied, QuotaExceeded, WorldNotFound, NotDeferrable, TypeError) as refusal:
            self._note(call, [self._noted(call, one, "rejected", told(refusal)) for one in commands])
            raise
        if call.usage is not None:
            telemetry.used(call.usage)

    def _stage(self, call: _Call, command: EntityCommand[Any]) -> Any:
        """Stage a mutation for the next tick. Never waits, so that hooks and processors may ask for it too."""
        live = call.live
        assert live is not None

        def record(accepted: Accepted) -> None:
            live.backend.ledger.note([self._noted(call, command, "queued", "", accepted)])

        try:
            return live.stage(wire.settled(command), self._ids.new(), record)
        except Exception as failure:
            self._note(call, [self._noted(call, command, "failed", told(failure))])
            raise

    async def _carry_out(self, call: _Call, command: Command[Any]) -> Any:
        try:
            answer = await self._dispatch.carry_out(command, call.world_id, call.live, self.history)
        except BaseException as failure:
            self._note(call, [self._noted(call, command, "failed", told(failure))])
            raise
        if isinstance(answer, WorldInfo) and call.world_id is None:
            # What made or opened a world belongs to its history.
            call.world_id, call.tick = answer.world_id, answer.tick
        self._note(call, [self._noted(call, command, "applied", "")])
        return answer

    # The queue.

    async def submit(
        self, actor: ActorCtx, command: EntityCommand[Any], world_id: str, *, tick: int | None = None, priority: int = 0
    ) -> Ticket:
        (ticket,) = await self.submit_batch(actor, [command], world_id, tick=tick, priority=priority)
        return ticket

    async def submit_spawn(
        self, actor: ActorCtx, world_id: str, *components: Component, tick: int | None = None, priority: int = 0
    ) -> int:
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
        if not commands:
            return ()
        kind = commands[0].kind if len(commands) == 1 else "batch"
        with telemetry.command_span(kind, world_id, actor) as span, self._under_way.call():
            status: Status = "rejected"
            call = self._begin(actor, world_id)
            try:
                tickets = await self._submit(call, commands, tick, priority)
                status = "queued"
            finally:
                telemetry.verdict(span, kind, status, time.perf_counter() - call.began)
            return tickets

    async def _submit(
        self, call: _Call, commands: Sequence[EntityCommand[Any]], tick: int | None, priority: int
    ) -> tuple[Ticket, ...]:
        for command in commands:
            if not command.is_deferrable:
                refusal = NotDeferrable(command.kind)
                self._note(call, [self._noted(call, one, "rejected", told(refusal)) for one in commands])
                raise refusal
        self._admit(call, commands)
        live = call.live
        assert live is not None
        try:
            due = checked_due(tick, priority, live.world.tick)
            commands = [wire.settled(one) for one in commands]
            accepted = self._accept(live, commands, due, priority)
        except Exception as failure:
            self._refuse(call, commands, failure)
            raise
        ledger = live.backend.ledger
        ids = [one.command_id for one in accepted]

        def settle() -> None:
            ledger.note(
                [self._noted(call, command, "queued", "", one) for command, one in zip(commands, accepted, strict=True)]
            )
            try:
                ledger.sync()
            except BaseException:
                if ledger.withdraw(ids):
                    raise
            # In the thread, since whoever asked may have given up by now, and it is accepted all the same.
            for one, command in zip(accepted, commands, strict=True):
                live.enqueue(one, command)

        try:
            await in_thread(settle)
        except Exception as failure:
            self._refuse(call, commands, failure)
            raise
        return tuple(Ticket(one.command_id, one.entity_ids) for one in accepted)

    def _refuse(self, call: _Call, commands: Sequence[Command[Any]], failure: Exception) -> None:
        """Put on record that commands were admitted and then refused, and take back what they cost."""
        if call.usage is not None:
            self._meter.refund(call.usage)
            call.usage = None
        self._note(call, [self._noted(call, one, "rejected", told(failure)) for one in commands])

    def _accept(
        self,
        live: LiveWorld,
        commands: Sequence[EntityCommand[Any]],
        due: int,
        priority: int,
    ) -> list[Accepted]:
        """Commands as they are kept until a tick takes them; refuses values that cannot be."""
        payloads = [wire.deferred(one) for one in commands]
        return [
            Accepted(self._ids.new(), live.world_id, type(one).__name__, payload, ids, due, priority)
            for one, payload, ids in zip(commands, payloads, live.reserve(commands), strict=True)
        ]

    # The record.

    def _noted(
        self, call: _Call, command: Command[Any], status: Status, reason: str, accepted: Accepted | None = None
    ) -> Note:
        def payload() -> str:
            if accepted is not None and not isinstance(command, SpawnTable):
                return summary(accepted.payload().decode())
            return _described(command)

        usage, call.usage = call.usage, None
        return Note(
            command_id=accepted.command_id if accepted is not None else self._ids.new(),
            world_id=call.world_id or "",
            actor=call.actor.id,
            roles=tuple(sorted(call.actor.roles)),
            type=command.kind or type(command).__name__,
            payload=payload,
            status=status,
            at_us=call.at_us,
            tick=call.tick,
            reason=reason,
            duration_us=0 if status == "queued" else round((time.perf_counter() - call.began) * 1e6),
            accepted=accepted,
            usage=usage,
        )

    def _note(self, call: _Call, notes: list[Note]) -> None:
        ledger = self._ledger(call.world_id)
        if ledger is not None:
            ledger.note(notes)
            return
        with self._lock:
            self._homeless.extend(notes)

    def _ledger(self, world_id: str | None) -> Ledger | None:
        """Where the rows of a world go; those of no world, or an unknown one, go to the first ledger there is."""
        home = self._worlds.home(world_id)
        if home is None:
            home = next(iter(self._storage.backends), None)
        return home.ledger if home is not None else None

    async def history(self, command: GetHistory, world_id: str | None) -> tuple[AuditRow, ...]:
        """Audit rows of a world, or of the first ledger there is."""
        which = command.filter if world_id is None else replace(command.filter, world_id=world_id)
        ledger = self._ledger(which.world_id)

        def read() -> tuple[AuditRow, ...]:
            if ledger is not None:
                return ledger.history(which)
            alone = SqliteLedger(None)
            try:
                alone.note(list(self._homeless))
                return alone.history(which)
            finally:
                alone.close()

        return await in_thread(read)

    async def _durable(self, call: _Call) -> None:
        ledger = self._ledger(call.world_id)
        if ledger is not None:
            await in_thread(ledger.sync)

    def peek(self, actor: ActorCtx, world_id: str) -> WorldInfo | None:
        live = self._worlds.find(world_id)
        if live is None or not self._policy.allows(actor, "get_world_info"):
            return None
        return live.info()

    async def flush(self) -> None:
        for backend in self._storage.backends:
            await in_thread(backend.ledger.sync)

    def check_outside(self) -> None:
        """Refuse to close from inside a call, which would have to wait for itself."""
        if self._under_way.is_inside:
            busy = next((one.world for one in self._worlds.live), None)
            remedy = "close the gate from outside, when the call is over"
            raise ReentrantStep(busy.name if busy else "?", busy.tick if busy else 0, remedy)

    async def close(self) -> None:
        self.check_outside()
        self._is_open = False
        failures = await self._worlds.close_all()
        await in_thread(self._under_way.wait)
        try:
            await self._storage.close()
        except ExceptionGroup as group:
            failures.extend(group.exceptions)
        if failures:
            raise ExceptionGroup("closing the gate failed in places; everything else is closed", failures)


# The calls that the current context is part of.
_inside: contextvars.ContextVar[frozenset[object]] = contextvars.ContextVar("archetype_gate_calls", default=frozenset())


class _CallsUnderWay:
    """The calls that have not answered yet, so that a gate keeps its ledgers open for them."""

    def __init__(self) -> None:
        self._open: set[object] = set()
        self._is_awaited = False
        self._changed = threading.Condition(threading.Lock())

    @property
    def is_inside(self) -> bool:
        """Whether the caller is part of a call that is under way."""
        return not self._open.isdisjoint(_inside.get())

    def call(self) -> _UnderWay:
        """Count a call for as long as the block lasts."""
        return _UnderWay(self)

    def begin(self, token: object) -> None:
        with self._changed:
            self._open.add(token)

    def end(self, token: object) -> None:
        with self._changed:
            self._open.discard(token)
            if self._is_awaited and not self._open:
                self._changed.notify_all()

    def wait(self) -> None:
        """Wait until no call is under way."""
        with self._changed:
            self._is_awaited = True
            self._changed.wait_for(lambda: not self._open)


class _UnderWay:
    """One call; a class and not a generator, since every command passes here."""

    __slots__ = ("_calls", "_reset")

    def __init__(self, calls: _CallsUnderWay) -> None:
        self._calls = calls

    def __enter__(self) -> None:
        self._calls.begin(self)
        self._reset = _inside.set(_inside.get() | {self})

    def __exit__(self, *failure: object) -> None:
        _inside.reset(self._reset)
        self._calls.end(self)


def _described(command: Command[Any]) -> str:
    try:
        return summary(wire.text(command.describe()))
    # A refused command may be anything at all; its row is written all the same.
    except Exception as failure:  # noqa: BLE001  # reason: told in the row
        return wire.text({"unreadable": told(failure)})
