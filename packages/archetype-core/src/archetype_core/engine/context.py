"""What a tick hands to its processors, beside the frame."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from archetype_core.engine.processor import Slot
from archetype_core.schema.message import Mailbox

if TYPE_CHECKING:
    import numpy as np

    from archetype_core.engine.resource import Resources
    from archetype_core.schema.snapshot import Snapshot


@dataclass(slots=True)
class TickContext:
    """One tick as processors see it."""

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
        """The mailbox of one table's processors; each table has its own, so that what they send has an order."""
        found = self.mailboxes.get(table)
        if found is None:
            found = self.mailboxes[table] = Mailbox(self.delivered)
        return found

    def arguments(self, slot: Slot, table: str) -> dict[str, Any]:
        """The keyword arguments for one call of a processor: of all there are, those that it names (T9)."""
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
        """A generator that depends on nothing but world seed, tick, processor and table, so replays repeat it (T10)."""
        import numpy as np

        keys = (self.seed, self.tick, zlib.crc32(processor.encode()), zlib.crc32(table.encode()))
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(keys)))

    def cancel(self) -> None:
        """Give the tick up: what awaits is cancelled, and nothing is committed."""
        self.is_cancelled = True
        for future in tuple(self.running):
            future.cancel()


RESERVED_ARGUMENTS = frozenset({"df", "tick", "resources", "world", "messages", "rng"})
