"""What a tick passes to its processors besides the frame."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from archetype_core.argument import nearest
from archetype_core.engine.processor import Slot
from archetype_core.schema.message import Mailbox

if TYPE_CHECKING:
    import numpy as np

    from archetype_core.engine.resource import Resources
    from archetype_core.schema.snapshot import Snapshot


@dataclass(slots=True)
class TickContext:
    """The state of one tick that processors can reach."""

    world_id: str
    run_id: str
    tick: int
    seed: int
    world: Any
    resources: Resources
    delivered: Snapshot | None
    inputs: Mapping[str, Any]
    loop: asyncio.AbstractEventLoop | None
    is_traced: bool = False
    running: set[Future[Any]] = field(default_factory=set)
    mailboxes: dict[str, Mailbox] = field(default_factory=dict)
    is_cancelled: bool = False

    def mailbox(self, table: str) -> Mailbox:
        """The mailbox of one table's processors. Each table has its own, so that the order of sent messages is deterministic."""
        found = self.mailboxes.get(table)
        if found is None:
            found = self.mailboxes[table] = Mailbox(self.delivered)
        return found

    def arguments(self, slot: Slot, table: str) -> dict[str, Any]:
        """The keyword arguments for one call of a processor: only those that it names (T9)."""
        accepts = slot.accepts
        if accepts is not None and not accepts:
            return {}
        offered: dict[str, Any] = {**self.inputs, "tick": self.tick, "resources": self.resources, "world": self.world}
        if slot.takes("messages"):
            offered["messages"] = self.mailbox(table)
        if slot.takes("rng"):
            offered["rng"] = self.rng(slot.name, table)
        return offered if accepts is None else {name: offered[name] for name in accepts & offered.keys()}

    def rng(self, processor: str, table: str) -> np.random.Generator:
        """A generator seeded by world seed, tick, processor and table, so that a replay draws the same numbers (T10)."""
        import numpy as np

        keys = (self.seed, self.tick, zlib.crc32(processor.encode()), zlib.crc32(table.encode()))
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(keys)))

    def cancel(self) -> None:
        """Abandon the tick: cancel coroutines that still run; nothing is committed."""
        self.is_cancelled = True
        for future in tuple(self.running):
            future.cancel()


RESERVED_ARGUMENTS = frozenset({"df", "tick", "resources", "world", "messages", "rng"})


def check_inputs(inputs: Mapping[str, Any], slots: Iterable[Slot]) -> None:
    """Raise ``TypeError`` for inputs of a step that the engine passes itself, or that no processor can take."""
    if taken := RESERVED_ARGUMENTS & inputs.keys():
        raise TypeError(f"{', '.join(sorted(taken))}: reserved, the engine passes these to processors itself")
    if any(slot.takes_any for slot in slots):
        return
    named = {name for slot in slots for name in slot.accepts or ()} - RESERVED_ARGUMENTS
    if odd := sorted(inputs.keys() - named):
        has = f"they name {', '.join(sorted(named))}" if named else "they name no input"
        raise TypeError(f"no processor takes the input {odd[0]!r}: {has}{nearest(odd[0], named)}")
