"""Gates that break a promise about mutations of many entities, or of none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from gate_mutants import breaks
from reference_gate import ReferenceGate
from reference_ledger import Waiting
from reference_worlds import LiveWorld

from archetype_core import command as c
from archetype_core.engine import is_condition

MANY = (c.Update, c.UpdateTable, c.UpdateWhere, c.Despawn, c.AddComponents, c.RemoveComponents)


@breaks("G-551", machine=True)
class StagesNoOps(ReferenceGate):
    """A command that changes nothing is staged all the same."""

    def put(self, live: LiveWorld, waiting: Waiting, *, is_skippable: bool = False) -> None:
        super().put(live, waiting)


class Misunderstands(ReferenceGate):
    """A gate that changes a command before it is executed or queued."""

    def misunderstood(self, live: LiveWorld, command: Any) -> Any:
        """The other command; each gate below changes its own kind."""
        return command

    def admit(
        self, actor: c.ActorCtx, commands: Sequence[c.Command[Any]], world_id: str | None, **how: Any
    ) -> LiveWorld | None:
        live = self.live.get(str(world_id))
        changed = [self.misunderstood(live, one) if live else one for one in commands]
        return super().admit(actor, changed, world_id, **how)

    def check_queued(self, live: LiveWorld, commands: Sequence[c.Command[Any]]) -> None:
        super().check_queued(live, [self.misunderstood(live, one) for one in commands])

    def meant(self, live: LiveWorld, command: Any) -> Any:
        return super().meant(live, self.misunderstood(live, command))


@breaks("G-552", machine=False)
class ArraysAreOneShort(Misunderstands):
    """Of a numpy array the last entity is lost."""

    def misunderstood(self, live: LiveWorld, command: Any) -> Any:
        entities = getattr(command, "entities", None)
        return replace(command, entities=entities[:-1]) if isinstance(entities, np.ndarray) else command


@breaks("G-553", machine=False)
class ReadsConditionsLate(ReferenceGate):
    """A condition is evaluated when the command is applied."""

    def meant(self, live: LiveWorld, command: Any) -> Any:
        return command if is_condition(getattr(command, "entities", None)) else super().meant(live, command)


@breaks("G-554", machine=False)
class WritesByPosition(Misunderstands):
    """Columns of an update are named in the order of their names."""

    def misunderstood(self, live: LiveWorld, command: Any) -> Any:
        if not isinstance(command, c.UpdateTable) or not isinstance(command.data, Mapping):
            return command
        columns = {str(getattr(name, "name", lambda name=name: name)()): name for name in command.data}
        ordered = [columns[name] for name in sorted(columns)]
        return replace(command, data=dict(zip(ordered, command.data.values(), strict=True)))


@breaks("G-555", machine=False)
class FirstRowCounts(Misunderstands):
    """Of several rows for one entity the first one counts."""

    def misunderstood(self, live: LiveWorld, command: Any) -> Any:
        if (
            not isinstance(command, c.UpdateTable)
            or not isinstance(command.data, Mapping)
            or command.entities is not None
        ):
            return command
        reverse = {name: one[::-1] if isinstance(one, list) else one for name, one in command.data.items()}
        return replace(command, data=reverse)


@breaks("G-556", machine=False)
class SkipsUnknownEntities(Misunderstands):
    """An unknown entity among several is skipped."""

    def misunderstood(self, live: LiveWorld, command: Any) -> Any:
        # Its type says nothing of its fields, which differ among these.
        known: Any = command
        entities = getattr(command, "entities", None)
        if not isinstance(entities, list) or not isinstance(command, MANY):
            return command
        return replace(known, entities=[one for one in entities if one in live.world])


@breaks("G-557", machine=False)
class OneRowEach(ReferenceGate):
    """A command for many entities leaves an audit row for each of them."""

    def enter(self, actor: c.ActorCtx, command: c.Command[Any], *args: Any, **named: Any) -> c.AuditRow:
        again = command.weight - 1 if isinstance(command, MANY) else 0
        for _ in range(again):
            super().enter(actor, command, *args, **{**named, "command_id": ""})
        return super().enter(actor, command, *args, **named)


@breaks("G-558", machine=False)
class ManyForThePriceOfOne(ReferenceGate):
    """A command for many entities costs as much as one for one entity."""

    def price(self, commands: Sequence[c.Command[Any]]) -> int:
        once = [one for one in commands if isinstance(one, MANY)]
        others = [one for one in commands if not isinstance(one, MANY)]
        return super().price(others) + sum(self.limits.costs.get(one.kind, 1) for one in once)


@breaks("G-559", machine=False)
class ForgetsQueuedTables(ReferenceGate):
    """An update with a table that waits in the queue is lost when the gate is reopened."""

    def restage(self, live: LiveWorld) -> None:
        live.known.queue = [one for one in live.known.queue if not isinstance(one.command, c.UpdateTable)]
        super().restage(live)
