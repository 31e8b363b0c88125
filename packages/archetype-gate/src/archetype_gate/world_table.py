"""The worlds of a SQLite ledger, and the entity ids that are reserved for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from archetype_core.errors import LedgerError, WorldExists
from archetype_core.store import Point, Segment
from archetype_gate.audit_chain import SealedTables
from archetype_gate.database import LedgerDatabase
from archetype_gate.ledger import LedgerWorld

_COLUMNS = (
    "world_id, name, run_id, seed, first_tick, parent_world, parent_run, parent_tick, "
    "kernel, ids_to, settled_tick, is_open, is_told, maker"
)
_NAMES = _COLUMNS.split(", ")


class WorldTable:
    """Reads and writes the table ``worlds``. Every change is on disk when its method returns."""

    def __init__(self, database: LedgerDatabase) -> None:
        self._database = database

    def add(self, entry: LedgerWorld) -> None:
        """Insert a world; ``WorldExists`` if its id is taken, or its name by a world that is not destroyed."""
        segment, parent = entry.segment, entry.segment.parent
        row = (
            segment.world_id,
            segment.name,
            segment.run_id,
            segment.seed,
            segment.first_tick,
            parent.world_id if parent else None,
            parent.run_id if parent else None,
            parent.tick if parent else None,
            entry.kernel,
            entry.reserved_to,
            entry.settled_tick,
            int(entry.is_open),
            int(entry.is_told),
            entry.maker,
        )
        with self._database.transaction() as tables:
            _check_not_taken(tables, segment.world_id, segment.name)
            tables.insert("worlds", [row])

    def mark_destroyed(self, world_id: str) -> None:
        """Free a world's name and delete its waiting commands."""
        with self._database.transaction() as tables:
            _update(tables, world_id, {"is_open": 0})
            for table in ("commands", "staged"):
                tables.remove(table, "world_id", [world_id])

    def mark_reopened(self, world_id: str) -> None:
        """Give a destroyed world its name back; ``WorldExists`` if another world has it."""
        with self._database.transaction() as tables:
            found = tables.connection.execute(
                "SELECT name FROM worlds WHERE world_id = ? AND NOT is_open", (world_id,)
            ).fetchone()
            if found is not None:
                _check_not_taken(tables, "", found[0])
                _update(tables, world_id, {"is_open": 1})

    def find(self, id_or_name: str) -> LedgerWorld | None:
        """Return the world with that id, else the open world with that name."""
        for condition in ("world_id = ?", "name = ? AND is_open"):
            rows = self._database.read(f"SELECT {_COLUMNS} FROM worlds WHERE {condition}", (id_or_name,))
            if rows:
                return _entry(rows[0])
        return None

    def all(self) -> list[LedgerWorld]:
        """Return every world, by id."""
        return [_entry(row) for row in self._database.read(f"SELECT {_COLUMNS} FROM worlds ORDER BY world_id")]

    def reserve_ids(self, world_id: str, first: int, count: int, *, is_told: bool) -> int:
        """Reserve a block of entity ids and return its first; ``LedgerError`` for an unknown world."""
        with self._database.transaction() as tables:
            found = tables.connection.execute("SELECT ids_to FROM worlds WHERE world_id = ?", (world_id,)).fetchone()
            if found is None:
                raise LedgerError(f"{self._database.path} has no world {world_id}")
            first = max(first, found[0])
            _update(tables, world_id, {"ids_to": first + count, **({"is_told": 1} if is_told else {})})
        return int(first)

    def mark_told(self, world_id: str) -> None:
        """Note that callers may know ids that no committed tick has."""
        with self._database.transaction() as tables:
            _update(tables, world_id, {"is_told": 1}, "is_told = ?", 0)

    def may_reuse_ids(self, world_id: str) -> bool:
        """Whether no caller knows ids that no tick has, and nobody else has the file open."""
        if not self._database.is_alone():
            return False
        return bool(self._database.read("SELECT 1 FROM worlds WHERE world_id = ? AND NOT is_told", (world_id,)))

    def release_ids(self, world_id: str, first_unused: int, reserved_to: int) -> None:
        """Give back ids from ``first_unused`` on, if nobody reserved any after ``reserved_to``."""
        with self._database.transaction() as tables:
            _update(tables, world_id, {"ids_to": first_unused}, "ids_to = ?", reserved_to)


def raise_settled_tick(tables: SealedTables, world_id: str, tick: int) -> None:
    """Note that a world's ticks up to this one are settled, if that is not noted yet."""
    _update(tables, world_id, {"settled_tick": tick}, "settled_tick < ?", tick)


def forget_told(tables: SealedTables, worlds: Mapping[str, int]) -> None:
    """Undo the marks of worlds, each unless ids after the given one are reserved for it."""
    for world_id, reserved_to in worlds.items():
        _update(tables, world_id, {"is_told": 0}, "is_told AND ids_to = ?", reserved_to)


def _update(
    tables: SealedTables, world_id: str, changes: Mapping[str, object], condition: str = "?", value: object = 1
) -> None:
    """Change columns of a world's row if it meets a condition."""
    rows = tables.take("worlds", f"world_id = ? AND {condition}", (world_id, value))
    tables.insert(
        "worlds", [tuple(changes.get(name, old) for name, old in zip(_NAMES, row, strict=True)) for row in rows]
    )


def _check_not_taken(tables: SealedTables, world_id: str, name: str) -> None:
    taken = tables.connection.execute(
        "SELECT name, world_id FROM worlds WHERE world_id = ? OR (name = ? AND is_open)", (world_id, name)
    ).fetchone()
    if taken is not None:
        raise WorldExists(*taken)


def _entry(row: Sequence[Any]) -> LedgerWorld:
    world_id, name, run_id, seed, first_tick, *parent, kernel, reserved_to, settled_tick, is_open, is_told, maker = row
    origin = None if parent[0] is None else Point(*parent)
    segment = Segment(world_id, run_id, first_tick, origin, name, seed)
    return LedgerWorld(segment, kernel, reserved_to, settled_tick, bool(is_open), bool(is_told), maker)
