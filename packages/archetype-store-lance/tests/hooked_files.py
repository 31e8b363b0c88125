"""Log files that call a test's hooks, so that it can delay a writer, or act for another one, at an exact moment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Event

from archetype_store_lance import LogFiles

Hook = Callable[[str, str], None]
"""Called with the method and the name of the file; the name is empty for listings."""


def _nothing(method: str, name: str) -> None:
    del method, name


class HookedLogFiles:
    """Passes every call on, with a hook before it and one after it."""

    def __init__(self, files: LogFiles) -> None:
        self.files = files
        self.before: Hook = _nothing
        self.after: Hook = _nothing

    @property
    def is_locked(self) -> bool:
        return self.files.is_locked

    def names(self) -> list[str]:
        with self._hooks("names"):
            return self.files.names()

    def read(self, name: str) -> bytes:
        with self._hooks("read", name):
            return self.files.read(name)

    def create(self, name: str, data: bytes) -> bool:
        with self._hooks("create", name):
            return self.files.create(name, data)

    def replace(self, name: str, data: bytes) -> None:
        with self._hooks("replace", name):
            self.files.replace(name, data)

    def remove(self, names: Iterable[str]) -> None:
        with self._hooks("remove"):
            self.files.remove(names)

    def unclaimed(self, names: Iterable[str]) -> list[str]:
        with self._hooks("unclaimed"):
            return self.files.unclaimed(names)

    @contextmanager
    def _hooks(self, method: str, name: str = "") -> Iterator[None]:
        self.before(method, name)
        yield
        self.after(method, name)


_: type[LogFiles] = HookedLogFiles


class Gate:
    """Holds the first call of a method on a file of some kind, before it happens or after, until it is opened."""

    def __init__(self, files: HookedLogFiles, method: str, kind: str = "", *, after: bool = False) -> None:
        self.reached, self.opened = Event(), Event()
        self._method, self._kind = method, kind
        if after:
            files.after = self._hold
        else:
            files.before = self._hold

    def _hold(self, method: str, name: str) -> None:
        if method == self._method and name.endswith(self._kind) and not self.reached.is_set():
            self.reached.set()
            assert self.opened.wait(60)


class Once:
    """Does something before the first call of a method on a file of some kind."""

    def __init__(self, files: HookedLogFiles, method: str, kind: str, act: Callable[[], object]) -> None:
        self.is_done = False
        self._method, self._kind, self._act = method, kind, act
        files.before = self._run

    def _run(self, method: str, name: str) -> None:
        if method == self._method and name.endswith(self._kind) and not self.is_done:
            self.is_done = True
            self._act()
