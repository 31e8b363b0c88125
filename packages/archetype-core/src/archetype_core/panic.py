"""Panics of libraries that are written in Rust, which are no ``Exception`` by themselves, as one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Panic(RuntimeError):
    """A library gave up in the middle of a call."""


@contextmanager
def contained() -> Iterator[None]:
    """A panic in here is a ``Panic``."""
    try:
        yield
    except BaseException as failure:
        # Its class is made anew by every such library, and cannot be imported from any.
        if type(failure).__name__ == "PanicException":
            raise Panic(str(failure)) from failure
        raise
