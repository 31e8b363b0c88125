"""Broken gates whose audit history is read wrongly; importing this registers them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gate_mutants import breaks
from reference_gate import ReferenceGate

from archetype_core import command as c


@breaks("G-307", machine=False)
class OverlappingPages(ReferenceGate):
    """A page starts with the last row of the page before."""

    async def execute(self, actor: c.ActorCtx, command: Any, world_id: str | None = None, **more: Any) -> Any:
        if isinstance(command, c.GetHistory) and command.filter.after is not None:
            step = -1 if command.filter.oldest_first else 1
            command = replace(command, filter=replace(command.filter, after=command.filter.after + step))
        return await super().execute(actor, command, world_id, **more)


@breaks("G-320", machine=False)
class SettledBySubmission(ReferenceGate):
    """Lists settled rows in the order in which they were submitted."""

    async def execute(self, actor: c.ActorCtx, command: Any, world_id: str | None = None, **more: Any) -> Any:
        is_by_settlement = isinstance(command, c.GetHistory) and command.filter.by_settlement
        if is_by_settlement:
            command = replace(command, filter=replace(command.filter, by_settlement=False))
        found = await super().execute(actor, command, world_id, **more)
        return tuple(row for row in found if row.status != "queued") if is_by_settlement else found
