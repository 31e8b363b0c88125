"""Translates errors of Lance and of the object store client into Archetype's; nothing else in the package does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from archetype_core.errors import ArchetypeError, CommitError, CorruptStore
from archetype_core.panic import panics_as_errors

# Lance's errors have no useful types. These words in their text mean that bytes are not what was written.
_DAMAGE = ("not found", "no such file", "invalid", "corrupt", "out of range", "out of bounds", "decode", "unexpected")
# These mean that the bytes could not be reached.
_UNREACHABLE = (
    "generic s3 error",
    "generic gcs error",
    "generic azure error",
    "permission",
    "timed out",
    "too many open files",
)
_CONFLICT = ("conflict", "incompatible transaction", "dataset already exists", "too many concurrent writers")


class WriteConflict(Exception):
    """Another writer changed the same table or log first; read the new state and try again."""


class RecordInDoubt(CommitError):
    """Creating a record of the log failed; it may be there, or arrive later, or never."""


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Translate engine errors of a write into ``CommitError``, or ``WriteConflict`` where another writer was faster."""
    try:
        with panics_as_errors():
            yield
    except (ArchetypeError, WriteConflict):
        raise
    # Lance lets errors of all its dependencies through.
    except Exception as failure:
        text = _without_paths(str(failure), what)
        if any(sign in text for sign in _CONFLICT):
            raise WriteConflict from failure
        raise CommitError(f"{what} could not be written: {_summary(failure)}") from failure


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Translate engine errors of a read into ``CorruptStore``, or ``CommitError`` where the bytes could not be reached."""
    try:
        with panics_as_errors():
            yield
    except ArchetypeError:
        raise
    except Exception as failure:
        summary = _summary(failure)
        text = _without_paths(summary, what)
        if not any(sign in text for sign in _UNREACHABLE) and any(sign in text for sign in _DAMAGE):
            raise CorruptStore(what, summary) from failure
        raise CommitError(f"{what} could not be read: {summary}") from failure


def _summary(failure: BaseException) -> str:
    # The rest of the text names lines of the engine's source and dumps its values.
    text = str(failure).partition("\n\nDebug source")[0].partition(", /")[0]
    return f"{type(failure).__name__}: {text}"


def _without_paths(text: str, what: str) -> str:
    """The error's text in lower case without paths: a directory may be called "conflict"."""
    return re.sub(r"[^\s:]*/\S*", "", text.replace(what, "")).lower()
