"""Ctrl-C during a call that must not stop in its middle."""

from __future__ import annotations

import signal
import threading
from importlib import import_module
from importlib.util import find_spec
from types import FrameType, TracebackType
from typing import Any, Self

# The functions of `signal` turn their results into enums, which costs more than most blocks; those below it do not.
_plain: Any = import_module("_signal" if find_spec("_signal") else "signal")


class _MainThread:
    """What is known of the main thread."""

    __slots__ = ("is_inside", "is_noted")

    def __init__(self) -> None:
        self.is_inside = False
        """Whether it is inside a block."""
        self.is_noted = False
        """Whether a Ctrl-C waits for the block's end."""


_main = _MainThread()


class uninterrupted:  # noqa: N801  # reason: used like a function, in a with statement
    """In the block the first Ctrl-C waits for the block's end, as ``asyncio.Runner`` does it; a second one does not.

    In other threads than the main one, and where the program handles the signal itself, the block changes nothing. Our
    handler stays in place after the block, because to set one costs two system calls; outside of blocks it does what Python's
    own does. ``release`` takes it away.
    """

    __slots__ = ("_is_guarded", "_outer")

    def __enter__(self) -> Self:
        self._is_guarded = threading.get_ident() == threading.main_thread().ident and _is_ours()
        if self._is_guarded:
            self._outer, _main.is_inside = _main.is_inside, True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_guarded:
            _main.is_inside = self._outer
            if _main.is_noted and not self._outer:
                _main.is_noted = False
                raise KeyboardInterrupt


def release() -> None:
    """Put Python's own handler back if ours is in place."""
    if threading.get_ident() == threading.main_thread().ident and _plain.getsignal(signal.SIGINT) is _interrupt:
        _plain.signal(signal.SIGINT, signal.default_int_handler)


def _is_ours() -> bool:
    """Whether Ctrl-C is handled here, from now on if it was Python's own handler's before."""
    handler = _plain.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        _plain.signal(signal.SIGINT, _interrupt)
        return True
    return handler is _interrupt


def _interrupt(number: int, frame: FrameType | None) -> None:
    if not _main.is_inside or _main.is_noted:
        _main.is_noted = False
        signal.default_int_handler(number, frame)
    _main.is_noted = True
