"""Runs processors on this machine, archetypes side by side on threads.

A processor that only computes columns row by row is evaluated directly on them; anything else goes through Daft's runner.
Both paths give the same frame. After every processor its frame is materialized: Daft folds chained projections, and a lazy
plan over two processors would let code of the first see columns of the second (T12).
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from archetype_core import telemetry
from archetype_core.batch import Batch, groups
from archetype_core.errors import ArchetypeError, ProcessorError
from archetype_core.frame import Frame, base_columns
from archetype_core.result import collect, settle
from archetype_core.snapshot import Snapshot

if TYPE_CHECKING:
    from daft.expressions import Expression

    from archetype_core.archetype import Archetype
    from archetype_core.context import TickContext
    from archetype_core.processor import Slot


Unit = tuple[Snapshot, tuple["Slot", ...], "Batch | None"]


class LocalExecutor:
    """Executes in this process, with ``threads`` archetypes at a time at most.

    The calling thread works through the archetypes. Others join it for those that took long last time, and whenever
    everybody at work has been busy with one archetype for a while; so blocking work overlaps, and a thousand small tables
    do not pass the interpreter lock around.
    """

    def __init__(self, threads: int = 32) -> None:
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._slow: set[Archetype] = set()

    def run(
        self, live: Mapping[Archetype, Snapshot], work: Mapping[Archetype, tuple[Slot, ...]], context: TickContext
    ) -> dict[Archetype, Snapshot]:
        """The frames after the processors of each archetype; the first failure stops the rest and is raised."""
        shift = _Shift(live, work, context, self._slow)
        if len(shift.queue) > 1:
            shift.hire(self._threads - 1, self._submit)
        shift.work()
        return shift.finish()

    def close(self) -> None:
        """Let the threads go; idempotent."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False)

    def _submit(self, work: Callable[[], None]) -> Future[None]:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._threads, "archetype-executor")
            pool = self._pool
        return pool.submit(telemetry.carried(work))


class _Shift:
    """One tick's work and the threads on it."""

    _SLOW_S = 0.001
    """An archetype that takes longer than this is worth a thread of its own."""

    def __init__(
        self,
        live: Mapping[Archetype, Snapshot],
        work: Mapping[Archetype, tuple[Slot, ...]],
        context: TickContext,
        slow: set[Archetype],
    ) -> None:
        self.live = live
        self.context = context
        self.slow = slow
        self.constants = base_columns(context.world_id, context.run_id, context.tick - 1)
        self.done: dict[Archetype, Snapshot] = {}
        self.failures: list[BaseException] = []
        self.over = threading.Event()
        self.completed = 0
        self.hired: list[Future[None]] = []
        batches = [Batch.of(members, live, slots) for members, slots in groups(live, work)]
        batched = {member: None for batch in batches for member in batch.members}
        units: list[Unit] = [(batch.rows, work[batch.members[0]], batch) for batch in batches]
        units += [(live[one], slots, None) for one, slots in work.items() if one not in batched]
        # The slow ones first: they decide when the tick ends.
        self.queue = deque(sorted(units, key=lambda unit: unit[0].archetype not in slow) if slow else units)

    def hire(self, most: int, submit: Callable[[Callable[[], None]], Future[None]]) -> None:
        """Put threads on the slow archetypes, and one on watch for those that turn out to be."""
        known = sum(unit[0].archetype in self.slow or any(slot.suspends for slot in unit[1]) for unit in self.queue)
        at_once = min(known, len(self.queue), most + 1) - 1
        self.hired += [submit(self.work) for _ in range(at_once)]

        def watch() -> None:
            seen = self.completed
            while not self.over.wait(2 * self._SLOW_S) and self.queue:
                if self.completed == seen:
                    if len(self.hired) < most:
                        self.hired.append(submit(watch))
                    self.work()
                    return
                seen = self.completed

        if len(self.hired) < most:
            self.hired.append(submit(watch))

    def work(self) -> None:
        """Take archetypes off the queue until it is empty or the tick is lost."""
        while self.queue and not self.failures and not self.context.is_cancelled:
            try:
                rows, slots, batch = self.queue.popleft()
            except IndexError:
                return
            began = time.perf_counter()
            try:
                result = _chain(rows, slots, self.constants, self.context)
                if batch is None:
                    self.done[rows.archetype] = result
                else:
                    self.done.update(batch.split(result, self.live))
            # Whatever it is, it belongs to the caller of the tick, not to this thread.
            except BaseException as failure:
                self.failures.append(failure)
            took = time.perf_counter() - began
            self.completed += 1
            (self.slow.add if took > self._SLOW_S else self.slow.discard)(rows.archetype)

    def finish(self) -> dict[Archetype, Snapshot]:
        """Wait for everybody, and return the frames or raise what went wrong."""
        self.over.set()
        # The list may grow while somebody on watch still hires.
        for helper in self.hired:
            if not helper.cancel():
                helper.result()
        if self.context.is_cancelled:
            raise asyncio.CancelledError
        if self.failures:
            raise self.failures[0]
        return self.done


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
    if slot.suspends or not inspect.iscoroutine(result):
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
