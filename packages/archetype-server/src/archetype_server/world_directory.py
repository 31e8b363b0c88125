"""Which template each world was made from, on disk, and the ids of names, in memory."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

_SCHEMA = "CREATE TABLE IF NOT EXISTS worlds (world_id TEXT PRIMARY KEY, template TEXT NOT NULL) STRICT"


class WorldDirectory:
    """What a server must know of a world beside what its store has. Thread-safe; on disk when a method returns."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.execute(_SCHEMA)
        self._templates: dict[str, str] = dict(self._database.execute("SELECT world_id, template FROM worlds"))
        self._ids: dict[str, str] = {}

    def template(self, world_id: str | None) -> str | None:
        """Return the name of a world's template, if that is known."""
        return self._templates.get(world_id) if world_id is not None else None

    def put(self, world_id: str, template: str) -> None:
        """Note a world's template."""
        with self._lock:
            self._database.execute("INSERT OR REPLACE INTO worlds VALUES (?, ?)", (world_id, template))
            self._templates[world_id] = template

    def drop(self, world_id: str) -> None:
        """Forget a world that was not created after all."""
        with self._lock:
            self._database.execute("DELETE FROM worlds WHERE world_id = ?", (world_id,))
            self._templates.pop(world_id, None)

    def add_name(self, name: str, world_id: str) -> None:
        """Note the name of a live world."""
        self._ids[name] = world_id

    def drop_name(self, world_id: str) -> None:
        """Forget the name of a world that was destroyed."""
        self._ids = {name: one for name, one in self._ids.items() if one != world_id}

    @property
    def names(self) -> tuple[tuple[str, str], ...]:
        """The names of live worlds with their ids."""
        return tuple(self._ids.items())

    def id_of(self, world: str) -> str:
        """Return the id of a world that is addressed by its name; anything else is taken for an id."""
        return self._ids.get(world, world)

    def close(self) -> None:
        """Close the file; idempotent."""
        self._database.close()
