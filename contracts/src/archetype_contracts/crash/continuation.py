"""The continuations of crash tests: the engine's bytes, and behind them bytes that follow from these and from the attempt.

So a head shows by itself whether it has the continuation that its attempt committed, and some continuations are long.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from archetype_core.store import Head, TickCommit

_LENGTH = 8
_SHORT, _LONG = 40, 600_000


def extended(tick: TickCommit) -> TickCommit:
    """A tick with an extended continuation."""
    return replace(tick, continuation=_extended(tick.continuation, tick))


def shortened(head: Head) -> Head | None:
    """A head with the engine's bytes alone; ``None`` if its continuation is not the one that its attempt committed."""
    size = int.from_bytes(head.continuation[:_LENGTH], "little")
    own = head.continuation[_LENGTH : _LENGTH + size]
    return replace(head, continuation=own) if _extended(own, head) == head.continuation else None


def _extended(own: bytes, one: TickCommit | Head) -> bytes:
    # By the tick and not at random: every run of a program must make the same calls.
    size = _LONG if one.tick % 3 == 1 else _SHORT
    return len(own).to_bytes(_LENGTH, "little") + own + hashlib.shake_128(one.attempt.encode() + own).digest(size)
