"""Calls a processor: on this thread, or, if it awaits, on the event loop that steps the world."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from archetype_core.engine.daft.frame import Frame

if TYPE_CHECKING:
    from daft.expressions import Expression

    from archetype_core.engine.context import TickContext
    from archetype_core.engine.processor import Slot
    from archetype_core.schema.snapshot import Snapshot


def call(slot: Slot, snapshot: Snapshot, constants: Mapping[str, Expression], context: TickContext) -> Any:
    """Call the processor for one table and return its result; blocks."""
    result: Any = slot.processor.process(Frame(snapshot, constants), **context.arguments(slot, snapshot.archetype.name))
    if slot.suspends or not slot.is_coroutine:
        return _await(result, context) if inspect.isawaitable(result) else result
    # It never suspends, so it needs no loop and must not block one.
    try:
        result.send(None)
    except StopIteration as stop:
        return stop.value
    finally:
        result.close()
    raise RuntimeError("a coroutine without an await was suspended")


def _await(awaitable: Any, context: TickContext) -> Any:
    async def settled() -> Any:
        return await awaitable

    if context.loop is None:
        return asyncio.run(settled())
    future = asyncio.run_coroutine_threadsafe(settled(), context.loop)
    context.running.add(future)
    try:
        if context.is_over:
            future.cancel()
        return future.result()
    finally:
        context.running.discard(future)
