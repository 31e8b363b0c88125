"""Lets calls that wait for a ledger at the same time wait for one write of it."""

from __future__ import annotations

import asyncio
from typing import Any

from archetype_core.engine import in_thread
from archetype_gate.ledger import Ledger

_Key = tuple[asyncio.AbstractEventLoop, Ledger]


class GroupSync:
    """Writes ledgers for those who wait. Whoever comes during a write waits for the one after it, with all others who do."""

    def __init__(self) -> None:
        self._next: dict[_Key, asyncio.Task[None]] = {}
        self._last: dict[_Key, asyncio.Task[None]] = {}

    async def sync(self, ledger: Ledger) -> None:
        """Return when everything that a ledger has collected is on disk; ``LedgerError`` if it cannot be written."""
        key = (asyncio.get_running_loop(), ledger)
        write = self._next.get(key)
        if write is None:
            write = self._next[key] = asyncio.create_task(self._write(key))
            # Who was cancelled does not ask how it ended.
            write.add_done_callback(_seen)
        try:
            await asyncio.shield(write)
        except asyncio.CancelledError:
            await asyncio.wait([write])
            raise

    async def _write(self, key: _Key) -> None:
        last = self._last.get(key)
        if last is not None:
            await asyncio.wait([last])
        # What is collected from here on may be too late for this write.
        write = self._last[key] = self._next.pop(key)
        try:
            await in_thread(key[1].sync)
        finally:
            if self._last.get(key) is write:
                del self._last[key]


def _seen(write: asyncio.Task[Any]) -> None:
    if not write.cancelled():
        write.exception()
