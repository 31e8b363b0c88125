"""Runs processors on this machine, archetypes side by side on threads.

A processor that only computes columns row by row is evaluated directly on them; anything else goes through Daft's runner.
Both paths give the same frame. After every processor its frame is materialized: Daft folds chained projections, and a lazy
plan over two processors would let code of the first see columns of the second (T12).
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections import deque
from collections.abc import Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from archetype_core import telemetry
from archetype_core.errors import ArchetypeError, ProcessorError
from archetype_core.frame import Frame, base_columns
from archetype_core.result import collect, settle
from archetype_core.snapshot import Snapshot

if TYPE_CHECKING:
    from daft.expressions import Expression

    from archetype_core.archetype import Archetype
    from archetype_core.context import TickContext
    from archetype_core.processor import Slot


class LocalExecutor:
    """Executes in this process, with ``threads`` archetypes at a time at most."""

    def __init__(self, threads: int = 32) -> None:
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()

    def run(
        self, live: Mapping[Archetype, Snapshot], work: Mapping[Archetype, tuple[Slot, ...]], context: TickContext
    ) -> dict[Archetype, Snapshot]:
        """The frames after the processors of each archetype; the first failure stops the rest and is raised."""
        queue = deque(work.items())
        done: dict[Archetype, Snapshot] = {}
        failures: list[BaseException] = []
        constants = base_columns(context.world_id, context.run_id, context.tick - 1)

        def work() -> None:
            while queue and not failures and not context.is_cancelled:
                try:
                    archetype, slots = queue.popleft()
                except IndexError:
                    return
                try:
                    done[archetype] = _chain(live[archetype], slots, constants, context)
                # Whatever it is, it belongs to the caller of the tick, not to this thread.
                except BaseException as failure:
                    failures.append(failure)

        helpers = self._helpers(work, min(len(queue), self._threads) - 1)
        work()
        for helper in helpers:
            # One that never started has nothing left to do: the queue is empty by now.
            if not helper.cancel():
                helper.result()
        if context.is_cancelled:
            raise asyncio.CancelledError
        if failures:
            raise failures[0]
        return done

    def close(self) -> None:
        """Let the threads go; idempotent."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False)

    def _helpers(self, work: Any, count: int) -> list[Future[None]]:
        if count < 1:
            return []
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._threads, "archetype-executor")
            pool = self._pool
        return [pool.submit(telemetry.carried(work)) for _ in range(count)]


def _chain(
    snapshot: Snapshot, slots: tuple[Slot, ...], constants: Mapping[str, Expression], context: TickContext
) -> Snapshot:
    for slot in slots:
        table = snapshot.archetype.name
        mailbox = context.mailbox(table)
        sent = len(mailbox.sent)
        with telemetry.processor(slot.name, table, snapshot.num_rows) as span:
            try:
                snapshot = settle(snapshot, collect(_call(slot, snapshot, constants, context), snapshot))
            except (CancelledError, asyncio.CancelledError):
                raise
            # A processor is user code: it may raise anything, and the caller gets one typed error with the cause in it.
            except Exception as failure:
                if slot.skips_errors:
                    del mailbox.sent[sent:]
                    telemetry.skipped(span, slot.name, table, context.tick, failure)
                    continue
                reason = str(failure) if isinstance(failure, ArchetypeError) else f"{type(failure).__name__}: {failure}"
                raise ProcessorError(slot.name, table, context.tick, reason.rstrip(".")) from failure
    return snapshot


def _call(slot: Slot, snapshot: Snapshot, constants: Mapping[str, Expression], context: TickContext) -> Any:
    frame = Frame(snapshot, constants)
    result = slot.processor.process(frame, **context.arguments(slot, snapshot.archetype.name))
    if not inspect.isawaitable(result):
        return result
    # Only the code of ``process`` itself was looked through; a coroutine that it hands on may await.
    if slot.suspends or not inspect.iscoroutine(result) or not inspect.iscoroutinefunction(slot.processor.process):
        return _await(result, context)
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
        if context.is_cancelled:
            future.cancel()
        return future.result()
    finally:
        context.running.discard(future)


