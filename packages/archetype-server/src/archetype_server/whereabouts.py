"""Tells this user's commands where a server of this machine is, so that they find its first key from any directory."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

log = logging.getLogger("archetype_server")


@contextmanager
def announced(url: str, state: Path) -> Iterator[None]:
    """Keep a note with the address and the state directory while the block runs.

    It is in ``$XDG_STATE_HOME/archetype/servers/<port>.json``, which only its owner can read. Where that cannot be written, the
    server works all the same, and commands need ``--token``.
    """
    note = {"url": url, "pid": os.getpid(), "state": str(state.absolute())}
    try:
        path = _directory() / f"{urlsplit(url).port}.json"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(path, json.dumps(note))
    except (OSError, RuntimeError) as refusal:
        log.debug("no note of this server is left: %s", refusal)
        yield
        return
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _directory() -> Path:
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "archetype" / "servers"


def _write(path: Path, text: str) -> None:
    """Write a file that only its owner can read; whoever reads it sees all of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(path)
