"""The named rollouts of a SQLite ledger, with the results of their episodes."""

from __future__ import annotations

from archetype_gate.database import LedgerDatabase
from archetype_gate.ledger import LedgerEpisode, LedgerRollout


class RolloutTable:
    """Reads and writes the tables ``rollouts`` and ``episodes``. Every change is on disk when its method returns."""

    def __init__(self, database: LedgerDatabase) -> None:
        self._database = database

    def begin(self, rollout: LedgerRollout) -> LedgerRollout:
        """Insert a rollout and return it; if its world has one of that name, return that with its episodes."""
        key = (rollout.world_id, rollout.name)
        with self._database.transaction() as connection:
            row = (*key, rollout.rollout_id, rollout.config)
            inserted = connection.execute("INSERT OR IGNORE INTO rollouts VALUES (?, ?, ?, ?)", row).rowcount
            if inserted:
                return rollout
            query = "SELECT rollout_id, config FROM rollouts WHERE world_id = ? AND name = ?"
            rollout_id, config = connection.execute(query, key).fetchone()
            query = "SELECT episode, world_id, result FROM episodes WHERE rollout_id = ? ORDER BY episode"
            episodes = connection.execute(query, (rollout_id,)).fetchall()
        return LedgerRollout(rollout_id, *key, config, tuple(LedgerEpisode(*one) for one in episodes))

    def begin_episode(self, rollout_id: str, episode: int, world_id: str) -> None:
        """Insert an episode without a result, in place of an earlier one of that number."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO episodes VALUES (?, ?, ?, NULL)", (rollout_id, episode, world_id)
            )

    def finish_episode(self, rollout_id: str, episode: int, result: str) -> None:
        """Set the result of an episode."""
        with self._database.transaction() as connection:
            query = "UPDATE episodes SET result = ? WHERE rollout_id = ? AND episode = ?"
            connection.execute(query, (result, rollout_id, episode))
