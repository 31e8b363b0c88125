"""Turns panics of Rust extensions, which derive from ``BaseException`` only, into an ``Exception``."""

from __future__ import annotations

from types import TracebackType


class Panic(RuntimeError):
    """A Rust extension panicked during a call."""


class panics_as_errors:  # noqa: N801  # reason: reads as a verb where it is used
    """Re-raise a Rust panic from the ``with`` block as ``Panic``."""

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, at: TracebackType | None
    ) -> None:
        # Every extension creates its own PanicException class and exports none, so only the name identifies it.
        if kind is not None and kind.__name__ == "PanicException":
            raise Panic(str(failure)) from failure
