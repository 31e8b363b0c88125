"""What a gate must not forget, as a port: worlds, accepted commands, audit rows, what was used of quotas, ids given out.

Verbs block and may be called from any thread, like those of a store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from archetype_core.command import AuditFilter, AuditRow, Status
from archetype_core.store import Segment
from archetype_gate.quota import Usage


@dataclass(frozen=True, slots=True)
class Accepted:
    """A command that waits for a tick: everything that is needed to apply it in another process."""

    command_id: str
    world_id: str
    form: str
    """The name of its class."""
    payload: Callable[[], bytes]
    """Its data, written down when it is needed: most commands are applied before they are written."""
    entity_ids: range
    """The ids that it spawns."""
    due: int = 0
    """The first tick that may take it."""
    priority: int = 0
    is_direct: bool = False
    """Whether it was staged at once, rather than queued: such commands come before those of the queue."""


@dataclass(slots=True)
class Note:
    """One command for the record, as far as is known when it is noted."""

    command_id: str
    world_id: str
    actor: str
    roles: tuple[str, ...]
    type: str
    payload: str | Callable[[], str]
    """JSON for the audit row, or what gives it when the row is written."""
    status: Status
    at_us: int
    tick: int | None = None
    reason: str = ""
    duration_us: int = 0
    accepted: Accepted | None = None
    """Kept until it is settled."""
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of an accepted command."""

    command_id: str
    world_id: str
    status: Status
    at_us: int
    tick: int | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class WorldEntry:
    """A world as a ledger knows it: enough to bring one back that never ran a tick."""

    segment: Segment
    kernel: str = "python"
    ids_to: int = 1
    """Ids below this may have been given out."""
    settled_tick: int = -1
    """Up to this tick it is known which commands were applied."""
    is_open: bool = True
    """False once it was destroyed; its name is free again."""


@dataclass(frozen=True, slots=True)
class Damage:
    """Something in a ledger that is not as it was written."""

    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


class Ledger(Protocol):
    """Durable memory of a gate, beside one store.

    ``note`` and ``settle`` return at once and are on disk within ``interval_s``; ``sync`` waits for everything that was
    noted before. When writing fails, ``sync`` and ``check`` raise ``LedgerError`` until it works again, and nothing that
    was noted is lost meanwhile.
    """

    def check(self) -> None:
        """``LedgerError`` while nothing can be written: then no further command is to be accepted."""
        ...

    def note(self, notes: Sequence[Note]) -> None:
        """Put commands on record."""
        ...

    def withdraw(self, command_ids: Iterable[str]) -> bool:
        """Forget commands that were noted and not written yet; says whether all of them were."""
        ...

    def settle(self, settled: Iterable[Settled]) -> None:
        """Put on record what became of accepted commands."""
        ...

    def ticked(self, world_id: str, tick: int) -> None:
        """All that a world's ticks up to this one applied has been settled."""
        ...

    def sync(self) -> None:
        """Wait until all of that is on disk."""
        ...

    def enter(self, entry: WorldEntry) -> None:
        """Take up a world, durably; ``WorldExists`` if its id or, among those not destroyed, its name is taken."""
        ...

    def destroyed(self, world_id: str) -> None:
        """Free a world's name and forget the commands that wait for it, durably."""
        ...

    def reopened(self, world_id: str) -> None:
        """Take a destroyed world up again, durably; ``WorldExists`` if its name was taken since."""
        ...

    def world(self, world: str) -> WorldEntry | None:
        """The world of that id, or else the one of that name that is not destroyed."""
        ...

    def worlds(self) -> list[WorldEntry]:
        """Every world, destroyed ones too."""
        ...

    def reserve(self, world_id: str, first: int, count: int) -> int:
        """Take so many ids that nobody else gets, durably, and return the first: that one, or a later where others were."""
        ...

    def release(self, world_id: str, ids_to: int, reserved: int) -> None:
        """Make it durable that ids from this one on were not given out after all, unless others reserved more since."""
        ...

    def accepted(self, world_id: str) -> list[Accepted]:
        """The commands that wait for a world, in the order they were accepted."""
        ...

    def known(self, command_ids: Iterable[str]) -> set[str]:
        """Those of some commands that are on record."""
        ...

    def used(self, since: date) -> Sequence[Usage]:
        """What was used of token quotas from that day on, and of command quotas in every world's latest tick."""
        ...

    def history(self, which: AuditFilter) -> tuple[AuditRow, ...]:
        """Audit rows, one for each command."""
        ...

    def verify(self) -> list[Damage]:
        """Walk the whole chain of audit rows and say what was edited, removed or put elsewhere; empty if all is well."""
        ...

    def close(self) -> None:
        """Write what waits and let go; idempotent."""
        ...
