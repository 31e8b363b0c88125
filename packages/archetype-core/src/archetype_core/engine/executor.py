"""Runs processors in this process, archetypes concurrently on threads.

Row-wise results are evaluated without Daft's runner, small tables with the same expressions together; anything else goes
through the runner. All paths give the same frame. Each processor's frame
is materialized before the next runs: Daft would fold the two steps, so the first processor's code could see the second's columns
(T12).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from archetype_core import telemetry
from archetype_core.engine.batch import SMALL_ROWS, Batch, groups
from archetype_core.engine.call import Call
from archetype_core.engine.daft.expression import Structure
from archetype_core.engine.daft.frame import Frame, base_columns
from archetype_core.engine.frame_result import is_local
from archetype_core.engine.processor_result import collect, recorded
from archetype_core.engine.settle import settle
from archetype_core.engine.wrong_result import WrongResult
from archetype_core.errors import ArchetypeError, ProcessorError
from archetype_core.panic import panics_as_errors
from archetype_core.schema.snapshot import Snapshot

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from archetype_core.engine.context import TickContext
    from archetype_core.engine.processor import Slot
    from archetype_core.schema.archetype import Archetype
    from archetype_core.schema.message import Mailbox


class LocalExecutor:
    """Executes in this process, at most ``threads`` archetypes at a time.

    The calling thread works through the archetypes. More threads join for archetypes that were slow in the last tick, and
    whenever no archetype finishes for some milliseconds. So blocking work overlaps, and a thousand small tables do not
    contend for the interpreter lock.
    """

    def __init__(self, threads: int = 128) -> None:
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._slow: set[Archetype] = set()

    def run(
        self, live: Mapping[Archetype, Snapshot], work: Mapping[Archetype, tuple[Slot, ...]], context: TickContext
    ) -> dict[Archetype, Snapshot]:
        """The frames after each archetype's processors. The first failure stops the others and is raised."""
        tick_run = _TickRun(live, work, context, self._slow)
        if len(tick_run.queue) > 1:
            tick_run.add_threads(self._threads - 1, self._submit)
        tick_run.work()
        return tick_run.finish()

    def close(self) -> None:
        """Stop the threads; idempotent."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False)

    def _submit(self, work: Callable[[], None]) -> Future[None]:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._threads, "archetype-executor")
            pool = self._pool
        return pool.submit(telemetry.in_current_context(work))


@dataclass(slots=True)
class _Job:
    """One table (or one batch of tables) and its progress through its processors."""

    order: int
    rows: Snapshot
    slots: tuple[Slot, ...]
    batch: Batch | None = None
    position: int = 0
    record: Frame | None = None
    """The unevaluated result of the processor at ``position``, while it waits for other tables with the same expressions."""

    @property
    def slot(self) -> Slot:
        return self.slots[self.position]

    @property
    def members(self) -> tuple[Archetype, ...]:
        """The tables whose rows these are."""
        return (self.rows.archetype,) if self.batch is None else self.batch.members


class _TickRun:
    """One tick's jobs and the threads that run them."""

    _SLOW_S = 0.001
    """A table that takes longer than this gets a thread of its own."""

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
        self.constants = base_columns(context.base_values)
        self.done: dict[Archetype, Snapshot] = {}
        self.failures: list[BaseException] = []
        self.over = threading.Event()
        self.completed = 0
        self.helpers: list[Future[None]] = []
        self.waiting: dict[tuple[Any, ...], list[_Job]] = {}
        self.lock = threading.Lock()
        batches = [Batch.of(members, live, slots) for members, slots in groups(live, work)]
        batched = {member for batch in batches for member in batch.members}
        jobs = [_Job(0, batch.rows, work[batch.members[0]], batch) for batch in batches]
        alone = (item for item in work.items() if item[0] not in batched) if batched else work.items()
        jobs += [_Job(order, live[archetype], slots) for order, (archetype, slots) in enumerate(alone)]
        self.is_crowded = len(jobs) > 4
        # Slow tables first: they decide when the tick ends.
        self.queue = deque(sorted(jobs, key=lambda job: job.rows.archetype not in slow) if slow else jobs)

    def add_threads(self, most: int, submit: Callable[[Callable[[], None]], Future[None]]) -> None:
        """Start threads for the slow tables, and a watcher for tables that turn out slow."""
        known = sum(
            1
            for job in self.queue
            if job.rows.archetype in self.slow or any(slot.signature.suspends for slot in job.slots)
        )
        at_once = min(known, len(self.queue), most + 1) - 1
        self.helpers += [submit(self.work) for _ in range(at_once)]

        def watch() -> None:
            seen = self.completed
            while not self.over.wait(2 * self._SLOW_S) and self.queue:
                if self.completed == seen:
                    if len(self.helpers) < most:
                        self.helpers.append(submit(watch))
                    self.work()
                    return
                seen = self.completed

        if len(self.helpers) < most:
            self.helpers.append(submit(watch))

    def work(self) -> None:
        """Run queued jobs, then the batched results that wait, until the tick is finished or has failed."""
        while not self.failures and not self.context.is_cancelled:
            try:
                job = self.queue.popleft()
            except IndexError:
                with self.lock:
                    waiting, self.waiting = self.waiting, {}
                if not waiting:
                    return
                for alike in waiting.values():
                    self._guard(self._evaluate, sorted(alike, key=lambda job: job.order))
                continue
            began = time.perf_counter()
            self._guard(self._advance, job)
            took = time.perf_counter() - began
            self.completed += 1
            if took > self._SLOW_S:
                self.slow.add(job.rows.archetype)
            elif self.slow:
                self.slow.discard(job.rows.archetype)

    def finish(self) -> dict[Archetype, Snapshot]:
        """Wait for all threads; return the frames or raise the first failure."""
        self.over.set()
        # The watcher may still add threads to this list.
        for helper in self.helpers:
            if not helper.cancel():
                helper.result()
        if self.context.is_cancelled:
            raise asyncio.CancelledError
        if self.failures:
            raise self.failures[0]
        return self.done

    def _guard(self, act: Callable[[Any], None], argument: Any) -> None:
        try:
            act(argument)
        # Any failure belongs to the caller of the tick, not to this thread.
        except BaseException as failure:  # noqa: BLE001  # reason: carried over to the caller, above
            self.failures.append(failure)

    def _advance(self, job: _Job) -> None:
        """Run a job's remaining processors, until it is done or its result waits to be batched."""
        while job.position < len(job.slots):
            if self._run(job):
                return
            job.position += 1
        if job.batch is None:
            self.done[job.rows.archetype] = job.rows
        else:
            self.done.update(job.batch.split(job.rows, self.live))

    def _run(self, job: _Job) -> bool:
        """Run one processor. Returns whether the job now waits with an unevaluated result."""
        slot, rows = job.slot, job.rows
        table = rows.archetype.name
        mailbox = self.context.mailbox(table) if slot.signature.takes("messages") else None
        sent = len(mailbox.sent) if mailbox is not None else 0
        with telemetry.processor(slot.name, table, rows.num_rows, self.context.is_traced) as span:
            try:
                with panics_as_errors():
                    call = Call(slot, rows, self.constants, self.context)
                    # Only this list holds the result, so that arrays in it can be taken over.
                    box: list[Any] = [call.run(job.members) if job.record is None else job.record]
                    if job.record is None and self._may_wait(job, recorded(box, call)):
                        return True
                    job.record = None
                    job.rows = settle(rows, collect(box, call))
            except (CancelledError, asyncio.CancelledError) as failure:
                if self.context.is_cancelled:
                    raise
                # The tick was not cancelled: the processor itself raised it.
                self._fail(job, mailbox, sent, span, failure)
            # A processor is user code and may raise anything; the caller gets one typed error with the cause.
            except Exception as failure:  # noqa: BLE001  # reason: raised again as one type, in _fail
                self._fail(job, mailbox, sent, span, failure)
        return False

    def _fail(self, job: _Job, mailbox: Mailbox | None, sent: int, span: Span, failure: BaseException) -> None:
        """Drop the frame if the processor has ``on_error="skip"``; otherwise raise ``ProcessorError``."""
        job.record = None
        slot, table = job.slot, job.rows.archetype.name
        if not slot.skips_errors:
            text = telemetry.error_text(failure).rstrip(".")
            if isinstance(failure, WrongResult):
                raise ProcessorError(
                    slot.name, table, self.context.tick, text, column=failure.column, entity_id=failure.entity_id
                ) from failure
            reason = text if isinstance(failure, ArchetypeError) else f"{type(failure).__name__}: {text}"
            raise ProcessorError(slot.name, table, self.context.tick, reason) from failure
        if mailbox is not None:
            del mailbox.sent[sent:]
        telemetry.processor_skipped(span, slot.name, table, self.context.tick, failure)

    def _may_wait(self, job: _Job, result: Frame | None) -> bool:
        """Set a small table's recorded columns aside, to be evaluated with equal ones of other tables."""
        rows = job.rows
        if not self.is_crowded or job.batch is not None or rows.num_rows > SMALL_ROWS:
            return False
        if result is None:
            return False
        key = (job.slot, *[(name, Structure(one)) for stage in result.stages for name, one in stage.items()])
        with self.lock:
            alike = self.waiting.get(key)
            if alike is None:
                if not is_local(result.stages, job.slot.columns):
                    return False
                alike = self.waiting[key] = []
            job.record = result
            alike.append(job)
        return True

    def _evaluate(self, alike: list[_Job]) -> None:
        """Evaluate the same recorded columns for several tables at once, and requeue these tables."""
        first = alike[0]
        assert first.record is not None
        if len(alike) > 1:
            rows = {job.rows.archetype: job.rows for job in alike}
            batch = Batch.of(tuple(rows), rows, (first.slot,))
            try:
                with panics_as_errors():
                    call = Call(first.slot, batch.rows, self.constants, self.context)
                    result = settle(batch.rows, collect([Frame(batch.rows, self.constants, first.record.stages)], call))
            # A value of one of the tables does not fit: evaluate them one by one, so that only that table fails or skips.
            except Exception:  # noqa: BLE001  # reason: raised again below, for the table at fault
                telemetry.log.debug("%s is evaluated table by table", first.slot.name, exc_info=True)
            else:
                rows.update(batch.split(result, rows))
                for job in alike:
                    job.rows, job.record = rows[job.rows.archetype], None
                    job.position += 1
        self.queue.extend(alike)
