"""The secret key of a ledger: without it nobody can compute the hashes that ``verify`` checks."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from archetype_core.errors import LedgerError

_BYTES = 32
LedgerKey = str | Path | bytes
"""The file of a key, or the key itself: 16 to 64 bytes."""


def read_key(key: LedgerKey, ledger: str, *, is_new: bool) -> bytes:
    """Return the key of a ledger; a new ledger makes the key's file if there is none, readable by its user only.

    ``LedgerError`` if the ledger exists and the file does not, or the file cannot be read or holds no key.
    """
    if isinstance(key, bytes):
        return _checked(key, "the given key")
    path = Path(key)
    try:
        if is_new and not path.exists():
            _make(path)
        return _checked(bytes.fromhex(path.read_text(encoding="ascii").strip()), str(path))
    except FileNotFoundError:
        raise LedgerError(
            f"the key of {ledger} is missing, there is no {path}: put the file back, or pass ledger_key=… with its place"
        ) from None
    except (OSError, ValueError) as failure:
        raise LedgerError(f"the key of {ledger} cannot be read from {path}: {failure}") from failure


def _make(path: Path) -> None:
    """Write a new key, whole or not at all; if another process makes one at the same time, the first stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_bytes(_BYTES).hex() + "\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _checked(key: bytes, source: str) -> bytes:
    if not 16 <= len(key) <= 64:
        raise LedgerError(f"a ledger's key has 16 to 64 bytes; {source} has {len(key)}")
    return key
