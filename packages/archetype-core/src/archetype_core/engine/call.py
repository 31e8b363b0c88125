"""Calls a processor: on this thread, or, if it awaits, on the event loop that steps the world."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from archetype_core.engine.daft.frame import Frame

if TYPE_CHECKING:
    from daft.expressions import Expression

    from archetype_core.engine.arrays import Arrays
    from archetype_core.engine.context import TickContext
    from archetype_core.engine.processor import Slot
    from archetype_core.schema.archetype import Archetype
    from archetype_core.schema.snapshot import Snapshot


class Call:
    """One call of a processor: what it is given."""

    __slots__ = ("arrays", "constants", "context", "rows", "slot")

    def __init__(self, slot: Slot, rows: Snapshot, constants: Mapping[str, Expression], context: TickContext) -> None:
        self.slot = slot
        self.rows = rows
        self.constants = constants
        self.context = context
        self.arrays: Arrays | None = None

    def frame(self) -> Frame:
        """A frame over the rows."""
        return Frame(self.rows, self.constants)

    def run(self, members: tuple[Archetype, ...]) -> Any:
        """Call the processor and return what it returns; blocks. ``members`` are the tables whose rows these are."""
        signature = self.slot.signature
        arguments = self.context.arguments(self.slot.name, signature, self.rows, members)
        self.arrays = arguments.get("arrays")
        # The caller may take over what the processor returns, so no variable here may hold it.
        if signature.frame is None:
            return self._finished(self.slot.processor.process(**arguments))
        if signature.frame:
            return self._finished(self.slot.processor.process(**arguments, **{signature.frame: self.frame()}))
        return self._finished(self.slot.processor.process(self.frame(), **arguments))

    def _finished(self, result: Any) -> Any:
        signature = self.slot.signature
        if signature.suspends or not signature.is_coroutine:
            # a dictionary is the most frequent result, and asking whether something can be awaited is not cheap
            if type(result) is dict or not inspect.isawaitable(result):
                return result
            return _await(result, self.context)
        # It never suspends, so it needs no loop and must not block one.
        try:
            result.send(None)
        except StopIteration as stop:
            return stop.value
        finally:
            result.close()
        raise RuntimeError("a coroutine without an await was suspended")


def _await(awaitable: Any, context: TickContext) -> Any:
    result, ending = _settled_on_loop(awaitable, context)
    if ending is not None:
        raise ending
    return result


def _settled_on_loop(awaitable: Any, context: TickContext) -> tuple[Any, BaseException | None]:
    """What an awaitable gives, or the ``KeyboardInterrupt`` or ``SystemExit`` that it raises."""

    async def settled() -> tuple[Any, BaseException | None]:
        try:
            return await awaitable, None
        except (KeyboardInterrupt, SystemExit) as ending:
            # Raised in a task, it would stop the loop before the tick is undone.
            return None, ending

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
