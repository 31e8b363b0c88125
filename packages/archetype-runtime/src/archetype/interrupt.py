"""Ctrl-C during a call that must not stop in its middle."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

# The functions of the module turn their results into enums, which costs more than most blocks.
_set: Any = getattr(signal.signal, "__wrapped__", signal.signal)
_get: Any = getattr(signal.getsignal, "__wrapped__", signal.getsignal)


class uninterrupted:  # noqa: N801  # reason: used like a function, in a with statement
    """In the block the first Ctrl-C waits for the block's end, as ``asyncio.Runner`` does it; a second one does not.

    In other threads than the main one, and where the program handles the signal itself, the block changes nothing.
    """

    __slots__ = ("_is_interrupted", "_is_set")

    def __enter__(self) -> Self:
        self._is_interrupted = False
        self._is_set = (
            threading.get_ident() == threading.main_thread().ident and _get(signal.SIGINT) is signal.default_int_handler
        )
        if self._is_set:
            _set(signal.SIGINT, self._interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_set:
            _set(signal.SIGINT, signal.default_int_handler)
            if self._is_interrupted:
                raise KeyboardInterrupt

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._is_interrupted:
            signal.default_int_handler(number, frame)
        self._is_interrupted = True
