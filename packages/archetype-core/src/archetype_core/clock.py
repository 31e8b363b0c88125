"""Time and identifiers from the system, behind ports so that tests and replays can decide both."""

from __future__ import annotations

import os
import threading
import time
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID


class Clock(Protocol):
    """Where the engine takes the time from."""

    def now(self) -> datetime:
        """The current time, aware, in UTC."""
        ...


class IdSource(Protocol):
    """Where the engine takes new identifiers from."""

    def new(self) -> str:
        """A new UUIDv7 as text; later ones sort after earlier ones."""
        ...


class SystemClock:
    """The time of this machine."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class SystemIds:
    """UUIDv7: a millisecond, then a counter within it, then random bits, so that ids sort as they were made."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0
        self._random = b""
        self._pid = 0

    def new(self) -> str:
        # 48 bits of milliseconds and 12 of counter make one number that only ever grows.
        with self._lock:
            self._last = stamp = max(time.time_ns() // 1_000_000 << 12, self._last + 1)
            # Asking the system costs more than all the rest. What a copy of the process inherits it must not use again.
            if not self._random or self._pid != os.getpid():
                self._random, self._pid = os.urandom(4096), os.getpid()
            drawn, self._random = self._random[:8], self._random[8:]
        digits = f"{stamp >> 12:012x}7{stamp & 0xFFF:03x}{int.from_bytes(drawn) >> 2 | 1 << 63:016x}"
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


class SequentialIds:
    """Predictable ids, for tests and replays: the n-th is always the same."""

    def __init__(self, start: int = 1) -> None:
        self._next = start

    def new(self) -> str:
        value, self._next = self._next, self._next + 1
        return str(UUID(int=0x7 << 76 | 0x2 << 62 | value))
