"""A first-come, first-served lock for coroutines, also of different event loops."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from types import TracebackType


class FairLock:
    """A lock for ``async with``: first come, first served. Unlike ``asyncio.Lock`` it is not bound to one event loop."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._is_taken = False
        self._waiting: deque[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = deque()

    @property
    def is_taken(self) -> bool:
        """Whether somebody has it."""
        return self._is_taken

    async def __aenter__(self) -> None:
        with self._mutex:
            if not self._is_taken:
                self._is_taken = True
                return
            loop = asyncio.get_running_loop()
            mine: asyncio.Future[None] = loop.create_future()
            self._waiting.append((loop, mine))
        try:
            await mine
        except asyncio.CancelledError:
            with self._mutex:
                if (loop, mine) in self._waiting:
                    self._waiting.remove((loop, mine))
                    raise
            # The lock was granted at the moment of cancellation: pass it on.
            self._pass_on()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        with self._mutex:
            while self._waiting:
                loop, theirs = self._waiting.popleft()
                try:
                    loop.call_soon_threadsafe(_give, theirs)
                # Its event loop is closed, so nothing waits there any more.
                except RuntimeError:
                    continue
                return
            self._is_taken = False


def _give(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
