"""What a tick passes to its processors besides the frame."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from archetype_core.argument import nearest
from archetype_core.engine.processor import Slot
from archetype_core.schema.message import Mailbox

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from archetype_core.engine.attempt import Attempt
    from archetype_core.engine.commands import Commands
    from archetype_core.engine.resource import Resources
    from archetype_core.schema.archetype import Archetype
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
    attempt: Attempt
    commands: Callable[[str], Commands]
    """Makes the commands of a table's processors."""
    loop: asyncio.AbstractEventLoop | None
    leaving: Mapping[Archetype, pa.Array] = field(default_factory=dict)
    """The entities that this tick despawns, by table."""
    raise_early: Callable[[BaseException], None] | None = None
    """Raises the first failure in whoever waits for the tick, before all its threads have ended."""
    failure: BaseException | None = None
    is_traced: bool = False
    running: set[Future[Any]] = field(default_factory=set)
    mailboxes: dict[str, Mailbox] = field(default_factory=dict)
    is_cancelled: bool = False

    def mailbox(self, table: str) -> Mailbox:
        """The mailbox of one table's processors. Each table has its own, so that the order of sent messages is deterministic."""
        found = self.mailboxes.get(table)
        if found is None:
            found = self.mailboxes[table] = Mailbox(self.delivered, partial(self.attempt.send, table))
        return found

    def arguments(self, slot: Slot, table: str) -> dict[str, Any]:
        """The keyword arguments for one call of a processor: only those that it names (T9)."""
        accepts = slot.accepts
        if accepts is not None and not accepts:
            return {}
        offered: dict[str, Any] = {**self.inputs, "tick": self.tick, "resources": self.resources, "world": self.world}
        if slot.takes("messages"):
            offered["messages"] = self.mailbox(table)
        if slot.takes("commands"):
            offered["commands"] = self.commands(table)
        if slot.takes("rng"):
            offered["rng"] = self.rng(slot.name, table)
        return offered if accepts is None else {name: offered[name] for name in accepts & offered.keys()}

    def rng(self, processor: str, table: str) -> np.random.Generator:
        """A generator seeded by world seed, tick, processor and table, so that a replay draws the same numbers (T10)."""
        import numpy as np

        keys = (self.seed, self.tick, zlib.crc32(processor.encode()), zlib.crc32(table.encode()))
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(keys)))

    @property
    def is_over(self) -> bool:
        """Whether the tick was cancelled or has failed, so that nothing more of it should run."""
        return self.is_cancelled or self.failure is not None

    def cancel(self) -> None:
        """Abandon the tick: cancel coroutines that still run; nothing is committed."""
        self.is_cancelled = True
        self._cancel_running()

    def fail(self, failure: BaseException) -> None:
        """End the attempt at its first failure: what awaits is cancelled, what runs in threads can stage nothing more."""
        if self.is_over:
            return
        self.failure = failure
        self.attempt.fail()
        self._cancel_running()

    def _cancel_running(self) -> None:
        for future in tuple(self.running):
            future.cancel()


RESERVED_ARGUMENTS = frozenset({"df", "tick", "resources", "world", "messages", "rng", "commands", "arrays"})


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
