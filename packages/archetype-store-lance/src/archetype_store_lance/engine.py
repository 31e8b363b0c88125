"""The one door to Lance: it is imported when a store is opened, and its errors become ours here and nowhere else."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from archetype_core.errors import ArchetypeError, CommitError, CorruptStore
from archetype_core.panic import contained

# How the engine's errors, which have no types, say that bytes are not what they were.
_DAMAGE = ("not found", "no such file", "invalid", "corrupt", "out of range", "out of bounds", "decode", "unexpected")
_AWAY = (
    "generic s3 error",
    "generic gcs error",
    "generic azure error",
    "permission",
    "timed out",
    "too many open files",
)
_OVERTAKEN = ("conflict", "incompatible transaction", "dataset already exists", "too many concurrent writers")


class Overtaken(Exception):
    """Another writer wrote to the same place at the same moment; try again from what is there now."""


def load() -> Any:
    """The engine. Unless it was told otherwise it keeps to itself what it would tell on standard error beside its errors."""
    os.environ.setdefault("LANCE_LOG", "error")
    import lance

    return lance


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Whatever the engine raises in here is a ``CommitError``: nothing of the commit shows."""
    try:
        with contained():
            yield
    except (ArchetypeError, Overtaken):
        raise
    # An engine under everything, whose errors are those of its parts.
    except Exception as failure:
        told = _without_paths(str(failure), what)
        if any(sign in told for sign in _OVERTAKEN):
            raise Overtaken from failure
        raise CommitError(f"{what} could not be written: {_spell(failure)}") from failure


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Whatever the engine raises in here is ``CorruptStore``, or ``CommitError`` where it did not get at the bytes."""
    try:
        with contained():
            yield
    except ArchetypeError:
        raise
    except Exception as failure:
        text = _spell(failure)
        told = _without_paths(text, what)
        if not any(sign in told for sign in _AWAY) and any(sign in told for sign in _DAMAGE):
            raise CorruptStore(what, text) from failure
        raise CommitError(f"{what} could not be read: {text}") from failure


def give_back() -> None:
    """Return memory that was freed to the system: left with the allocators of many threads, it would look like growth."""
    pa.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _spell(failure: BaseException) -> str:
    # The rest of the text are places in the engine's source, and its values in its own notation.
    told = str(failure).partition("\n\nDebug source")[0].partition(", /")[0]
    return f"{type(failure).__name__}: {told}"


def _without_paths(text: str, what: str) -> str:
    """What an error says in lower case, whatever the directories are called that it names."""
    return re.sub(r"[^\s:]*/\S*", "", text.replace(what, "")).lower()
