"""Commands that a gate queues for a later tick of a world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from archetype_core.clock import IdSource
from archetype_core.command import EntityCommand, Ticket
from archetype_core.engine import Attempt, current_attempt, in_thread
from archetype_core.errors import NotDeferrable
from archetype_gate import command_codec
from archetype_gate.admission import Admission
from archetype_gate.audit_log import AuditLog
from archetype_gate.call import Call
from archetype_gate.deduplicator import answered
from archetype_gate.held_command import CommandHolder
from archetype_gate.large_call import in_turn, is_large
from archetype_gate.ledger import AcceptedCommand
from archetype_gate.live_world import LiveWorld, due_tick
from archetype_gate.quota import Usage


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


class CommandQueuer:
    """Admits commands and queues them, all or none; they are on disk, or held for an attempt, when it is done."""

    def __init__(self, admission: Admission, audit: AuditLog, holder: CommandHolder, ids: IdSource) -> None:
        self._admission = admission
        self._audit = audit
        self._holder = holder
        self._ids = ids

    async def queue(
        self, call: Call, commands: Sequence[EntityCommand[Any]], tick: int | None, priority: int
    ) -> tuple[Ticket, ...]:
        """Queue commands for the first tick that is not before ``tick``."""
        for command in commands:
            if not command.is_deferrable:
                refusal = NotDeferrable(command.kind)
                self._admission.record_refusal(call, commands, refusal)
                raise refusal
        large = is_large(commands, call.live)
        queued = await in_turn(call.live, large, partial(self._queue, call, commands, tick, priority, large))
        live, attempt = queued.live, queued.attempt
        if attempt is None and not large:
            await in_thread(partial(self._write, call, queued))
        elif attempt is not None and attempt.status == "committed":
            # It was committed meanwhile, so nobody else writes them before this returns.
            await in_thread(live.backend.ledger.sync)
        return _tickets(queued)

    def _queue(
        self, call: Call, commands: Sequence[EntityCommand[Any]], tick: int | None, priority: int, is_written: bool
    ) -> _Queued:
        """Admit commands and assign their entity ids; hold them for the caller's attempt, or write them if that is wanted."""
        admitted = cast("list[EntityCommand[Any]]", self._admission.admit(call, commands, is_queued=True))
        live, usage = call.live, call.usage
        assert live is not None
        try:
            attempt = current_attempt()
            # What a tick sends to its own world waits for the tick after it.
            is_own = attempt is not None and attempt.world_id == live.world_id
            due = due_tick(tick, priority, live.world.tick + is_own)
            queued = _Queued(live, admitted, self._accept(call, admitted, due, priority), attempt, usage)
            if attempt is not None:
                self._hold(attempt, call, queued)
        except Exception as failure:
            call.usage = usage
            self._admission.record_refusal(call, commands, failure)
            raise
        if attempt is None and is_written:
            self._write(call, queued)
        return queued

    def _accept(
        self, call: Call, commands: Sequence[EntityCommand[Any]], due: int, priority: int
    ) -> list[AcceptedCommand]:
        """Encode commands and assign their entity ids; ``ValueRejected`` for one that cannot be encoded."""
        live, answer = call.live, call.answer
        assert live is not None
        payloads = [command_codec.checked_encoding(one) for one in commands]
        first = self._ids.new() if answer is None else answer.command_id
        names = (first, *(self._ids.new() for _ in commands[1:]))
        return [
            AcceptedCommand(name, live.world_id, type(one).__name__, payload, ids, due, priority)
            for name, one, payload, ids in zip(names, commands, payloads, live.assign_ids(commands), strict=True)
        ]

    def _hold(self, attempt: Attempt, call: Call, queued: _Queued) -> None:
        """Queue commands once the attempt that they were sent from is committed."""
        self._holder.hold(
            attempt,
            [
                self._holder.held(
                    queued.live,
                    self._audit.entry(call, command, "queued", "", one),
                    partial(queued.live.enqueue, one, command),
                    is_durable=True,
                )
                for command, one in zip(queued.commands, queued.accepted, strict=True)
            ],
        )

    def _write(self, call: Call, queued: _Queued) -> None:
        try:
            self._write_queued(call, queued)
        except Exception as failure:
            call.usage = queued.usage
            self._admission.record_refusal(call, queued.commands, failure)
            raise

    def _write_queued(self, call: Call, queued: _Queued) -> None:
        """Put commands on disk and queue them, in one thread: the caller may be cancelled once they are accepted."""
        ledger = queued.live.backend.ledger
        pairs = list(zip(queued.commands, queued.accepted, strict=True))
        entries = [self._audit.entry(call, command, "queued", "", one) for command, one in pairs]
        if call.answer is not None:
            entries[0].answer = answered(call.answer, _tickets(queued))
        ledger.record(entries)
        try:
            ledger.sync()
        except BaseException:
            if ledger.withdraw([one.command_id for one in queued.accepted]):
                raise
        for command, one in pairs:
            queued.live.enqueue(one, command)


def _tickets(queued: _Queued) -> tuple[Ticket, ...]:
    return tuple(Ticket(one.command_id, one.entity_ids) for one in queued.accepted)
