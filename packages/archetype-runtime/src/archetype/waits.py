"""Decorators of a handle's public methods.

They tell `checks/sync_twin.py` how to make the sync twin of a method. At run time ``waits_for`` makes the method a door, whose
errors have the user's lines only; ``converts`` does nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

from archetype_core.user_traceback import door

F = TypeVar("F", bound=Callable[..., Any])

WaitsFor = Literal["nothing", "threads", "loop", "tick", "shutdown"]
"""What a coroutine may wait for, which decides how a sync call from inside the event loop is served:

- ``nothing``: it never suspends, so it runs on the spot;
- ``threads``: work in other threads, so it runs on a loop in another thread;
- ``loop``: other tasks of the same loop, so the call raises ``LoopBusy``;
- ``tick``: like ``loop``, but raises ``ReentrantStep`` if the caller is part of a tick of that world;
- ``shutdown``: like ``loop``; the loop is closed afterwards.
"""


def waits_for(what: WaitsFor) -> Callable[[F], F]:  # noqa: ARG001  # reason: read from the source
    """Declare what an async method may wait for, and make it a door."""
    return door


def converts(**arguments: str) -> Callable[[F], F]:  # noqa: ARG001  # reason: read from the source
    """Name the methods of ``SyncTwin`` that convert arguments of the sync method for the async one."""
    return _unchanged


def _unchanged(method: F) -> F:
    return method
