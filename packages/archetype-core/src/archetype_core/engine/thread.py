"""Runs blocking work in threads that all worlds share, so that no event loop blocks."""

from __future__ import annotations

import asyncio
import contextvars
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

T = TypeVar("T")


async def in_thread(work: Callable[[], T], cancel: Callable[[], None] | None = None) -> T:
    """Run blocking work in a thread. On cancellation calls ``cancel`` and waits until the work has ended."""
    loop = asyncio.get_running_loop()
    future = loop.run_in_executor(_shared_pool(), contextvars.copy_context().run, work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if cancel is not None:
            cancel()
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError:
                continue
        if not future.cancelled():
            future.exception()
        raise


@lru_cache(maxsize=1)
def _shared_pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(512, "archetype-tick")


# A process made by os.fork has none of its parent's threads.
os.register_at_fork(after_in_child=_shared_pool.cache_clear)
