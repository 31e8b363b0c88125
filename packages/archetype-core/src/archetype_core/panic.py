"""Turns panics of Rust extensions, which derive from ``BaseException`` only, into an ``Exception``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Panic(RuntimeError):
    """A Rust extension panicked during a call."""


@contextmanager
def panics_as_errors() -> Iterator[None]:
    """Re-raise a Rust panic from the ``with`` block as ``Panic``."""
    try:
        yield
    except BaseException as failure:
        # Every extension creates its own PanicException class and exports none, so only the name identifies it.
        if type(failure).__name__ == "PanicException":
            raise Panic(str(failure)) from failure
        raise
