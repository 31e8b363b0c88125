"""What a call asks beside its command: the tick that it is for, and to be done once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from archetype_core.engine import in_thread
from archetype_gate.live_world import LiveWorld, mutations_of


@dataclass(frozen=True, slots=True)
class Once:
    """A command with an idempotency key, as far as ticks are concerned."""

    command_id: str
    """Part of the commit of every tick that it makes."""
    tick: int
    """The next tick of its world when it was sent for the first time."""
    is_resumed: bool
    """Whether it was sent before, and has no result yet."""


@dataclass(frozen=True, slots=True)
class Terms:
    """Under which terms a command is executed."""

    expected_tick: int | None = None
    once: Once | None = None
    maker: str = ""
    """Whose world it is that the command makes, if the actor has worlds of its own."""

    @property
    def is_resumed(self) -> bool:
        """Whether the command was sent before, and has no result yet."""
        return self.once is not None and self.once.is_resumed

    @property
    def applied(self) -> tuple[str, ...]:
        """The ids that the commits of its ticks have."""
        return () if self.once is None else (self.once.command_id,)

    def after_first(self) -> Terms:
        """The terms once the command has made a tick: others may make some in between."""
        return self if self.expected_tick is None else replace(self, expected_tick=None)


FREE = Terms()
"""No terms."""


@dataclass(frozen=True, slots=True)
class MadeTick:
    """A tick that a command made in an earlier call."""

    tick: int
    run_id: str
    applied: int


async def made_before(live: LiveWorld, terms: Terms) -> list[MadeTick]:
    """Return the ticks that a command made in earlier calls with its key, oldest first; reads each tick since then."""
    once = terms.once
    if once is None or not once.is_resumed:
        return []
    # A tick in doubt may be one of them.
    await live.world.adopt(live.settle_applied)
    return await in_thread(lambda: list(_made(live, once)))


def _made(live: LiveWorld, once: Once) -> Iterable[MadeTick]:
    timeline, world_id = live.world.timeline(), live.world_id
    for span in timeline.own(world_id).spans if timeline is not None else ():
        for tick in range(max(span.first, once.tick), span.last + 1):
            applied = live.backend.store.head(world_id, at=tick).applied
            if once.command_id in applied:
                yield MadeTick(tick, span.segment.run_id, len(mutations_of(applied)))
