"""Who has a ledger open: each holds a shared lock on a file beside it, which the system releases when a process dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class Openers:
    """One opener's place among all that have a ledger open; without a path, as in memory, it cannot tell whether it is alone."""

    def __init__(self, path: Path | None) -> None:
        self._descriptor: int | None = None
        if path is not None:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def is_only_one(self) -> bool:
        """Whether there is no other opener. Only one opener may ask at a time."""
        if self._descriptor is None:
            return False
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)
        return True

    def close(self) -> None:
        """Leave; idempotent."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
