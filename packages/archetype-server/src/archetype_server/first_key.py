"""The key with which a new server is first used: in a file that only its owner can read."""

from __future__ import annotations

import os
from pathlib import Path

from archetype_core.command import ADMIN
from archetype_server.key_store import KeyStore, new_key

FILE = "admin.key"


def ensure_first_key(keys: KeyStore, state: Path) -> Path | None:
    """Write an admin's key to ``admin.key`` if there are no keys yet, and return the file; otherwise ``None``."""
    if keys.list():
        return None
    path = state / FILE
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
        key = new_key()
        os.write(descriptor, f"{key}\n".encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    # Last: a crash before this leaves a file that the next start writes anew, and never a key that nobody knows.
    keys.add("admin", {ADMIN}, key=key)
    return path
