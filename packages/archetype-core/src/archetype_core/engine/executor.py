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
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from archetype_core import telemetry
from archetype_core.engine.batch import SMALL_ROWS, Batch, groups
from archetype_core.engine.call import Call
from archetype_core.engine.daft.frame import Frame, base_columns
from archetype_core.engine.formula import Formula, formula_of
from archetype_core.engine.frame_result import are_equal, is_local
from archetype_core.engine.processor_failure import processor_error
from archetype_core.engine.processor_result import Recorder, collect
from archetype_core.engine.settle import settle
from archetype_core.panic import panics_as_errors
from archetype_core.schema.snapshot import Snapshot

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from archetype_core.engine.attempt import Mark
    from archetype_core.engine.context import TickContext
    from archetype_core.engine.daft.guard import Stage
    from archetype_core.engine.processor import Slot
    from archetype_core.schema.archetype import Archetype
    from archetype_core.user_traceback import Line


_SLOW_S = 0.001
"""A table that takes longer than this is slow in a tick."""
_SLOW_TICKS = 2
"""A table that was slow in so many ticks, one after the other, gets a thread of its own; one tick may be the machine's doing."""
_KINDS = 64
"""How many different results of one processor wait for tables with the same; others are evaluated alone."""


class LocalExecutor:
    """Executes in this process, at most ``threads`` archetypes at a time.

    The calling thread works through the archetypes. More threads join for archetypes that were slow in the last ticks, and
    whenever no archetype finishes for some milliseconds. So blocking work overlaps, and a thousand small tables do not
    contend for the interpreter lock.
    """

    def __init__(self, threads: int = 128) -> None:
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._slow: dict[Archetype, int] = {}

    def run(
        self, live: Mapping[Archetype, Snapshot], work: Mapping[Archetype, tuple[Slot, ...]], context: TickContext
    ) -> dict[Archetype, Snapshot]:
        """The frames after each archetype's processors. The first failure stops the others and is raised."""
        tick_run = _TickRun(live, work, context, self._slow)
        tick_run.evaluate_waiting()
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
    record: tuple[Stage, ...] = ()
    """The unevaluated steps of the processor at ``position``, while they wait for other tables with the same."""
    lines: tuple[Line | None, ...] = ()
    """The user's lines that wrote these steps."""

    @property
    def slot(self) -> Slot:
        return self.slots[self.position]

    @property
    def members(self) -> tuple[Archetype, ...]:
        """The tables whose rows these are."""
        return (self.rows.archetype,) if self.batch is None else self.batch.members


def _order(job: _Job) -> int:
    return job.order


class _TickRun:
    """One tick's jobs and the threads that run them."""

    def __init__(
        self,
        live: Mapping[Archetype, Snapshot],
        work: Mapping[Archetype, tuple[Slot, ...]],
        context: TickContext,
        slow: dict[Archetype, int],
    ) -> None:
        self.live = live
        self.context = context
        self.slow = slow
        self.constants = base_columns(context.base_values)
        self.done: dict[Archetype, Snapshot] = {}
        self.over = threading.Event()
        self.caller = threading.get_ident()
        self.is_raised_early = False
        self.completed = 0
        self.helpers: list[Future[None]] = []
        self.waiting: dict[Slot, list[list[_Job]]] = {}
        self.recorders: dict[Slot, Recorder] = {}
        self.lock = threading.Lock()
        batches = [Batch.of(members, live, slots) for members, slots in groups(live, work)]
        batched = {member for batch in batches for member in batch.members}
        jobs = [_Job(0, batch.rows, work[batch.members[0]], batch) for batch in batches]
        alone = (item for item in work.items() if item[0] not in batched) if batched else work.items()
        jobs += [_Job(order, live[archetype], slots) for order, (archetype, slots) in enumerate(alone)]
        self.is_crowded = len(jobs) > 4
        kinds = Counter(work.values())
        self.has_slow = bool(slow) or any(slot.signature.suspends for slots in kinds for slot in slots)
        self.formulas = self._formulas(kinds)
        if self.formulas:
            jobs = self._set_aside(jobs)
        # Slow tables first: they decide when the tick ends.
        self.queue = deque(sorted(jobs, key=lambda job: not self._is_slow(job)) if self.has_slow else jobs)

    def add_threads(self, most: int, submit: Callable[[Callable[[], None]], Future[None]]) -> None:
        """Start threads for the slow tables, and a watcher for tables that turn out slow."""
        at_once = min(sum(self._is_slow(job) for job in self.queue), len(self.queue), most + 1) - 1
        self.helpers += [submit(self._work_on_slow) for _ in range(at_once)]

        def watch() -> None:
            seen = self.completed
            while not self.over.wait(2 * _SLOW_S) and self.queue:
                if self.completed == seen:
                    if len(self.helpers) < most:
                        self.helpers.append(submit(watch))
                    self._work_while_stalled()
                    return
                seen = self.completed

        if len(self.helpers) < most:
            self.helpers.append(submit(watch))

    def work(self) -> None:
        """Run queued jobs, then the batched results that wait, until the tick is finished or has failed."""
        while not self.context.is_over:
            try:
                job = self.queue.popleft()
            except IndexError:
                if not self.evaluate_waiting():
                    return
                continue
            self._work_on(job)

    def evaluate_waiting(self) -> bool:
        """Evaluate the batched results that wait; whether there were any."""
        with self.lock:
            waiting, self.waiting = self.waiting, {}
        for groups_of_slot in waiting.values():
            for alike in groups_of_slot:
                self._guard(self._evaluate, sorted(alike, key=_order))
        return bool(waiting)

    def _work_on_slow(self) -> None:
        """Run slow tables. Threads that run fast ones would only wait for one another, for the interpreter lock."""
        while not self.context.is_over and self.queue:
            with suppress(IndexError):
                job = self.queue.popleft()
                if not self._is_slow(job):
                    self.queue.appendleft(job)
                    return
                self._work_on(job)

    def _work_while_stalled(self) -> None:
        """Run tables until another thread gets on with its own."""
        while not self.context.is_over and self.queue:
            with suppress(IndexError):
                job, seen = self.queue.popleft(), self.completed
                self._work_on(job)
                if self.completed > seen + 1:
                    return

    def _is_slow(self, job: _Job) -> bool:
        if not self.has_slow:
            return False
        often = self.slow.get(job.rows.archetype, 0) >= _SLOW_TICKS
        return often or any(slot.signature.suspends for slot in job.slots)

    def _work_on(self, job: _Job) -> None:
        began = time.perf_counter()
        self._guard(self._advance, job)
        took = time.perf_counter() - began
        self.completed += 1
        archetype = job.rows.archetype
        if took > _SLOW_S:
            self.slow[archetype] = self.slow.get(archetype, 0) + 1
        elif self.slow:
            self.slow.pop(archetype, None)

    def finish(self) -> dict[Archetype, Snapshot]:
        """Wait for all threads; return the frames or raise the first failure."""
        self.over.set()
        # The watcher may still add threads to this list.
        for helper in self.helpers:
            if not helper.cancel():
                if not helper.done():
                    self._raise_early()
                helper.result()
        # What the helpers left: the last steps of tables that they worked on.
        self.work()
        # A failure that was raised early belongs to the caller by now: raised here too, it would gather this thread's frames.
        if self.context.is_cancelled or self.is_raised_early:
            raise asyncio.CancelledError
        if self.context.failure is not None:
            raise self.context.failure
        return self.done

    def _raise_early(self) -> None:
        """Tell whoever waits for the tick about its failure; other threads may still be busy for long."""
        context = self.context
        if context.failure is not None and context.raise_early is not None:
            self.is_raised_early = True
            context.raise_early(context.failure)

    def _guard(self, act: Callable[[Any], None], argument: Any) -> None:
        try:
            act(argument)
        # Any failure belongs to the caller of the tick, not to this thread.
        except BaseException as failure:  # noqa: BLE001  # reason: carried over to the caller, above
            self.context.fail(failure)
            if threading.get_ident() != self.caller:
                self._raise_early()

    def _advance(self, job: _Job) -> None:
        """Run a job's remaining processors, until it is done or its result waits to be batched."""
        while job.position < len(job.slots):
            is_waiting = bool(self.formulas) and not self._set_aside([job])
            if is_waiting or self._run(job):
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
        attempt = self.context.attempt
        mark = attempt.mark(table) if slot.skips_errors else None
        frame: Frame | None = None
        with (
            telemetry.processor(slot.name, table, rows.num_rows, self.context.is_traced) as span,
            attempt.inside(table),
        ):
            try:
                with panics_as_errors():
                    call = Call(slot, rows, self.constants, self.context)
                    # Only this list holds the result, so that arrays in it can be taken over.
                    if job.record:
                        frame = Frame(rows, self.constants, job.record, job.lines)
                        box: list[Any] = [frame]
                        job.record = job.lines = ()
                    else:
                        box = [call.run(job.members)]
                        frame = box[0] if isinstance(box[0], Frame) else None
                        if self.is_crowded and self._may_wait(job, box):
                            return True
                    job.rows = settle(rows, collect(box, call))
            except (CancelledError, asyncio.CancelledError) as failure:
                if self.context.is_over:
                    raise
                # The tick was not cancelled: the processor itself raised it.
                self._fail(job, mark, span, failure, frame=frame)
            # A processor is user code and may raise anything; the caller gets one typed error with the cause.
            except Exception as failure:  # noqa: BLE001  # reason: raised again as one type, in _fail
                self._fail(job, mark, span, failure, frame=frame)
        return False

    def _fail(self, job: _Job, mark: Mark | None, span: Span, failure: BaseException, *, frame: Frame | None) -> None:
        """Drop the frame if the processor has ``on_error="skip"``; otherwise raise ``ProcessorError``."""
        job.record = job.lines = ()
        slot, table = job.slot, job.rows.archetype.name
        if mark is None:
            raise processor_error(slot, job.rows.archetype, self.context.tick, failure, frame)
        self.context.attempt.rewind(table, mark)
        telemetry.processor_skipped(span, slot.name, table, self.context.tick, failure)

    def _set_aside(self, jobs: Iterable[_Job]) -> list[_Job]:
        """Let small tables wait whose processors write the same steps for every table; return the others."""
        rest: list[_Job] = []
        waiting: dict[Slot, list[_Job] | None] = {}
        with self.lock:
            for job in jobs:
                slot = job.slots[job.position]
                formula = self.formulas.get(slot)
                if formula is None or job.batch is not None or job.record or job.rows.num_rows > SMALL_ROWS:
                    rest.append(job)
                    continue
                # No processor runs on these tables meanwhile, so one look at the formula's values is enough.
                if slot not in waiting:
                    waiting[slot] = self._alike(slot, formula.stages) if formula.holds() else None
                alike = waiting[slot]
                if alike is None:
                    rest.append(job)
                else:
                    job.record, job.lines = formula.stages, formula.lines
                    alike.append(job)
        return rest

    def _formulas(self, kinds: Mapping[tuple[Slot, ...], int]) -> dict[Slot, Formula]:
        """The formulas of the processors that have one and run on several tables; ``kinds`` has the number of tables."""
        # A trace has a span for every call.
        if not self.is_crowded or self.context.is_traced:
            return {}
        tables: Counter[Slot] = Counter()
        for slots, count in kinds.items():
            tables.update(dict.fromkeys(slots, count))
        found = ((slot, formula_of(slot, self.constants, self.context)) for slot, count in tables.items() if count > 1)
        return {slot: formula for slot, formula in found if formula is not None}

    def _may_wait(self, job: _Job, box: list[Any]) -> bool:
        """Set a small table's recorded columns aside, to be evaluated with equal ones of other tables."""
        rows, slot = job.rows, job.slot
        if job.batch is not None or rows.num_rows > SMALL_ROWS:
            return False
        recorder = self.recorders.get(slot)
        if recorder is None:
            recorder = self.recorders[slot] = Recorder()
        with self.lock:
            stages = recorder.stages(box, rows)
            if not stages:
                return False
            alike = self._alike(slot, stages)
            if alike is None:
                return False
            job.record = stages
            job.lines = box[0].lines if isinstance(box[0], Frame) else ()
            alike.append(job)
        return True

    def _alike(self, slot: Slot, stages: tuple[Stage, ...]) -> list[_Job] | None:
        """The tables that wait with these steps; ``None`` if these steps must not wait."""
        kinds = self.waiting.setdefault(slot, [])
        # The newest first: most often all tables of a processor get the same expressions.
        for alike in reversed(kinds):
            if alike[0].record is stages or are_equal(alike[0].record, stages):
                return alike
        if len(kinds) >= _KINDS or not is_local(stages, slot.columns):
            return None
        kinds.append([])
        return kinds[-1]

    def _evaluate(self, alike: list[_Job]) -> None:
        """Evaluate the same recorded columns for several tables at once, and requeue these tables."""
        first = alike[0]
        if len(alike) > 1:
            rows = {job.rows.archetype: job.rows for job in alike}
            batch = Batch.of(tuple(rows), rows, (first.slot,))
            try:
                with panics_as_errors():
                    call = Call(first.slot, batch.rows, self.constants, self.context)
                    result = settle(batch.rows, collect([Frame(batch.rows, self.constants, first.record)], call))
            # A value of one of the tables does not fit: evaluate them one by one, so that only that table fails or skips.
            except Exception:  # noqa: BLE001  # reason: raised again below, for the table at fault
                telemetry.log.debug("%s is evaluated table by table", first.slot.name, exc_info=True)
            else:
                rows.update(batch.split(result, rows))
                for job in alike:
                    job.rows, job.record = rows[job.rows.archetype], ()
                    job.position += 1
                    if job.position == len(job.slots):
                        self.done[job.rows.archetype] = job.rows
                alike = self._set_aside(job for job in alike if job.position < len(job.slots))
        self.queue.extend(alike)
