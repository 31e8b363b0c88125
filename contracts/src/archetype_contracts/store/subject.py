"""The store under test: it opens, closes, reopens and abandons handles of one place."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from archetype_contracts.assertion import require
from archetype_contracts.store.transcript import RecordingStore, Transcript
from archetype_core.store import Capability, Store

OpenStore = Callable[[Path], AbstractAsyncContextManager[Store]]


@dataclass(slots=True, eq=False)
class _Handle:
    """An open context of the adopter's hook. One task enters and leaves it, because cancel scopes require that."""

    store: RecordingStore
    leave: asyncio.Event
    task: asyncio.Task[None]


class StoreSubject:
    """Handles of one place, driven from synchronous code, so the adopter needs no pytest plugin for coroutines.

    ``store`` is the first handle and opens with the subject. All handles are closed at the end, also abandoned ones.
    """

    def __init__(
        self, open_store: OpenStore, claims: frozenset[Capability], place: Path, examples: int | None = None
    ) -> None:
        self.claims, self.place, self.examples = claims, place, examples
        self._first_place = place
        self.transcript = Transcript()
        self.adapter = "?"
        self._open_store = open_store
        self._others = 0
        self._copies = 0
        self._runner = asyncio.Runner()
        self._handles: list[_Handle] = []
        self._opened = 0
        self.store: RecordingStore

    def __enter__(self) -> Self:
        self._runner.__enter__()
        try:
            self.store = self.open()
        except BaseException:
            self._runner.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._leave_all(error)
        finally:
            self._runner.close()
        if error is not None:
            error.add_note(str(self.transcript))

    def claimed(self, capability: Capability) -> bool:
        """Whether the adopter claims a capability."""
        return capability in self.claims

    def another(self) -> StoreSubject:
        """A new subject in an empty place of its own."""
        self._others += 1
        return StoreSubject(
            self._open_store, self.claims, self._first_place.with_name(f"{self._first_place.name} {self._others}")
        )

    def open(self) -> RecordingStore:
        """Open another handle of the place."""
        self.place.mkdir(exist_ok=True)
        handle = self._runner.run(self._enter())
        self._handles.append(handle)
        return handle.store

    def close(self, store: RecordingStore) -> None:
        """Close a handle by leaving the adopter's hook."""
        handle = next(handle for handle in self._handles if handle.store is store)
        self._handles.remove(handle)
        self.transcript.add(f"# leave the hook of {store.name}")
        self._runner.run(_leave(handle))

    def reopen(self) -> RecordingStore:
        """Close all handles, and open the place again."""
        while self._handles:
            self.close(self._handles[-1].store)
        self.store = self.open()
        return self.store

    def abandon(self) -> RecordingStore:
        """Open the place as a killed process leaves it: no handle is closed first.

        A store that claims ``SHARED`` gets another handle beside the abandoned ones. For any other store the place is
        copied as it is, and the copy is opened.
        """
        self.transcript.add("# abandon every handle without closing it")
        if not self.claimed(Capability.SHARED):
            self._copies += 1
            copy = self._first_place.with_name(f"{self._first_place.name} copy {self._copies}")
            shutil.copytree(self.place, copy)
            self.place = copy
        self.store = self.open()
        return self.store

    async def _enter(self) -> _Handle:
        leave = asyncio.Event()
        opened: asyncio.Future[Store] = asyncio.get_running_loop().create_future()

        async def hold() -> None:
            try:
                async with self._open_store(self.place) as store:
                    opened.set_result(store)
                    await leave.wait()
            except BaseException as exc:
                if opened.done():
                    raise
                opened.set_exception(exc)

        task = asyncio.create_task(hold())
        store = await opened
        self._opened += 1
        name = "store" if self._opened == 1 else f"store{self._opened}"
        self.transcript.add(f"{name} = open({self.place.name!r})")
        require(
            isinstance(store, Store),
            f"expected a Store from the hook, got {type(store).__name__}, which lacks a verb of the protocol",
        )
        self.adapter = type(store).__name__
        return _Handle(RecordingStore(store, name, self.transcript), leave, task)

    def _leave_all(self, earlier: BaseException | None) -> None:
        failures = []
        while self._handles:
            handle = self._handles.pop()
            try:
                self._runner.run(_leave(handle))
            except Exception as exc:  # noqa: BLE001  # reason: all handles are closed before the first failure is raised
                failures.append(exc)
        if failures and earlier is None:
            raise failures[0]
        for failure in failures:
            if earlier is not None:
                earlier.add_note(f"Leaving the hook failed as well: {type(failure).__name__}: {failure}")


async def _leave(handle: _Handle) -> None:
    handle.leave.set()
    await handle.task
