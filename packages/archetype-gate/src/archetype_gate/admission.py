"""What a gate asks before it does anything: may this actor do that, does the command make sense, and can it pay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from archetype_core.argument import is_count
from archetype_core.command import (
    ADMIN,
    CloseWorld,
    Command,
    DestroyWorld,
    EntityCommand,
    ForkWorld,
    GetUsage,
    Run,
    RunEpisode,
    Step,
)
from archetype_core.engine import current_attempt
from archetype_core.errors import ArchetypeError, PermissionDenied
from archetype_gate import telemetry
from archetype_gate.audit_log import AuditLog
from archetype_gate.audit_text import failure_reason
from archetype_gate.call import Call
from archetype_gate.dispatcher import CommandDispatcher
from archetype_gate.policy import PROCESS_KINDS, VIEWER_KINDS, Policy
from archetype_gate.quota import QuotaMeter
from archetype_gate.sight import Sight

TICKING = (Step, Run, RunEpisode)
"""Commands that wait for their turn, and make ticks then."""
_ENDINGS = (DestroyWorld, CloseWorld)
_UNSTORED_KINDS = VIEWER_KINDS | PROCESS_KINDS


class Admission:
    """Authorizes commands, checks their arguments and charges for them; a refusal is on record and costs nothing."""

    def __init__(
        self, policy: Policy, sight: Sight, dispatcher: CommandDispatcher, meter: QuotaMeter, audit: AuditLog
    ) -> None:
        self._policy = policy
        self._sight = sight
        self._dispatcher = dispatcher
        self._meter = meter
        self._audit = audit

    def admit(self, call: Call, commands: Sequence[Command[Any]], *, is_queued: bool = False) -> Sequence[Command[Any]]:
        """Admit commands, all or none; records a refusal and raises it.

        Returns the commands to apply: mutations with arguments of their own, and ids in place of conditions.
        """
        live = call.live
        try:
            self._check(call, commands)
            _check_expected(call, commands[0])
            if isinstance(commands[0], EntityCommand):
                # Raises if the caller is part of an attempt that has failed.
                current_attempt()
            if is_queued and live is not None:
                admitted: Sequence[Command[Any]] = live.queueable(
                    cast("Sequence[EntityCommand[Any]]", commands), call.expected_tick
                )
            else:
                admitted = [_resolved(one, call) for one in commands] if call.runs_code else commands
            call.usage = self._meter.charge(call.actor, admitted, call.world_id, call.tick or 0)
        except (ArchetypeError, TypeError, ValueError) as refusal:
            self.record_refusal(call, commands, refusal)
            raise
        if call.usage is not None:
            telemetry.count_usage(call.usage)
        return admitted

    def foresee(self, call: Call, command: Command[Any]) -> None:
        """Check whether a command would be refused now; records that and raises it. Nothing is charged."""
        try:
            self._check(call, (command,))
            if call.live is not None and call.expected_tick is not None:
                call.live.expect(call.expected_tick)
        except (ArchetypeError, TypeError, ValueError) as refusal:
            self.record_refusal(call, (command,), refusal)
            raise

    def _check(self, call: Call, commands: Sequence[Command[Any]]) -> None:
        for command in commands:
            self._authorize(call, command)
        self._sight.check(call, commands)
        for command in commands:
            self._dispatcher.check(command, call.world_id, call.live)
        if call.live is not None:
            _check_writable(call, commands[0])

    def authorize(self, call: Call, commands: Sequence[Command[Any]]) -> None:
        """Check what the actor's roles allow, all or none, before anything is looked up; records a refusal and raises it."""
        try:
            for command in commands:
                self._authorize(call, command)
        except PermissionDenied as refusal:
            self.record_refusal(call, commands, refusal)
            raise

    def _authorize(self, call: Call, command: Command[Any]) -> None:
        actor = call.actor
        if not self._policy.allows(actor, command.kind):
            raise PermissionDenied(actor.id, actor.roles, command.kind or type(command).__name__)
        if isinstance(command, GetUsage) and command.actor not in (None, actor.id) and ADMIN not in actor.roles:
            raise PermissionDenied(actor.id, actor.roles, f"{command.kind} of another actor")

    def record_refusal(self, call: Call, commands: Sequence[Command[Any]], refusal: Exception) -> None:
        """Record that commands were refused; what they were charged is given back."""
        if call.usage is not None:
            self._meter.refund(call.usage)
            call.usage = None
        reason = failure_reason(refusal)
        self._audit.record(call, [self._audit.entry(call, one, "rejected", reason) for one in commands])


def _check_writable(call: Call, command: Command[Any]) -> None:
    """Raise if the command would change what cannot be written now."""
    kind, live = command.kind, call.live
    assert live is not None
    # A fork into another storage only reads the world's own.
    is_stored = kind not in _UNSTORED_KINDS and not (isinstance(command, ForkWorld) and command.storage is not None)
    if is_stored:
        live.backend.check_writable()
    if kind not in VIEWER_KINDS and not isinstance(command, _ENDINGS):
        live.backend.ledger.check_writable()


def _check_expected(call: Call, command: Command[Any]) -> None:
    """Raise ``StaleTick`` if the call expects another tick; what makes, stages or ends a tick asks again when it does so."""
    expected = call.expected_tick
    if expected is None:
        return
    if not is_count(expected):
        raise ValueError(f"expected_tick is the number of a tick, 0 or more, not {expected!r}")
    if call.world_id is None:
        raise TypeError(f"{command.kind} is for no world, so it has no expected_tick: leave it out")
    if call.live is not None and not isinstance(command, TICKING):
        call.live.expect(expected)


def _resolved(command: Command[Any], call: Call) -> Command[Any]:
    if isinstance(command, GetUsage) and command.actor is None:
        return GetUsage(call.actor.id)
    live = call.live
    return live.resolved(command) if live is not None and isinstance(command, EntityCommand) else command
