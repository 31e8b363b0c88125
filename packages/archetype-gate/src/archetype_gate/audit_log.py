"""The audit rows of a gate's calls: made here, written to the ledger of the call's world, and read back."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from functools import partial
from typing import Any

from archetype_core.clock import Clock, IdSource
from archetype_core.command import (
    AuditHead,
    AuditRow,
    Command,
    GetAuditHead,
    GetHistory,
    SpawnTable,
    Status,
    UpdateTable,
)
from archetype_core.engine import in_thread
from archetype_gate.audit_text import describe_payload
from archetype_gate.call import Call
from archetype_gate.group_sync import GroupSync
from archetype_gate.ledger import AcceptedCommand, AuditEntry, Ledger
from archetype_gate.quota import Usage
from archetype_gate.sqlite import SqliteLedger
from archetype_gate.storage import StorageService
from archetype_gate.world_service import WorldService

_TABLES = (SpawnTable, UpdateTable)


class AuditLog:
    """Writes and reads audit rows. Thread-safe."""

    def __init__(self, worlds: WorldService, storage: StorageService, clock: Clock, ids: IdSource) -> None:
        self._worlds = worlds
        self._storage = storage
        self._clock = clock
        self._ids = ids
        self._lock = threading.Lock()
        self._early: list[AuditEntry] = []
        """Entries from before any ledger was open; the first ledger gets them."""
        self._early_usage: list[Usage] = []
        self._group = GroupSync()

    def write_early(self, ledger: Ledger) -> None:
        """Write the entries from before any ledger was open to one that is open now."""
        with self._lock:
            entries, self._early = self._early, []
            usages, self._early_usage = self._early_usage, []
        ledger.record(entries)
        for one in usages:
            ledger.add_usage(one)

    def entry(
        self, call: Call, command: Command[Any], status: Status, reason: str, accepted: AcceptedCommand | None = None
    ) -> AuditEntry:
        """Make the row of a command; a call's usage is written with its first row."""
        usage, call.usage = call.usage, None
        # What is stored of an accepted command says what it does, except of a table.
        is_told = accepted is not None and not isinstance(command, _TABLES)
        return AuditEntry(
            accepted.command_id if accepted is not None else self._ids.new(),
            call.world_id or "",
            call.actor.id,
            call.actor.roles,
            command.kind or type(command).__name__,
            accepted.encoded if accepted is not None and is_told else partial(describe_payload, command),
            status,
            call.at_us,
            call.tick,
            reason,
            0 if status == "queued" else round((time.perf_counter() - call.began) * 1e6),
            accepted,
            usage,
        )

    def record(self, call: Call, entries: list[AuditEntry]) -> None:
        """Write rows to the ledger of the call's world; keep them until the first ledger is open."""
        ledger = self.ledger(call.world_id)
        if ledger is not None:
            ledger.record(entries)
            return
        with self._lock:
            self._early.extend(entries)

    def add_usage(self, usage: Usage) -> None:
        """Write usage that belongs to no command to the first ledger; keep it until one is open."""
        ledger = self.ledger(None)
        if ledger is not None:
            ledger.add_usage(usage)
            return
        with self._lock:
            self._early_usage.append(usage)

    def ledger(self, world_id: str | None) -> Ledger | None:
        """Return the ledger of a world; the first open ledger for no world or an unknown one."""
        backend = self._worlds.backend_of(world_id)
        if backend is None:
            backend = next(iter(self._storage.backends), None)
        return backend.ledger if backend is not None else None

    async def read(self, command: GetHistory | GetAuditHead, world_id: str | None) -> tuple[AuditRow, ...] | AuditHead:
        """Return audit rows, or the end of the audit, of a world's ledger; of the first open one for ``None``. Not gated."""
        if isinstance(command, GetAuditHead):
            found, at = self.ledger(world_id), self._clock.now()
            return AuditHead(0, bytes(32).hex(), at) if found is None else await in_thread(lambda: found.audit_head(at))
        which = command.filter if world_id is None else replace(command.filter, world_id=world_id)
        ledger = self.ledger(which.world_id)

        def read() -> tuple[AuditRow, ...]:
            if ledger is not None:
                return ledger.history(which)
            in_memory = SqliteLedger(None)
            try:
                in_memory.record(list(self._early))
                return in_memory.history(which)
            finally:
                in_memory.close()

        return await in_thread(read)

    async def sync(self, world_id: str | None) -> None:
        """Wait until the ledger of a world has everything on disk."""
        ledger = self.ledger(world_id)
        if ledger is not None:
            await self._group.sync(ledger)
