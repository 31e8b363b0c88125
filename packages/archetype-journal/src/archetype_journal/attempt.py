"""Attempt ids as bytes, so that one costs little per tick."""

from __future__ import annotations

from contextlib import suppress
from uuid import UUID

_UUID, _TEXT = b"u", b"t"


def pack_attempt(attempt: str) -> bytes:
    """An attempt id as bytes: 17 for a UUID, none for the empty id, and one more than its text for any other."""
    if not attempt:
        return b""
    with suppress(ValueError):
        found = UUID(attempt)
        # Other spellings of a UUID are other ids.
        if str(found) == attempt:
            return _UUID + found.bytes
    return _TEXT + attempt.encode(errors="surrogatepass")


def unpack_attempt(data: bytes) -> str:
    """The attempt id that ``pack_attempt`` was given."""
    if not data:
        return ""
    kind, rest = data[:1], data[1:]
    return str(UUID(bytes=rest)) if kind == _UUID else rest.decode(errors="surrogatepass")
