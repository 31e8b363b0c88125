"""Commands that a gate stages at once, for the next tick of a world."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from archetype_core.clock import IdSource
from archetype_core.command import EntityCommand, Spawn, UpdateTable, UpdateWhere
from archetype_core.engine import current_attempt
from archetype_core.errors import AttemptOver, LedgerError, StaleTick
from archetype_gate.admission import Admission
from archetype_gate.audit_log import AuditLog
from archetype_gate.audit_text import failure_reason
from archetype_gate.call import Call
from archetype_gate.deduplicator import answered
from archetype_gate.held_command import CommandHolder
from archetype_gate.ledger import AcceptedCommand, AuditEntry

_NO_LOCK: AbstractContextManager[Any] = nullcontext()


class CommandStager:
    """Admits and stages commands. It never awaits, because hooks and processors call it inside a tick."""

    def __init__(self, admission: Admission, audit: AuditLog, holder: CommandHolder, ids: IdSource) -> None:
        self._admission = admission
        self._audit = audit
        self._holder = holder
        self._ids = ids

    def stage(self, call: Call, command: EntityCommand[Any], durable: bool) -> Any:
        """Admit a command and stage it; returns its result."""
        live = call.live
        if not call.runs_code:
            return self._stage(call, self._admit(call, command), durable)
        # What a table or a condition means is found out once: nothing may be staged until its changes are.
        is_kept = live is not None and isinstance(command, UpdateTable | UpdateWhere)
        with live.world.lock if live is not None and is_kept else _NO_LOCK:
            admitted = self._admit(call, command)
            count: int | None = None
            if isinstance(command, UpdateWhere) and isinstance(admitted, UpdateTable):
                count = admitted.data.num_rows
            result = self._stage(call, admitted, durable, count)
        return result if count is None else count

    def _admit(self, call: Call, command: EntityCommand[Any]) -> EntityCommand[Any]:
        (admitted,) = self._admission.admit(call, (command,))
        call.status = "failed"
        return admitted  # type: ignore[return-value]  # reason: a mutation stays one

    def _stage(self, call: Call, command: EntityCommand[Any], durable: bool, count: int | None = None) -> Any:
        live, usage = call.live, call.usage
        assert live is not None
        try:
            command_id = self._ids.new() if call.answer is None else call.answer.command_id
            keep = partial(self._keep, call, command, durable, count)
            return live.stage(command, command_id, keep, call.expected_tick, undo=call.answer is not None)
        except (AttemptOver, LedgerError, StaleTick) as failure:
            call.usage = usage
            self._admission.record_refusal(call, [command], failure)
            raise
        except Exception as failure:
            self._audit.record(call, [self._audit.entry(call, command, "failed", failure_reason(failure))])
            raise

    def _keep(
        self,
        call: Call,
        command: EntityCommand[Any],
        durable: bool,
        count: int | None,
        accepted: AcceptedCommand | None,
    ) -> None:
        """Record a command that is staged; ``None`` for one that changes nothing and so waits for no tick.

        ``count`` is its result, if that is the number of entities.
        """
        live = call.live
        assert live is not None
        call.status = "applied" if accepted is None else "queued"
        entry = self._audit.entry(call, command, call.status, "", accepted)
        attempt = current_attempt()
        if attempt is not None:
            is_durable = durable and accepted is not None
            held = self._holder.held(live, entry, partial(live.add_staged, accepted), is_durable=is_durable)
            self._holder.hold(attempt, [held])
            return
        if call.answer is not None:
            ids = range(0) if accepted is None else accepted.entity_ids
            result = ids.start if isinstance(command, Spawn) else ids or None
            self._write(call, entry, result if count is None else count)
        live.add_staged(accepted)
        if call.answer is None:
            live.backend.ledger.record((entry,))

    @staticmethod
    def _write(call: Call, entry: AuditEntry, result: Any) -> None:
        """Put a command with a key on disk, together with its result, before a tick can apply it."""
        live, answer = call.live, call.answer
        assert live is not None
        assert answer is not None
        ledger = live.backend.ledger
        entry.command_id, entry.answer = answer.command_id, answered(answer, result)
        ledger.record((entry,))
        try:
            ledger.sync()
        except BaseException:
            if ledger.withdraw([entry.command_id]):
                raise
