"""Runs blocking work in threads that all worlds share, so that no event loop blocks."""

from __future__ import annotations

import asyncio
import contextvars
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from typing import Any, TypeVar

T = TypeVar("T")

_cannot_wait: contextvars.ContextVar[bool] = contextvars.ContextVar("archetype_cannot_wait", default=False)


class Early:
    """Lets work in a thread answer its caller with an error before it has ended."""

    def __init__(self) -> None:
        self.thread: Future[None] | None = None
        """The work, once it runs."""
        self._raise: Callable[[BaseException], None] | None = None

    def fail(self, error: BaseException) -> None:
        """Raise an error in the caller at once."""
        assert self._raise is not None
        self._raise(error)

    async def ended(self) -> None:
        """Wait until the work has really ended."""
        if self.thread is not None and not self.thread.done():
            await asyncio.wait([asyncio.wrap_future(self.thread)])


class without_waiting:  # noqa: N801  # reason: used like a function, in a with statement
    """Code in this block is called by whoever has to return before an event loop goes on: it cannot wait for a thread."""

    __slots__ = ("_token",)

    def __enter__(self) -> None:
        self._token = _cannot_wait.set(True)

    def __exit__(self, *failure: object) -> None:
        _cannot_wait.reset(self._token)


def can_wait() -> bool:
    """Whether the caller can wait for a thread."""
    return not _cannot_wait.get()


async def in_thread(work: Callable[[], T], cancel: Callable[[], None] | None = None, early: Early | None = None) -> T:
    """Run blocking work in a thread. On cancellation calls ``cancel`` and waits until the work has ended."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def post(settle: Callable[[Any], None], value: Any) -> None:
        # The loop may be closed by the time that late work ends.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(lambda: None if answer.done() else settle(value))

    def run() -> None:
        try:
            result = work()
        # Any failure belongs to the caller, not to this thread.
        except BaseException as failure:  # noqa: BLE001  # reason: carried over to the caller, above
            post(answer.set_exception, failure)
        else:
            post(answer.set_result, result)

    if early is not None:
        early._raise = lambda error: post(answer.set_exception, error)  # noqa: SLF001  # reason: of this module
    thread = _shared_pool().submit(contextvars.copy_context().run, run)
    if early is not None:
        early.thread = thread
    try:
        return await asyncio.shield(answer)
    except asyncio.CancelledError:
        if cancel is not None:
            cancel()
        while not answer.done():
            try:
                await asyncio.wait([answer])
            except asyncio.CancelledError:
                continue
        if not answer.cancelled():
            answer.exception()
        raise


@lru_cache(maxsize=1)
def _shared_pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(512, "archetype-tick")


# A process made by os.fork has none of its parent's threads.
os.register_at_fork(after_in_child=_shared_pool.cache_clear)
