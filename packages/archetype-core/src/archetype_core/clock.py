"""Sources of time and ids, as ports that tests and replays can replace."""

from __future__ import annotations

import os
import struct
import threading
import time
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

_WORDS = struct.Struct("512Q")
_random: list[int] = []
# A forked child draws its own; asking the system for each id whether this is one costs more than the id.
os.register_at_fork(after_in_child=_random.clear)


class Clock(Protocol):
    """A source of the current time."""

    def now(self) -> datetime:
        """Return the current time as an aware datetime in UTC."""
        ...


class IdSource(Protocol):
    """A source of new ids."""

    def new(self) -> str:
        """Return a new UUIDv7 as text; later ids sort after earlier ones."""
        ...


class SystemClock:
    """The clock of this machine."""

    def now(self) -> datetime:
        """Return the system time in UTC."""
        return datetime.now(UTC)


class SystemIds:
    """UUIDv7 ids: milliseconds, then a counter, then random bits, so ids sort in order of creation; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def new(self) -> str:
        """Return the next id."""
        # 48 bits of milliseconds and 12 bits of counter form one number that only grows.
        with self._lock:
            self._last = stamp = max(time.time_ns() // 1_000_000 << 12, self._last + 1)
        drawn = _drawn()
        return (
            f"{stamp >> 28:08x}-{stamp >> 12 & 0xFFFF:04x}-7{stamp & 0xFFF:03x}-"
            f"{drawn >> 50 | 0x8000:04x}-{drawn & 0xFFFFFFFFFFFF:012x}"
        )


def _drawn() -> int:
    """64 random bits, drawn in blocks, because the system call dominates the cost."""
    while True:
        try:
            return _random.pop()
        except IndexError:
            _random.extend(_WORDS.unpack(os.urandom(_WORDS.size)))


class SequentialIds:
    """Predictable ids for tests and replays: the n-th id is always the same."""

    def __init__(self, start: int = 1) -> None:
        self._next = start

    def new(self) -> str:
        """Return the next id."""
        value, self._next = self._next, self._next + 1
        return str(UUID(int=0x7 << 76 | 0x2 << 62 | value))
