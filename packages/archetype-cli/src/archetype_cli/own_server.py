"""Servers that this user runs on this machine, and the admin's key that a first start wrote.

``archetype serve`` keeps a note for as long as it runs. The key is sent to a loopback address alone, and only while the process
that the note names is there and is this user's: whoever else takes the port after it does not get the key.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

KEY_FILE = "admin.key"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class OwnServer:
    """A server as its note tells."""

    url: str
    pid: int
    state: Path

    @property
    def is_running(self) -> bool:
        """Whether its process is there, and belongs to this user."""
        try:
            os.kill(self.pid, 0)
        except OSError:
            return False
        return True

    def key(self) -> str | None:
        """Return the admin's key that its first start wrote, if it is still there."""
        try:
            return (self.state / KEY_FILE).read_text(encoding="ascii").strip() or None
        except (OSError, ValueError):
            return None

    def is_at(self, url: str) -> bool:
        """Whether an address on the loopback interface is this server's."""
        asked, own = urlsplit(url), urlsplit(self.url)
        return asked.hostname in _LOOPBACK and own.hostname in _LOOPBACK and _port(asked) == _port(own)


def own_servers(env: Mapping[str, str] | None = None) -> Iterator[OwnServer]:
    """Yield the servers that run now."""
    for path in sorted(notes_directory(os.environ if env is None else env).glob("*.json")):
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            found = OwnServer(str(told["url"]), int(told["pid"]), Path(told["state"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if found.is_running:
            yield found


def first_key(url: str, env: Mapping[str, str] | None = None) -> str | None:
    """Return the admin's key of this user's own server at an address; ``None`` if it is not one."""
    return next((one.key() for one in own_servers(env) if one.is_at(url)), None)


def notes_directory(env: Mapping[str, str]) -> Path:
    """Return the directory in which servers keep their notes, which need not exist."""
    base = env.get("XDG_STATE_HOME") or str(Path(env.get("HOME", "~")).expanduser() / ".local" / "state")
    return Path(base) / "archetype" / "servers"


def _port(address: SplitResult) -> int | None:
    try:
        return address.port or _PORTS.get(address.scheme)
    except ValueError:
        return None
