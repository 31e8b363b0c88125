"""The ledger port: what a gate keeps on disk beside one store.

A ledger has the worlds, the commands that wait for a tick, the audit log, the usage of quotas and the reserved entity
ids. Its methods block and may be called from any thread, like those of a store.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple, Protocol

from archetype_core.command import AuditFilter, AuditHead, AuditRow, Status
from archetype_core.store import Segment
from archetype_gate.audit_text import summarize
from archetype_gate.quota import Usage

KEPT_US = 24 * 3600 * 1_000_000
"""How long the answer to a command with a key is kept, in microseconds."""


class AcceptedCommand(NamedTuple):
    """A command that waits for a tick, with all that another process needs to apply it."""

    command_id: str
    world_id: str
    class_name: str
    encoded: bytes | Callable[[], bytes]
    """The command, or what encodes it when the ledger writes it."""
    entity_ids: range
    """The ids of the entities that it spawns."""
    due: int = 0
    """The first tick that may apply it; of a direct command, the tick that attempts had failed to make when it was staged."""
    priority: int = 0
    """Of a direct command, how many queued commands these attempts had staged before it."""
    is_direct: bool = False
    """Whether it was staged at once. Direct commands are applied before queued ones."""

    def payload(self) -> bytes:
        """The encoded command."""
        return self.encoded if isinstance(self.encoded, bytes) else self.encoded()


@dataclass(frozen=True, slots=True)
class LedgerAnswer:
    """A command with an idempotency key, and its result once it has one."""

    key: str
    """A digest of the actor and the key."""
    actor: str
    request: str
    """What was asked with it."""
    command_id: str
    world_id: str
    """The world that it is for, or that it creates."""
    tick: int
    """That world's next tick when it was asked for the first time."""
    at_us: int
    result: str | None = None
    """The encoded result; ``None`` while the command is under way."""


@dataclass(slots=True)
class AuditEntry:
    """An audit row that is not written yet, with what to store beside it."""

    command_id: str
    world_id: str
    actor: str
    roles: frozenset[str] | tuple[str, ...]
    type: str
    payload: str | bytes | Callable[[], str | bytes]
    """JSON, or a function that encodes it when the row is written."""
    status: Status
    at_us: int
    tick: int | None = None
    reason: str = ""
    duration_us: int = 0
    accepted: AcceptedCommand | None = None
    """The command to store until it is settled."""
    usage: Usage | None = None
    answer: LedgerAnswer | None = None
    """What to answer if the command is sent again; written in the same transaction."""

    def payload_text(self) -> str:
        """The JSON of the row, shortened if it is long."""
        payload = self.payload() if callable(self.payload) else self.payload
        return payload if isinstance(payload, str) else summarize(payload.decode())


class Settlement(NamedTuple):
    """The final status of an accepted command."""

    command_id: str
    world_id: str
    status: Status
    at_us: int
    tick: int | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class AttemptRef:
    """One attempt of a world's tick, as the world's store names it."""

    world_id: str
    tick: int
    id: str


@dataclass(frozen=True, slots=True)
class HeldEntry:
    """A durable command that counts only if the attempt that it was sent from is committed."""

    attempt: AttemptRef
    entry: AuditEntry


@dataclass(frozen=True, slots=True)
class LedgerWorld:
    """A world as the ledger stores it: enough to open one that never made a tick."""

    segment: Segment
    kernel: str = "python"
    reserved_to: int = 1
    """Entity ids below this one are reserved."""
    settled_tick: int = -1
    """The commands of this tick and of all before it are settled."""
    is_open: bool = True
    """False once the world is destroyed; then its name is free again."""
    is_told: bool = False
    """Whether a caller may know entity ids that no committed tick has; then no reserved id is given out again."""
    maker: str = ""
    """The actor that made it, if that has worlds of its own."""


@dataclass(frozen=True, slots=True)
class LedgerEpisode:
    """An episode of a named rollout that was begun."""

    episode: int
    world_id: str
    result: str | None
    """Its encoded result, once it ended without a failure."""


@dataclass(frozen=True, slots=True)
class LedgerRollout:
    """A named rollout as the ledger stores it."""

    rollout_id: str
    world_id: str
    name: str
    config: str
    """JSON of what must be equal for the rollout to be resumed."""
    episodes: tuple[LedgerEpisode, ...] = ()


@dataclass(frozen=True, slots=True)
class Damage:
    """One place in a ledger that was changed after it was written."""

    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


class Ledger(Protocol):
    """The durable memory of a gate, beside one store.

    ``record``, ``add_usage``, ``release``, ``settle`` and ``settle_tick`` only collect; a background thread writes what they
    collected within 100 ms, and ``sync`` waits for it. If a write fails, ``sync`` and ``check_writable`` raise
    ``LedgerError`` until a write succeeds, and everything collected is kept.
    """

    def check_writable(self) -> None:
        """Raise ``LedgerError`` if the last write failed or the ledger is closed."""
        ...

    def record(self, entries: Sequence[AuditEntry]) -> None:
        """Collect audit rows, with the accepted commands and the usage that belong to them."""
        ...

    def add_usage(self, usage: Usage) -> None:
        """Collect usage that belongs to no command."""
        ...

    def withdraw(self, command_ids: Iterable[str]) -> bool:
        """Drop entries that are not written yet; returns whether all of them were dropped."""
        ...

    def hold(self, entries: Sequence[AuditEntry], attempt: AttemptRef) -> None:
        """Store entries that count only once they are released; they are on disk when this returns."""
        ...

    def release(self, command_ids: Collection[str], entries: Sequence[AuditEntry] = ()) -> None:
        """Delete held entries and, in the same write, record ``entries``: those of them that another process did not release."""
        ...

    def settle(self, settlements: Iterable[Settlement]) -> None:
        """Collect the final statuses of accepted commands; a settled command no longer waits."""
        ...

    def settle_tick(self, world_id: str, tick: int, *, forgets_to: int | None = None) -> None:
        """Note that the commands of a world's ticks up to this one are settled.

        With ``forgets_to`` the ticks also have all ids that callers know: ``mark_told`` is undone if nobody reserved
        ids after this one.
        """
        ...

    def sync(self) -> None:
        """Write everything collected; returns when it is on disk. ``LedgerError`` if it cannot be written."""
        ...

    def add_world(self, entry: LedgerWorld) -> None:
        """Store a world durably; ``WorldExists`` if its id is taken, or its name by a world that is not destroyed."""
        ...

    def mark_destroyed(self, world_id: str) -> None:
        """Free a world's name and delete the commands that wait for it, durably."""
        ...

    def mark_reopened(self, world_id: str) -> None:
        """Undo ``mark_destroyed`` for the name, durably; ``WorldExists`` if another world has it now."""
        ...

    def find_world(self, id_or_name: str) -> LedgerWorld | None:
        """Return the world with that id, else the world with that name that is not destroyed, else ``None``."""
        ...

    def worlds(self) -> list[LedgerWorld]:
        """Return all worlds, destroyed ones too."""
        ...

    def reserve_ids(self, world_id: str, first: int, count: int, *, is_told: bool = False) -> int:
        """Reserve a block of entity ids durably and return its first id; with ``is_told`` also do what ``mark_told`` does.

        That is ``first``, or a later id if ids from ``first`` on are reserved already.
        """
        ...

    def mark_told(self, world_id: str) -> None:
        """Note durably that callers may know ids that no committed tick has."""
        ...

    def may_reuse_ids(self, world_id: str) -> bool:
        """Whether reserved ids that no tick has can be given out: they are not told, and nobody else has this ledger open."""
        ...

    def release_ids(self, world_id: str, first_unused: int, reserved_to: int) -> None:
        """Give back the unused end of the last reserved block, durably; nothing happens if it is not the last."""
        ...

    def begin_rollout(self, rollout: LedgerRollout) -> LedgerRollout:
        """Store a named rollout durably, and return it; if its world has one of that name, return that with its episodes."""
        ...

    def begin_episode(self, rollout_id: str, episode: int, world_id: str) -> None:
        """Store durably in which world an episode will run; it replaces an earlier one of that number."""
        ...

    def finish_episode(self, rollout_id: str, episode: int, result: str) -> None:
        """Store the encoded result of an episode durably."""
        ...

    def find_answer(self, key: str) -> LedgerAnswer | None:
        """Return the command with a key, if one was sent."""
        ...

    def count_answers(self, actor: str, since_us: int) -> int:
        """Return how many keys an actor has used since a moment."""
        ...

    def begin_answer(self, answer: LedgerAnswer) -> None:
        """Store a command with a key durably, before any of it is done; those older than ``KEPT_US`` are dropped."""
        ...

    def drop_answer(self, key: str) -> None:
        """Forget a command with a key of which nothing was done, durably."""
        ...

    def waiting_commands(self, world_id: str) -> list[AcceptedCommand]:
        """Return the commands that wait for a world, in the order they were accepted; ``CorruptStore`` if one was changed."""
        ...

    def held_entries(self) -> list[HeldEntry]:
        """Return everything that is held, in the order it was stored; ``CorruptStore`` if any of it was changed."""
        ...

    def recorded_ids(self, command_ids: Iterable[str]) -> set[str]:
        """Return those of the command ids that have an audit row."""
        ...

    def usage_since(self, since: date) -> Sequence[Usage]:
        """Return the credits used since a day, and the commands used in each world's latest tick."""
        ...

    def history(self, which: AuditFilter) -> tuple[AuditRow, ...]:
        """Return audit rows, one per command."""
        ...

    def audit_head(self, at: datetime) -> AuditHead:
        """Return the end of the audit, with the time ``at`` noted in it."""
        ...

    def verify(self, head: AuditHead | None = None) -> list[Damage]:
        """Check all hashes and list what was edited, removed, added or moved, since ``head`` was taken too."""
        ...

    def close(self) -> None:
        """Write everything collected and close; idempotent."""
        ...
