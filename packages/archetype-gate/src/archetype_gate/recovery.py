"""Settles and restores a world's accepted commands when the world is opened, by what its committed ticks applied."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from archetype_core.command import Custom, EntityCommand
from archetype_gate import command_codec
from archetype_gate.ledger import AcceptedCommand, AuditEntry, LedgerWorld, Settlement
from archetype_gate.live_world import LiveWorld, mutations_of


class CommandRecovery:
    """Recovers the commands of one world. The commits decide what was applied; the ledger has all that was accepted."""

    def __init__(self, live: LiveWorld, entry: LedgerWorld | None, now_us: int) -> None:
        self._live = live
        self._entry = entry
        self._now_us = now_us

    def run(self) -> None:
        """Settle the commands that a tick applied, and stage or queue the others again in their old order.

        ``PayloadError`` if a component of a waiting command is not defined in this process; no command is lost then.
        """
        live, now = self._live, self._now_us
        ledger, world = live.backend.ledger, live.world
        waiting = {one.command_id: one for one in ledger.waiting_commands(live.world_id)}
        applied = self.applied_commands()
        # What the processors of the last tick sent is part of its commit, so it is staged already.
        staged = set(world.committed_commands)
        unknown = [one for one in (*applied, *staged) if one not in waiting]
        recorded = ledger.recorded_ids(unknown) if unknown else set()
        ledger.record([self._lost_entry(one, applied.get(one)) for one in unknown if one not in recorded])
        settled = [one for one in waiting if one in applied]
        ledger.settle([Settlement(one, live.world_id, "applied", now, applied[one]) for one in settled])
        ledger.settle_tick(live.world_id, world.tick - 1)
        for one in waiting.keys() & staged:
            live.add_staged(waiting[one])
        rest = [one for one in waiting.values() if one.command_id not in applied and one.command_id not in staged]
        world.claim(self._first_free_id(waiting.values()), [one.entity_ids for one in rest])
        # All are decoded before the first is staged, so that an undefined component leaves the world unchanged.
        commands = [command_codec.decode(one.class_name, one.payload()) for one in rest]
        can_stage = True
        for accepted, command, was_staged in _in_order(zip(rest, commands, strict=True), world.tick):
            # The handler of a custom command is not added yet. That command and the direct ones after it keep their
            # order by waiting for the next tick.
            can_stage = can_stage and not (was_staged and isinstance(command, Custom))
            if was_staged and can_stage:
                live.stage_accepted(accepted, command, world.tick)
            else:
                live.enqueue(accepted, command)

    def _first_free_id(self, waiting: Iterable[AcceptedCommand]) -> int:
        """The first id that no caller can know: of the reserved block, or after it."""
        entry, ledger = self._entry, self._live.backend.ledger
        if entry is not None and not ledger.may_reuse_ids(self._live.world_id):
            return entry.reserved_to
        return max((one.entity_ids.stop for one in waiting), default=1)

    def applied_commands(self) -> dict[str, int]:
        """Return the ids of the commands that ticks after the last settled one applied, with their ticks."""
        live, entry = self._live, self._entry
        applied: dict[str, int] = {}
        if entry is None:
            return applied
        timeline = live.world.timeline()
        spans = timeline.own(live.world_id).spans if timeline else ()
        for span in spans:
            for tick in range(max(span.first, entry.settled_tick + 1), span.last + 1):
                found = live.backend.store.head(live.world_id, at=tick).applied
                applied.update(dict.fromkeys(mutations_of(found), tick))
        return applied

    def _lost_entry(self, command_id: str, tick: int | None) -> AuditEntry:
        """The row of a command whose own row was lost in a crash; without a tick, the next one applies it."""
        done = "its tick recorded that it was applied" if tick is not None else "the tick that sent it has it"
        return AuditEntry(
            command_id=command_id,
            world_id=self._live.world_id,
            actor="unknown",
            roles=(),
            type="unknown",
            payload="{}",
            status="applied" if tick is not None else "queued",
            at_us=self._now_us,
            tick=tick,
            reason=f"a crash lost this command's row; {done}",
        )


Waiting = tuple[AcceptedCommand, EntityCommand[Any]]


def _in_order(waiting: Iterable[Waiting], tick: int) -> list[tuple[AcceptedCommand, EntityCommand[Any], bool]]:
    """Commands in the order they were staged, then those that only wait; ``waiting`` is in the order of acceptance.

    An attempt stages every queued command that is due. If it fails, direct commands may build on these, so those that are
    followed by a direct command are staged before it.
    """
    staged: list[Waiting] = []
    queued: list[Waiting] = []
    early = 0
    for accepted, command in waiting:
        if not accepted.is_direct:
            queued.append((accepted, command))
            continue
        if accepted.due == tick and accepted.priority > early:
            due = [one for one in queued if one[0].due <= tick][: accepted.priority - early]
            early += len(due)
            taken = {one[0].command_id for one in due}
            queued = [one for one in queued if one[0].command_id not in taken]
            staged += sorted(due, key=lambda one: (one[0].due, one[0].priority))
        staged.append((accepted, command))
    return [(*one, True) for one in staged] + [(*one, False) for one in queued]
