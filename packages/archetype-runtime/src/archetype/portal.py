"""The way from code without ``await`` to coroutines: one event loop, led by whichever thread needs it.

The loop runs only while somebody waits for something. The first thread to come leads it; others hand their work to it
meanwhile, and when the leader has what it wanted, one of them goes on leading. A thread that calls from within the loop
itself, in a hook, cannot wait for it: what never suspends is driven on the spot, what waits for other threads gets a loop
in one of its own, and what may have to wait for its turn is refused.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from enum import Enum, auto
from typing import Any, TypeVar

from archetype_core.errors import LoopBusy, RuntimeClosed

T = TypeVar("T")


class Wait(Enum):
    """What a coroutine may have to wait for."""

    NOTHING = auto()
    """It never suspends."""
    THREAD = auto()
    """Work in other threads, which does not need the loop."""
    TURN = auto()
    """Its turn, which may be somebody else's on the same loop."""


class Portal:
    """Runs coroutines to their end for callers in any thread."""

    def __init__(self) -> None:
        self._state = threading.Condition()
        self._runner: asyncio.Runner | None = None
        self._leader: int | None = None
        self.is_closed = False
        self._pid = os.getpid()

    @property
    def is_copy(self) -> bool:
        """Whether this is the copy that ``fork`` made for another process."""
        return os.getpid() != self._pid

    @property
    def is_led_here(self) -> bool:
        """Whether the caller is in the thread that leads the loop, and so on the loop itself."""
        return self._leader == threading.get_ident()

    def call(self, work: Coroutine[Any, Any, T], wait: Wait = Wait.TURN) -> T:
        """What a coroutine returns or raises."""
        if self.is_copy:
            # The loop of the process that was copied waits on the same descriptors: it is not to be touched.
            work.close()
            raise RuntimeClosed
        if self.is_led_here:
            return _inside(work, wait)
        if _in_loop():
            # A notebook's thread runs a loop already, and cannot lead a second one.
            return self._elsewhere(work)
        return self._call(work)

    def close(self) -> None:
        """End the loop with whatever is left on it; idempotent."""
        if self.is_copy:
            self.is_closed = True
            return
        if self.is_led_here:
            raise LoopBusy
        with self._state:
            self._state.wait_for(lambda: self._leader is None)
            self.is_closed = True
            runner, self._runner = self._runner, None
        if runner is not None:
            if _in_loop():
                _apart(runner.close)
            else:
                runner.close()

    def _elsewhere(self, work: Coroutine[Any, Any, T]) -> T:
        """The same from a thread that leads a loop of somebody else; an interrupt cancels the work."""
        begun: Future[asyncio.Task[Any]] = Future()

        async def told() -> T:
            task = asyncio.current_task()
            assert task is not None
            begun.set_result(task)
            return await work

        def cancel() -> None:
            begun.add_done_callback(lambda done: done.result().get_loop().call_soon_threadsafe(done.result().cancel))

        try:
            return _apart(lambda: self._call(told()), cancel)
        finally:
            # Over by now, unless the portal was closed and it never began.
            work.close()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        runner, is_leader = self._joined(work)
        if is_leader:
            return self._led(runner, work)
        handed = asyncio.run_coroutine_threadsafe(work, runner.get_loop())
        handed.add_done_callback(lambda _: self._tell())
        try:
            return self._followed(handed, work)
        except BaseException:
            handed.cancel()
            raise

    def _followed(self, handed: Future[T], work: Coroutine[Any, Any, T]) -> T:
        """The result of what another thread's loop was given, leading the loop on if that thread leaves."""
        with self._state:
            self._state.wait_for(lambda: handed.done() or self._leader is None)
            if handed.done():
                return handed.result()
            if self._runner is None:
                work.close()
                raise RuntimeClosed
            self._leader = threading.get_ident()
            runner = self._runner
        return self._led(runner, _waited(handed))

    def _joined(self, work: Coroutine[Any, Any, Any]) -> tuple[asyncio.Runner, bool]:
        """The runner, and whether it is this thread that has to lead it."""
        with self._state:
            if self.is_closed:
                work.close()
                raise RuntimeClosed
            if self._runner is None:
                # With a factory of its own, the runner leaves the thread's current loop alone.
                self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
                # Now, since two threads that both asked for it would make two.
                self._runner.get_loop()
            is_leader = self._leader is None
            if is_leader:
                self._leader = threading.get_ident()
            return self._runner, is_leader

    def _led(self, runner: asyncio.Runner, work: Coroutine[Any, Any, T]) -> T:
        try:
            return runner.run(work, context=contextvars.copy_context())
        finally:
            with self._state:
                self._leader = None
                self._state.notify_all()

    def _tell(self) -> None:
        with self._state:
            self._state.notify_all()


async def _waited(future: Future[T]) -> T:
    return await asyncio.wrap_future(future)


def _inside(work: Coroutine[Any, Any, T], wait: Wait) -> T:
    """The result of a coroutine while the loop waits for this very thread."""
    if wait is Wait.THREAD:
        return _apart(lambda: asyncio.run(work))
    if wait is Wait.NOTHING:
        try:
            work.send(None)
        except StopIteration as end:
            result: T = end.value
            return result
    work.close()
    raise LoopBusy


def _apart(work: Callable[[], T], cancel: Callable[[], None] | None = None) -> T:
    """What a function returns in a thread of its own, in the context of this one."""
    result: Future[T] = Future()

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as failure:  # noqa: BLE001  # reason: raised where it is waited for
            result.set_exception(failure)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(run,), name="archetype-portal")
    thread.start()
    try:
        return result.result()
    except BaseException:
        if cancel is not None and not result.done():
            cancel()
        raise
    finally:
        thread.join()


def _in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
