"""Work that is done beside the ticks, in a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from weakref import WeakMethod

_LOOK_S = 60.0
"""How often a thread without work looks whether its object is still there."""


class BackgroundTask:
    """Calls a method in the background, some time after it is asked to; several requests are one.

    The thread starts with the first request and ends with ``stop``, or once the object that the method belongs to is gone.
    The method handles its own failures.
    """

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        self._name = name
        self._work = WeakMethod(work)
        self._changed = threading.Condition()
        self._due: float | None = None
        self._stopped = False
        self._thread: threading.Thread | None = None

    def ask(self, after_s: float = 0.0) -> None:
        """Have the work done once so many seconds have passed, or earlier if that was asked for before."""
        due = time.monotonic() + after_s
        with self._changed:
            if self._stopped or (self._due is not None and self._due <= due):
                return
            self._due = due
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def stop(self) -> None:
        """Let running work end, and do no more; idempotent."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        try:
            while self._wait():
                work = self._work()
                if work is None:
                    return
                work()
                del work
        finally:
            # Whatever ended it, the next request begins another.
            with self._changed:
                self._thread = None

    def _wait(self) -> bool:
        """Wait until there is work to do; False if there never will be."""
        with self._changed:
            while not self._stopped:
                left = _LOOK_S if self._due is None else self._due - time.monotonic()
                if self._due is not None and left <= 0:
                    self._due = None
                    return True
                # Also where it is long: it may be longer than a clock can count.
                self._changed.wait(min(left, _LOOK_S))
                if self._due is None and self._work() is None:
                    return False
            return False
