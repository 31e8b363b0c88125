"""Checks of a single data file or manifest of a Lance table."""

from __future__ import annotations

import hashlib
from pathlib import Path

_NEWEST = (1 << 64) - 1


def damage(path: Path, size: int, digest: str) -> str | None:
    """How a file differs from what was written; ``None`` if it does not. Costs a read of the file."""
    try:
        found = path.stat().st_size
        if found != size:
            return f"it has {found} bytes of {size}"
        if digest_of(path) != digest:
            return "its checksum does not match its bytes"
    except FileNotFoundError:
        return "it is missing"
    except OSError as failure:
        return f"it cannot be read: {failure}"
    return None


def digest_of(path: Path) -> str:
    """The checksum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def version_of(path: Path) -> int | None:
    """The table version of a manifest, from its name; ``None`` for other files."""
    stem, _, suffix = path.name.partition(".")
    if suffix != "manifest" or not stem.isdigit():
        return None
    # Lance counts down in long names, so that the newest comes first in a listing.
    return _NEWEST - int(stem) if len(stem) == 20 else int(stem)
