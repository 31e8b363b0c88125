"""API keys: who may ask. Only hashes are stored, so the file gives no key away."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import sqlite3
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from archetype_core.command import ADMIN, ActorCtx

DATABASE = "server.sqlite"
"""The file in a server's state directory that has its keys."""
PREFIX = "ark_"
Over = Literal["revoked", "expired"]
"""Why a caller is not known any more."""
SERVER = ActorCtx("server", {ADMIN})
"""The server itself, which opens worlds at the start and gives them their parts. No key is it."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS keys (
    key_id TEXT PRIMARY KEY,
    hash BLOB NOT NULL,
    actor TEXT NOT NULL,
    roles TEXT NOT NULL,
    worlds TEXT,
    created_at TEXT NOT NULL,
    expires_at TEXT,
    revoked_at TEXT
) STRICT
"""


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """What is known about a key; not the key itself."""

    key_id: str
    actor: str
    roles: tuple[str, ...]
    worlds: tuple[str, ...] | None
    """The ids or names of the only worlds that there are for it; ``None`` is all."""
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Known:
    """A key as it was read."""

    hash: bytes
    actor: ActorCtx
    expires_at: datetime | None
    is_revoked: bool


_NOBODY = _Known(b"", ActorCtx("nobody", ()), None, is_revoked=True)


class KeyStore:
    """The keys of a server in its SQLite file. Thread-safe; a change is on disk, and counts, when the method returns.

    Keys are remembered until the file changes, by whichever process: looking one up again takes microseconds and waits for no
    writer, so that an event loop can do it.

    A key is ``ark_<id>_<secret>`` with 256 random bits in the secret. It is found by its id, and compared by hash in a time
    that does not depend on where it differs. A fast hash is enough, because a random secret cannot be guessed.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.execute(_SCHEMA)
        # A connection of its own: those that read wait for no write, and it notices every change.
        self._reader = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._reading = threading.Lock()
        self._known: dict[str, _Known] = {}
        self._version = -1

    def add(
        self,
        actor: str,
        roles: Iterable[str],
        *,
        worlds: Iterable[str] | None = None,
        expires_at: datetime | None = None,
        key: str | None = None,
    ) -> tuple[str, KeyInfo]:
        """Make a key for an actor, or take one of ``new_key``, and return it with its facts. It is not shown again."""
        named = ActorCtx(actor, roles, worlds)
        if named.id == SERVER.id:
            raise ValueError(f"{SERVER.id!r} is the server itself: choose another name for the actor")
        if expires_at is not None and expires_at.tzinfo is None:
            raise ValueError(f"expires_at is a datetime with a time zone, not {expires_at!r}")
        key = key or new_key()
        key_id, secret = _parts(key)
        only = None if named.worlds is None else tuple(sorted(named.worlds))
        info = KeyInfo(key_id, named.id, tuple(sorted(named.roles)), only, datetime.now(UTC), expires_at)
        texts = (json.dumps(info.roles), None if only is None else json.dumps(only))
        with self._lock:
            self._database.execute(
                "INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, ?, NULL)",
                (key_id, _hash(secret), info.actor, *texts, _text(info.created_at), _text(expires_at)),
            )
        return key, info

    def find(self, key: str) -> ActorCtx | None:
        """Return the actor of a key; ``None`` if it is unknown, expired or revoked."""
        key_id, secret = _parts(key)
        # The same work for an unknown id, so that the time tells little.
        known = self._read(key_id) or _NOBODY
        is_right = hmac.compare_digest(_hash(secret), known.hash)
        if not key.startswith(PREFIX) or not is_right or _why_over(known) is not None:
            return None
        return known.actor

    def why_over(self, key: str) -> Over | None:
        """Return why a key that was valid is so no more; ``None`` if it is."""
        return _why_over(self._read(_parts(key)[0]) or _NOBODY)

    def _read(self, key_id: str) -> _Known | None:
        with self._reading:
            (version,) = self._reader.execute("PRAGMA data_version").fetchone()
            if version != self._version:
                self._version = version
                self._known.clear()
            known = self._known.get(key_id)
            if known is None:
                row = self._reader.execute(
                    "SELECT hash, actor, roles, worlds, expires_at, revoked_at FROM keys WHERE key_id = ?", (key_id,)
                ).fetchone()
                if row is None:
                    return None
                hashed, actor, roles, worlds, expires_at, revoked_at = row
                who = ActorCtx(actor, json.loads(roles), worlds and json.loads(worlds))
                known = self._known[key_id] = _Known(hashed, who, _moment(expires_at), revoked_at is not None)
            return known

    def revoke(self, key_id: str) -> bool:
        """End a key now; whether there was one that was not revoked before."""
        with self._lock:
            done = self._database.execute(
                "UPDATE keys SET revoked_at = ? WHERE key_id = ? AND revoked_at IS NULL",
                (_text(datetime.now(UTC)), key_id),
            )
        return done.rowcount == 1

    def list(self) -> list[KeyInfo]:
        """Return all keys, revoked ones too, oldest first."""
        with self._lock:
            rows = self._database.execute(
                "SELECT key_id, actor, roles, worlds, created_at, expires_at, revoked_at FROM keys "
                "ORDER BY created_at, key_id"
            ).fetchall()
        return [
            KeyInfo(
                key_id,
                actor,
                tuple(json.loads(roles)),
                tuple(json.loads(worlds)) if worlds is not None else None,
                datetime.fromisoformat(made),
                _moment(until),
                _moment(ended),
            )
            for key_id, actor, roles, worlds, made, until, ended in rows
        ]

    def close(self) -> None:
        """Close the file; idempotent."""
        with self._reading:
            self._reader.close()
        self._database.close()


def new_key() -> str:
    """Return a key that nobody has yet."""
    return f"{PREFIX}{secrets.token_hex(8)}_{secrets.token_urlsafe(32)}"


def _why_over(known: _Known) -> Over | None:
    if known.is_revoked:
        return "revoked"
    is_expired = known.expires_at is not None and known.expires_at <= datetime.now(UTC)
    return "expired" if is_expired else None


def _parts(key: str) -> tuple[str, str]:
    key_id, _, secret = key.removeprefix(PREFIX).partition("_")
    return key_id, secret


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat()


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
