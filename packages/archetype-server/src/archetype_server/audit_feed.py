"""Tells event streams of settled commands, in the order of their settlement.

All streams share one list of the last rows, which is read from the ledger while anybody listens. A stream is a place in it: a
slow one costs no memory and holds up nobody. One that is so slow that its place is gone from the list is told, and ended.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_right
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec

from archetype_core.command import AuditRow
from archetype_core.errors import ArchetypeError
from archetype_server.answer import AuditAnswer
from archetype_server.redaction import Redaction

INTERVAL_S = 0.1
PAGE = 1000
_READS = ("query_", "get_", "list_")
log = logging.getLogger("archetype_server")


@dataclass(frozen=True, slots=True)
class Told:
    """A settled command, as streams send it."""

    seq: int
    world_id: str
    actor: str
    type: str
    data: bytes

    @property
    def is_read(self) -> bool:
        """Whether the command changed nothing."""
        return self.type.startswith(_READS)


class AuditFeed:
    """The last settled commands. ``read`` gives those after a number, and without one the very last."""

    def __init__(
        self,
        read: Callable[[int | None, int], Awaitable[tuple[AuditRow, ...]]],
        redaction: Redaction,
        *,
        rows: int,
        size: int = 16 << 20,
    ) -> None:
        self.redaction = redaction
        self._read = read
        self._most_rows, self._most_bytes = rows, size
        self._listeners: set[asyncio.Event] = set()
        self._told: list[Told] = []
        self._size = 0
        self._opening = asyncio.Lock()
        self._reading: asyncio.Task[None] | None = None
        self.low = 0
        """Everything that was settled after this number is still here."""

    @asynccontextmanager
    async def listen(self, wake: asyncio.Event) -> AsyncIterator[None]:
        """Set an event whenever a command is settled."""
        async with self._opening:
            if self._reading is None:
                last = await self._read(None, 1)
                self.low = last[-1].seq if last else 0
                self._reading = asyncio.create_task(self._follow(self.low))
            self._listeners.add(wake)
        try:
            yield
        finally:
            self._listeners.discard(wake)
            if not self._listeners:
                self.close()

    def close(self) -> None:
        """Read no more, and forget what was read."""
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None
        self._told, self._size = [], 0

    def since(self, seq: int) -> list[Told] | None:
        """Return what was settled after a number; ``None`` if some of it is not here any more."""
        if seq < self.low:
            return None
        return self._told[bisect_right(self._told, seq, key=lambda one: one.seq) :]

    async def _follow(self, last: int) -> None:
        while True:
            try:
                rows = await self._read(last, PAGE)
                told = await asyncio.to_thread(as_told, rows, self.redaction) if rows else []
            except ArchetypeError as failure:
                log.warning("the audit log cannot be followed: %s", failure)
                await asyncio.sleep(10 * INTERVAL_S)
                continue
            if told:
                last = told[-1].seq
                self._add(told)
            if len(told) < PAGE:
                await asyncio.sleep(INTERVAL_S)

    def _add(self, told: list[Told]) -> None:
        self._told += told
        self._size += sum(len(one.data) for one in told)
        gone = max(0, len(self._told) - self._most_rows)
        self._size -= sum(len(one.data) for one in self._told[:gone])
        while self._size > self._most_bytes and gone < len(self._told):
            self._size -= len(self._told[gone].data)
            gone += 1
        if gone:
            self.low = self._told[gone - 1].seq
            del self._told[:gone]
        for one in self._listeners:
            one.set()


def as_told(rows: tuple[AuditRow, ...], redaction: Redaction) -> list[Told]:
    """Return audit rows as streams send them."""
    return [
        Told(one.seq, one.world_id, one.actor, one.type, msgspec.json.encode(AuditAnswer.of(one, redaction)))
        for one in rows
    ]
