"""Long jobs on disk, with their results: in the server's SQLite file."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from archetype_server.job import Job

KEPT = timedelta(days=1)
_FACTS_BYTES = 1000
"""What a job without a result counts for."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    job_id TEXT PRIMARY KEY,
    actor TEXT NOT NULL,
    key TEXT,
    created_at REAL NOT NULL,
    ended_at REAL,
    size INTEGER NOT NULL,
    facts BLOB NOT NULL,
    result BLOB
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS jobs_by_key ON jobs (actor, key) WHERE key IS NOT NULL;
"""
# The newest result of a caller stays, however large it is.
_SURPLUS = """
DELETE FROM jobs WHERE job_id IN (
    SELECT job_id FROM (
        SELECT job_id, size, SUM(size) OVER (PARTITION BY actor ORDER BY ended_at DESC, job_id) AS total
        FROM jobs WHERE ended_at IS NOT NULL
    ) WHERE total - size > ?
)
"""


class JobStore:
    """Jobs for a day after their end. Thread-safe; on disk when a method returns.

    Of each caller it keeps results up to a number of bytes, the newest ones. Jobs that a server did not end are interrupted.
    """

    def __init__(self, path: Path, bytes_per_actor: int) -> None:
        self._bytes_per_actor = bytes_per_actor
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.executescript(_SCHEMA)
        left = [msgspec.json.decode(facts, type=Job) for facts in self._unended()]
        for job in left:
            job.state, job.ended_at = "interrupted", datetime.now(UTC)
        self.put(*left)

    def put(self, *jobs: Job, result: bytes | None = None) -> None:
        """Write jobs as they are now."""
        rows = [
            (
                job.job_id,
                job.actor,
                job.key,
                job.created_at.timestamp(),
                job.ended_at and job.ended_at.timestamp(),
                _FACTS_BYTES + len(result or b""),
                msgspec.json.encode(job),
                result,
            )
            for job in jobs
        ]
        if not rows:
            return
        with self._lock, self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.execute("DELETE FROM jobs WHERE ended_at <= ?", (_since(),))
            self._database.executemany("INSERT OR REPLACE INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
            self._database.execute(_SURPLUS, (self._bytes_per_actor,))

    def note(self, *jobs: Job) -> None:
        """Write how far jobs are, except those that have ended since."""
        with self._lock, self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany(
                "UPDATE jobs SET facts = ? WHERE job_id = ? AND ended_at IS NULL",
                [(msgspec.json.encode(job), job.job_id) for job in jobs],
            )

    def find(self, job_id: str) -> tuple[Job, bytes | None] | None:
        """Return a job and its result."""
        with self._lock:
            row = self._database.execute(
                "SELECT facts, result FROM jobs WHERE job_id = ? AND (ended_at IS NULL OR ended_at > ?)",
                (job_id, _since()),
            ).fetchone()
        return None if row is None else (msgspec.json.decode(row[0], type=Job), row[1])

    def find_key(self, actor: str, key: str) -> Job | None:
        """Return the job that an actor's request with a key has begun."""
        with self._lock:
            row = self._database.execute(
                "SELECT facts FROM jobs WHERE actor = ? AND key = ? AND (ended_at IS NULL OR ended_at > ?)",
                (actor, key, _since()),
            ).fetchone()
        return None if row is None else msgspec.json.decode(row[0], type=Job)

    def list(self, actor: str | None, until: datetime) -> list[Job]:
        """Return the jobs of an actor, or of all, that were begun until a moment: the newest first."""
        with self._lock:
            rows = self._database.execute(
                "SELECT facts FROM jobs WHERE (?1 IS NULL OR actor = ?1) AND created_at <= ?2 "
                "AND (ended_at IS NULL OR ended_at > ?3) ORDER BY created_at DESC, job_id DESC",
                (actor, until.timestamp(), _since()),
            ).fetchall()
        return [msgspec.json.decode(facts, type=Job) for (facts,) in rows]

    def close(self) -> None:
        """Close the file; idempotent."""
        with self._lock:
            self._database.close()

    def _unended(self) -> Iterable[bytes]:
        return [facts for (facts,) in self._database.execute("SELECT facts FROM jobs WHERE ended_at IS NULL")]


def _since() -> float:
    return (datetime.now(UTC) - KEPT).timestamp()
