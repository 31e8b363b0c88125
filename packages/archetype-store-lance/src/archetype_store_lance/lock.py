"""Keeps writers of one place apart: threads by a mutex, processes of one machine by a lock the system takes from the dead."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from archetype_store_lance.engine import writing


class WriterLock:
    """Held while a commit is made, or old files are removed. Elsewhere than on this machine only threads are kept apart."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._mutex = threading.Lock()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Wait for the place, and have it."""
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
