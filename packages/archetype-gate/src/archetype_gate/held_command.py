"""Commands that were sent from inside a tick: they count once its attempt is committed, and are forgotten if it fails (T7)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from weakref import WeakKeyDictionary

from archetype_core.engine import Attempt, current_attempt
from archetype_core.errors import AttemptOver, LedgerError, WorldNotFound
from archetype_core.store import Store
from archetype_gate.call import stepping_call
from archetype_gate.ledger import AttemptRef, AuditEntry, Ledger
from archetype_gate.live_world import LiveWorld
from archetype_gate.quota import QuotaMeter
from archetype_gate.storage import Backend
from archetype_gate.world_service import WorldService


@dataclass(slots=True, eq=False)
class HeldCommand:
    """An accepted command, and what becomes of it."""

    live: LiveWorld
    """The world that it is for."""
    entry: AuditEntry
    is_durable: bool
    """Whether it must survive a crash as soon as its attempt is committed."""
    apply: Callable[[], None]
    """Stages or queues it, once it is recorded."""
    dropped: Callable[[], None]
    """Called when it is forgotten."""
    is_written: bool = False
    """Whether the ledger holds it."""


class CommandHolder:
    """Holds commands until the attempts that they were sent from are over. Thread-safe."""

    def __init__(self, worlds: WorldService, meter: QuotaMeter) -> None:
        self._worlds = worlds
        self._meter = meter
        self._lock = threading.Lock()
        self._prepared: WeakKeyDictionary[Attempt, _Prepared] = WeakKeyDictionary()

    def held(self, live: LiveWorld, entry: AuditEntry, apply: Callable[[], None], *, is_durable: bool) -> HeldCommand:
        """A command to be held; what it cost is given back if it is forgotten."""
        step = stepping_call()

        def dropped() -> None:
            if entry.usage is not None:
                self._meter.refund(entry.usage)
            if step is not None:
                step.dropped += 1

        return HeldCommand(live, entry, is_durable, apply, dropped)

    def hold(self, attempt: Attempt, commands: Sequence[HeldCommand]) -> None:
        """Keep commands once an attempt is committed, and drop them if it fails; ``AttemptOver`` if it has failed."""
        if durable := [one for one in commands if one.is_durable]:
            self._prepared_of(attempt).add(durable)
        attempt.hold(partial(self._keep_all, attempt.world_id, commands), partial(_drop_all, commands))

    def _prepared_of(self, attempt: Attempt) -> _Prepared:
        with self._lock:
            found = self._prepared.get(attempt)
            if found is None:
                ref = AttemptRef(attempt.world_id, attempt.tick, attempt.id)
                found = self._prepared[attempt] = _Prepared(ref, self._worlds.backend_of(attempt.world_id))
                attempt.hold(_nothing, _nothing, prepare=found.write)
            return found

    def _keep_all(self, source: str, commands: Sequence[HeldCommand]) -> None:
        for command in commands:
            try:
                # A tick inside another one is committed by itself, but what it sends to other worlds waits for the outer one.
                outer = current_attempt() if command.live.world_id != source else None
                if outer is None:
                    self._keep(command)
                else:
                    self.hold(outer, [command])
            except AttemptOver:
                _drop_all([command])

    def _keep(self, command: HeldCommand) -> None:
        live, entry = command.live, command.entry
        ledger = live.backend.ledger
        # A world that was closed finds the command in the ledger when it is opened.
        is_live = self._worlds.find(live.world_id) is live
        if not is_live:
            _fail_if_destroyed(ledger, entry)
        if command.is_written:
            ledger.release([entry.command_id], [entry])
        else:
            ledger.record([entry])
        if is_live:
            command.apply()


class _Prepared:
    """The durable commands of one attempt: on disk before its store commits."""

    def __init__(self, attempt: AttemptRef, backend: Backend | None) -> None:
        self._attempt = attempt
        self._backend = backend
        self._lock = threading.Lock()
        self._waiting: list[HeldCommand] = []
        self._is_prepared = False
        self._is_inside_another = False

    def add(self, commands: Sequence[HeldCommand]) -> None:
        """Add commands; they are written now if the store may be committing already."""
        with self._lock:
            self._waiting += commands
            if self._is_prepared:
                self._write()

    def write(self) -> None:
        """Write the commands to the ledger, in one transaction."""
        with self._lock:
            self._is_prepared, self._is_inside_another = True, _is_inside_another(self._attempt)
            self._write()

    def _write(self) -> None:
        waiting, self._waiting = self._waiting, []
        # Another storage cannot tell whether this attempt was committed, so a command for it is recorded after the commit.
        found = [one for one in waiting if one.live.backend is self._backend and not one.is_written]
        if self._is_inside_another:
            found = [one for one in found if one.live.world_id == self._attempt.world_id]
        if found:
            found[0].live.backend.ledger.hold([one.entry for one in found], self._attempt)
            for one in found:
                one.is_written = True


def recover_held(backend: Backend) -> None:
    """Record the held commands whose attempt is committed, and forget those whose tick another attempt committed.

    Those whose tick is not committed stay: another process may be about to commit it.
    """
    over: list[str] = []
    committed: list[AuditEntry] = []
    for held in backend.ledger.held_entries():
        is_committed = _is_committed(backend.store, held.attempt)
        if is_committed:
            _fail_if_destroyed(backend.ledger, held.entry)
            committed.append(held.entry)
        elif is_committed is not None:
            over.append(held.entry.command_id)
    if over or committed:
        backend.ledger.release([*over, *(one.command_id for one in committed)], committed)
        # A ledger that cannot be written keeps them in memory.
        with suppress(LedgerError):
            backend.ledger.sync()


def _is_committed(store: Store, attempt: AttemptRef) -> bool | None:
    """Whether an attempt committed its tick; ``None`` if nobody has committed it."""
    try:
        if store.head(attempt.world_id).tick < attempt.tick:
            return None
        return store.head(attempt.world_id, at=attempt.tick).attempt == attempt.id
    except WorldNotFound:
        return None


def _is_inside_another(attempt: AttemptRef) -> bool:
    try:
        current = current_attempt()
    except AttemptOver:
        return True
    return current is not None and current.id != attempt.id


def _fail_if_destroyed(ledger: Ledger, entry: AuditEntry) -> None:
    world = ledger.find_world(entry.world_id)
    if world is not None and not world.is_open:
        entry.status, entry.reason, entry.accepted = "failed", "the world was destroyed", None


def _drop_all(commands: Sequence[HeldCommand]) -> None:
    for one in commands:
        if one.is_written:
            one.live.backend.ledger.release([one.entry.command_id])
        one.dropped()


def _nothing() -> None:
    """What only prepares has nothing to settle."""
