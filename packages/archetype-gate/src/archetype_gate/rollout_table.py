"""The named rollouts of a SQLite ledger, with the results of their episodes."""

from __future__ import annotations

from archetype_gate.audit_chain import Row, SealedTables
from archetype_gate.database import LedgerDatabase
from archetype_gate.ledger import LedgerEpisode, LedgerRollout


class RolloutTable:
    """Reads and writes the tables ``rollouts`` and ``episodes``. Every change is on disk when its method returns."""

    def __init__(self, database: LedgerDatabase) -> None:
        self._database = database

    def begin(self, rollout: LedgerRollout) -> LedgerRollout:
        """Insert a rollout and return it; if its world has one of that name, return that with its episodes."""
        key = (rollout.world_id, rollout.name)
        with self._database.transaction() as tables:
            query = "SELECT rollout_id, config FROM rollouts WHERE world_id = ? AND name = ?"
            found = tables.connection.execute(query, key).fetchone()
            if found is None:
                tables.insert("rollouts", [(*key, rollout.rollout_id, rollout.config)])
                return rollout
            query = "SELECT episode, world_id, result FROM episodes WHERE rollout_id = ? ORDER BY episode"
            episodes = tables.connection.execute(query, found[:1]).fetchall()
        return LedgerRollout(found[0], *key, found[1], tuple(LedgerEpisode(*one) for one in episodes))

    def begin_episode(self, rollout_id: str, episode: int, world_id: str) -> None:
        """Insert an episode without a result, in place of an earlier one of that number."""
        with self._database.transaction() as tables:
            _take(tables, rollout_id, episode)
            tables.insert("episodes", [(rollout_id, episode, world_id, None)])

    def finish_episode(self, rollout_id: str, episode: int, result: str) -> None:
        """Set the result of an episode."""
        with self._database.transaction() as tables:
            rows = [(*row[:-1], result) for row in _take(tables, rollout_id, episode)]
            tables.insert("episodes", rows)


def _take(tables: SealedTables, rollout_id: str, episode: int) -> list[Row]:
    return tables.take("episodes", "rollout_id = ? AND episode = ?", (rollout_id, episode))
