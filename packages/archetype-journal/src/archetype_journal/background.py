"""A background task: work in a thread of its own, beside the ticks."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from weakref import WeakMethod

_CHECK_S = 60.0
"""How often an idle thread checks whether its object still exists."""
_log = logging.getLogger("archetype.journal")


class BackgroundTask:
    """Calls a method in a background thread when asked to; requests that come before it starts are one call.

    The thread starts with the first request. It ends with ``stop``, or once the method's object is collected: the task keeps
    only a weak reference. The method handles its own failures.
    """

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        self._name = name
        self._work = WeakMethod(work)
        self._changed = threading.Condition()
        self._due: float | None = None
        self._stopped = False
        self._thread: threading.Thread | None = None

    def ask(self, after_s: float = 0.0) -> None:
        """Request a call after so many seconds; an earlier request that is still open wins. No effect after ``stop``.

        Never raises: what was done before the request stays done. Without a thread the request is dropped, with a warning.
        """
        due = time.monotonic() + after_s
        with self._changed:
            if self._stopped or (self._due is not None and self._due <= due):
                return
            if self._thread is None:
                thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                try:
                    thread.start()
                except RuntimeError as failure:
                    _log.warning("%s does not run until the next request: %s", self._name, failure)
                    return
                self._thread = thread
            self._due = due
            self._changed.notify_all()

    def stop(self) -> None:
        """Wait for a running call to end and make no more; idempotent."""
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
            # However the thread ended, the next request starts another.
            with self._changed:
                self._thread = None

    def _wait(self) -> bool:
        """Wait until work is due; False if there will be none."""
        with self._changed:
            while not self._stopped:
                left = _CHECK_S if self._due is None else self._due - time.monotonic()
                if self._due is not None and left <= 0:
                    self._due = None
                    return True
                # Bounded also when work is due later: a lock cannot wait for an arbitrarily long time.
                self._changed.wait(min(left, _CHECK_S))
                if self._due is None and self._work() is None:
                    return False
            return False
