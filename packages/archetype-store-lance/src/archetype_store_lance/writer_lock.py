"""A lock that one writer of a place holds at a time."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from archetype_store_lance.engine_errors import writing


class WriterLock:
    """Held during a commit and while old files are removed.

    Threads exclude one another by a mutex, processes of one machine by a file lock, which the system releases when a
    process dies. Without a path, as for an object store, only threads of this handle are excluded.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._mutex = threading.Lock()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Wait for the lock and hold it."""
        with self._mutex:
            if self._path is None:
                yield
                return
            with writing(str(self._path)):
                descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                with writing(str(self._path)):
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield
            finally:
                os.close(descriptor)
