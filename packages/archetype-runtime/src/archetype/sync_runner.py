"""Runs coroutines for code without ``await``: one event loop, run by whichever thread needs it.

The loop runs only while somebody waits for a result. The first thread to call runs it. Other threads submit their coroutines
to it meanwhile; when the first thread has its result, one of the waiting threads takes over the loop. A call from within the
loop itself, as a hook makes it, cannot wait for the loop: ``WaitsFor`` says how it is served. What never waits needs no loop.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from archetype.interrupt import release, uninterrupted
from archetype.waits import WaitsFor
from archetype_core.engine import without_waiting
from archetype_core.errors import LoopBusy, RuntimeClosed

T = TypeVar("T")


class SyncRunner:
    """Runs coroutines to their end for callers in any thread."""

    def __init__(self) -> None:
        self._state = threading.Condition()
        self._runner: asyncio.Runner | None = None
        self._thread: int | None = None
        self.is_closed = False
        self._pid = os.getpid()

    @property
    def is_forked_copy(self) -> bool:
        """Whether this is the copy that ``os.fork`` made for another process."""
        return os.getpid() != self._pid

    @property
    def is_inside(self) -> bool:
        """Whether the caller is in the thread that runs the loop, and so is called by the loop."""
        return self._thread == threading.get_ident()

    def call(self, work: Coroutine[Any, Any, T], waits_for: WaitsFor = "loop") -> T:
        """Return what a coroutine returns, or raise what it raises."""
        if self.is_forked_copy:
            # The loop of the other process waits on the same descriptors: this process must not touch it.
            work.close()
            raise RuntimeClosed
        if self.is_inside:
            return self.call_here(work) if waits_for == "nothing" else _call_inside(work, waits_for)
        if _is_in_loop():
            # A notebook's thread runs a loop already and cannot run a second one.
            return self._call_in_new_thread(work)
        return self._call(work)

    def call_here(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what a coroutine returns that never suspends: it needs no loop, so it runs in the caller's thread."""
        if self.is_closed or self.is_forked_copy:
            work.close()
            raise RuntimeClosed
        try:
            with without_waiting(), uninterrupted():
                work.send(None)
        except StopIteration as end:
            result: T = end.value
            return result
        work.close()
        raise LoopBusy

    def close(self) -> None:
        """Close the loop with whatever is left on it; idempotent."""
        if self.is_forked_copy:
            self.is_closed = True
            return
        if self.is_inside:
            raise LoopBusy
        release()
        with self._state:
            self._state.wait_for(lambda: self._thread is None)
            self.is_closed = True
            runner, self._runner = self._runner, None
        if runner is not None:
            if _is_in_loop():
                _in_new_thread(runner.close)
            else:
                runner.close()

    def _call_in_new_thread(self, work: Coroutine[Any, Any, T]) -> T:
        """Call from a new thread, while this one waits; an interrupt cancels the work."""
        begun: Future[asyncio.Task[Any]] = Future()

        async def tracked() -> T:
            task = asyncio.current_task()
            assert task is not None
            begun.set_result(task)
            return await work

        def cancel() -> None:
            begun.add_done_callback(lambda done: done.result().get_loop().call_soon_threadsafe(done.result().cancel))

        try:
            return _in_new_thread(lambda: self._call(tracked()), cancel)
        finally:
            # It has ended by now, unless the runner was closed before it began.
            work.close()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        runner, is_first = self._acquire(work)
        if is_first:
            return self._run_loop(runner, work)
        submitted = asyncio.run_coroutine_threadsafe(work, runner.get_loop())
        submitted.add_done_callback(lambda _: self._notify())
        try:
            return self._await_result(submitted, work)
        except BaseException:
            submitted.cancel()
            raise

    def _await_result(self, submitted: Future[T], work: Coroutine[Any, Any, T]) -> T:
        """Wait for a coroutine that another thread's loop runs; run the loop here if that thread leaves it."""
        with self._state:
            self._state.wait_for(lambda: submitted.done() or self._thread is None)
            if submitted.done():
                return submitted.result()
            if self._runner is None:
                work.close()
                raise RuntimeClosed
            self._thread = threading.get_ident()
            runner = self._runner
        return self._run_loop(runner, _wrapped(submitted))

    def _acquire(self, work: Coroutine[Any, Any, Any]) -> tuple[asyncio.Runner, bool]:
        """Return the runner, and whether this thread has to run its loop."""
        with self._state:
            if self.is_closed:
                work.close()
                raise RuntimeClosed
            if self._runner is None:
                # With a loop factory, the runner leaves the thread's current loop alone.
                self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
                # Created now: two threads that ask for it later would create two.
                self._runner.get_loop()
            is_first = self._thread is None
            if is_first:
                self._thread = threading.get_ident()
            return self._runner, is_first

    def _run_loop(self, runner: asyncio.Runner, work: Coroutine[Any, Any, T]) -> T:
        # The loop handles Ctrl-C itself, if nobody else does.
        release()
        try:
            return runner.run(work, context=contextvars.copy_context())
        finally:
            with self._state:
                self._thread = None
                self._state.notify_all()

    def _notify(self) -> None:
        with self._state:
            self._state.notify_all()


def run_sync(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a new event loop. It makes no runtime: the coroutine makes and closes its own.

    ``RuntimeError`` where a loop runs already: ``await`` the coroutine there.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            return runner.run(work)
    work.close()
    raise RuntimeError("run_sync() was called inside a running event loop: await the coroutine instead")


async def _wrapped(future: Future[T]) -> T:
    return await asyncio.wrap_future(future)


def _call_inside(work: Coroutine[Any, Any, T], waits_for: WaitsFor) -> T:
    """Run a coroutine while the loop waits for this very thread."""
    if waits_for == "threads":
        return _in_new_thread(lambda: asyncio.run(work))
    work.close()
    raise LoopBusy


def _in_new_thread(work: Callable[[], T], cancel: Callable[[], None] | None = None) -> T:
    """Return what a function returns in a new thread, in the context of this one."""
    result: Future[T] = Future()

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as failure:  # noqa: BLE001  # reason: raised in the thread that waits
            result.set_exception(failure)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(run,), name="archetype-sync")
    thread.start()
    try:
        return result.result()
    except BaseException:
        if cancel is not None and not result.done():
            cancel()
        raise
    finally:
        thread.join()


def _is_in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
