"""One long job: a run, an episode or a rollout that goes on after its request was answered."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from msgspec import Struct

JobKind = Literal["run", "episode", "rollout"]
JobState = Literal["queued", "running", "done", "failed", "cancelled", "interrupted"]
LIVE: frozenset[JobState] = frozenset({"queued", "running"})
"""The states that a job leaves by itself."""


class JobProgress(Struct, frozen=True):
    """How far a job is. It may end before all its ticks; a job that is no rollout has no count of episodes."""

    ticks: int
    ticks_total: int
    episodes: int | None
    episodes_total: int | None


class JobAnswer(Struct, frozen=True):
    """A long job. ``result`` is what the direct answer would be; a list leaves it out."""

    job_id: str
    kind: JobKind
    world_id: str
    actor: str
    state: JobState
    progress: JobProgress
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    result: Any = None
    problem: Any = None


class Job(Struct, kw_only=True):
    """What is known and stored of a job, except its result."""

    job_id: str
    kind: JobKind
    world_id: str
    actor: str
    worlds: list[str] | None
    """Those of its actor; another key of the same actor may have others."""
    path: str
    """The address that it was sent to."""
    key: str | None
    request: str | None
    """What tells the request from another one with its key."""
    created_at: datetime
    ticks_total: int
    episodes_total: int | None
    state: JobState = "queued"
    ticks: int = 0
    episodes: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None
    problem: dict[str, Any] | None = None

    def answer(self, result: Any = None) -> JobAnswer:
        """Return it as clients see it."""
        is_rollout = self.episodes_total is not None
        return JobAnswer(
            job_id=self.job_id,
            kind=self.kind,
            world_id=self.world_id,
            actor=self.actor,
            state=self.state,
            progress=JobProgress(
                self.ticks, self.ticks_total, self.episodes if is_rollout else None, self.episodes_total
            ),
            created_at=self.created_at,
            started_at=self.started_at,
            ended_at=self.ended_at,
            result=result,
            problem=self.problem,
        )
