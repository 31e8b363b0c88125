"""What a tick passes to its processors besides the frame."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from archetype_core.engine.arrays import Arrays
from archetype_core.engine.rng import Rng
from archetype_core.schema.message import Mailbox

if TYPE_CHECKING:
    import pyarrow as pa

    from archetype_core.engine.attempt import Attempt
    from archetype_core.engine.commands import Commands
    from archetype_core.engine.post import Post
    from archetype_core.engine.resource import Resources
    from archetype_core.engine.signature import Signature
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
    post: Post
    inputs: Mapping[str, Any]
    attempt: Attempt
    commands: Callable[[str], Commands]
    """Makes the commands of a table's processors."""
    loop: asyncio.AbstractEventLoop | None
    raise_early: Callable[[BaseException], None] | None = None
    """Raises the first failure in whoever waits for the tick, before all its threads have ended."""
    failure: BaseException | None = None
    is_traced: bool = False
    leaving: Mapping[Archetype, pa.Array] = field(default_factory=dict)
    """The ids of the entities that are despawned in this tick, by table."""
    running: set[Future[Any]] = field(default_factory=set)
    mailboxes: dict[tuple[Archetype, ...], Mailbox] = field(default_factory=dict)
    is_cancelled: bool = False
    _failing: threading.Lock = field(default_factory=threading.Lock)

    @property
    def base_values(self) -> dict[str, Any]:
        """The base columns of live rows besides their ids; the rows are those of the tick before."""
        return {"world_id": self.world_id, "run_id": self.run_id, "tick": self.tick - 1, "is_active": True}

    def mailbox(self, rows: Snapshot, members: tuple[Archetype, ...]) -> Mailbox:
        """The mailbox of the processors of some tables that share a frame, with the messages to its entities.

        Each frame has its own, so that the order of sent messages is deterministic.
        """
        found = self.mailboxes.get(members)
        if found is None:
            post = partial(self.attempt.send, rows.archetype.name)
            found = self.mailboxes[members] = Mailbox(self.post.to(members), rows.entity_ids, post)
        return found

    def arguments(
        self, processor: str, signature: Signature, rows: Snapshot, members: tuple[Archetype, ...]
    ) -> dict[str, Any]:
        """The keyword arguments for one call of a processor: only those that it names (T9).

        ``members`` are the tables whose rows these are.
        """
        accepts = signature.accepts
        if accepts is not None and not accepts:
            return {}
        offered: dict[str, Any] = {**self.inputs, "tick": self.tick, "resources": self.resources, "world": self.world}
        if signature.takes("arrays"):
            leaving = [self.leaving[member] for member in members if member in self.leaving] if self.leaving else ()
            offered["arrays"] = Arrays(rows, leaving)
        if signature.takes("messages"):
            offered["messages"] = self.mailbox(rows, members)
        if signature.takes("commands"):
            offered["commands"] = self.commands(rows.archetype.name)
        if signature.takes("rng"):
            offered["rng"] = Rng.of(self.seed, self.tick, processor, rows)
        return offered if accepts is None else {name: offered[name] for name in accepts & offered.keys()}

    @property
    def is_over(self) -> bool:
        """Whether the tick was cancelled or has failed, so that nothing more of it should run."""
        return self.is_cancelled or self.failure is not None

    def cancel(self) -> None:
        """Abandon the tick: cancel coroutines that still run; nothing is committed."""
        self.is_cancelled = True
        self._cancel_running()

    def fail(self, failure: BaseException) -> None:
        """End the attempt at its first failure: what awaits is cancelled, what runs in threads can stage nothing more.

        Whoever sees the failure may raise it, so the attempt has ended by then.
        """
        with self._failing:
            if self.is_over:
                return
            self.attempt.fail()
            self.failure = failure
        self._cancel_running()

    def _cancel_running(self) -> None:
        for future in tuple(self.running):
            future.cancel()
