"""What the generated sync classes share. Their methods come from `checks/sync_twin.py`, what is written by hand stands here."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from archetype.handle import no_attribute
from archetype.runtime_state import named_like
from archetype.sync_runner import SyncRunner
from archetype.waits import WaitsFor
from archetype_core.engine import Event, Handler, Hook, hook_pairs
from archetype_core.errors import LoopBusy
from archetype_core.user_traceback import door

T = TypeVar("T")


class SyncTwin:
    """An async object and the runner that its coroutines run on."""

    _original: Any

    def __init__(self, original: Any, runner: SyncRunner) -> None:
        self._original = original
        self._runner = runner

    def __repr__(self) -> str:
        return f"Sync{self._original!r}"

    def _call(self, work: Coroutine[Any, Any, T], waits_for: WaitsFor) -> T:
        return self._runner.call(work, waits_for)

    def _handle(self, world: Any) -> object:
        """Return the sync handle of an async one."""
        raise NotImplementedError

    def _async_hook(self, handler: Handler) -> Handler:
        """Wrap the handler of a hook, so that ``event.world`` is a sync handle."""

        def observe(event: Event) -> Any:
            return handler(replace(event, world=self._handle(event.world)))

        return named_like(handler, observe)

    def _async_hooks(self, hooks: Iterable[Hook] | None) -> list[tuple[type[Event], Handler]] | None:
        return None if hooks is None else [(event, self._async_hook(handler)) for event, handler in hook_pairs(hooks)]


class SyncHandle(SyncTwin):
    """What sync world handles share."""

    if not TYPE_CHECKING:  # with it, type checkers would accept any attribute

        @door
        def __getattr__(self, name: str) -> Any:
            raise no_attribute(self, name, "info()")

    def _repr_html_(self) -> str:
        page: str = self._original._repr_html_()
        return page

    def _call(self, work: Coroutine[Any, Any, T], waits_for: WaitsFor) -> T:
        if waits_for == "nothing":
            if self._original.is_ready or (self._runner.is_inside and self._original.is_active):
                return self._runner.call_here(work)
            # The first use activates the world, which may have to wait for another task's activation.
            waits_for = "loop"
        if waits_for == "tick" and self._runner.is_inside:
            work.close()
            self._original.check_outside()
            raise LoopBusy
        return self._runner.call(work, waits_for)

    @staticmethod
    def _collected(data: Any) -> Any:
        """Run the plan of a lazy frame here: the caller's thread waits for it anyway."""
        return data.to_arrow() if hasattr(data, "collect") else data

    @staticmethod
    def _async_handles(handles: Any) -> Any:
        """Return async handles in place of sync ones."""
        return [one._original if isinstance(one, SyncHandle) else one for one in handles]  # noqa: SLF001  # reason: as below

    @staticmethod
    def _async_moment(moment: Any) -> Any:
        """Return a moment with async handles in place of sync ones."""
        if isinstance(moment, SyncHandle):
            return moment._original  # noqa: SLF001  # reason: the same class
        if isinstance(moment, tuple):
            handle, tick = moment
            return handle._original, tick  # noqa: SLF001  # reason: the same class
        return moment


class SyncScope(SyncTwin):
    """What makes the sync runtime a context manager."""

    if not TYPE_CHECKING:  # with these, type checkers would accept `async with`

        async def __aenter__(self) -> None:
            raise TypeError("use with ArchetypeRuntime.sync(…), or async with ArchetypeRuntime(…) in code with await")

        async def __aexit__(self, *details: object) -> None:
            """Never reached: entering raises."""

    def __enter__(self) -> Self:
        self._original.check_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(self._original.shutdown())

    def _end(self, work: Coroutine[Any, Any, None]) -> None:
        """Run the last coroutine and close the runner; nothing if that was done, or in a forked process."""
        if self._runner.is_closed or self._runner.is_forked_copy:
            work.close()
            return
        try:
            self._runner.call(work)
        finally:
            if not self._runner.is_inside:
                self._runner.close()
