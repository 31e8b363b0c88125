"""The calls of a gate that have not returned yet."""

from __future__ import annotations

import contextvars
import threading

# The calls that the current context is inside of.
_inside: contextvars.ContextVar[frozenset[object]] = contextvars.ContextVar("archetype_gate_calls", default=frozenset())


class InFlightCalls:
    """The calls that have not returned. A gate keeps its ledgers open for them."""

    def __init__(self) -> None:
        self._open: set[object] = set()
        self._is_awaited = False
        self._changed = threading.Condition(threading.Lock())

    @property
    def is_inside(self) -> bool:
        """Whether the caller is inside one of these calls."""
        return not self._open.isdisjoint(_inside.get())

    def call(self) -> _Call:
        """Return a context manager that counts a call for the block."""
        return _Call(self)

    def begin(self, token: object) -> None:
        with self._changed:
            self._open.add(token)

    def end(self, token: object) -> None:
        with self._changed:
            self._open.discard(token)
            if self._is_awaited and not self._open:
                self._changed.notify_all()

    def wait(self) -> None:
        """Block until every call has returned."""
        with self._changed:
            self._is_awaited = True
            self._changed.wait_for(lambda: not self._open)


class _Call:
    """Counts one call; a class because a generator costs more, and every command passes here."""

    __slots__ = ("_calls", "_reset")

    def __init__(self, calls: InFlightCalls) -> None:
        self._calls = calls

    def __enter__(self) -> None:
        self._calls.begin(self)
        self._reset = _inside.set(_inside.get() | {self})

    def __exit__(self, *failure: object) -> None:
        _inside.reset(self._reset)
        self._calls.end(self)
