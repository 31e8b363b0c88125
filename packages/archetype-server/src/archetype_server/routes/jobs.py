"""Long jobs: those of the caller, or for an administrator those of all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
from litestar import Controller
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Stream

from archetype_server.answer import Page
from archetype_server.event_stream import while_known
from archetype_server.job import Job, JobAnswer
from archetype_server.job_runner import JobRunner
from archetype_server.job_stream import job_events
from archetype_server.paging import Cursor, decoded
from archetype_server.routes.base import Anyone, Host, Limit, Place, caller_of, delete, get
from archetype_server.routes.events import HEADERS

Jobs = NamedDependency[JobRunner]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class JobRoutes(Controller):
    """The routes of long jobs."""

    path = "/v1/jobs"
    tags = ("jobs",)

    @get()
    async def list_jobs(
        self, *, request: Anyone, jobs: Jobs, limit: Limit = 100, cursor: Place = None
    ) -> Page[JobAnswer]:
        """List the caller's jobs without their results, the newest first; an administrator's list has those of all."""
        now = (datetime.now(UTC) - _EPOCH) // _MICROSECOND
        # Of the moment of the first page, so that new jobs shift no page.
        place = Cursor(now, 0) if cursor is None else decoded(cursor)
        until = _EPOCH + min(max(place.tick, 0), now) * _MICROSECOND
        found = await jobs.list(request.user, until)
        end = place.offset + limit
        items = [one.answer() for one in found[place.offset : end]]
        return Page(items, Cursor(place.tick, end).encoded() if end < len(found) else None)

    @get("/{job_id:str}")
    async def get_job(self, request: Anyone, jobs: Jobs, job_id: FromPath[str]) -> JobAnswer:
        """Tell how far a job is, and its result when it is done."""
        return _whole(*await jobs.find(request.user, job_id))

    @delete("/{job_id:str}", status_code=200)
    async def cancel_job(self, request: Anyone, jobs: Jobs, job_id: FromPath[str]) -> JobAnswer:
        """End a job before its next tick; what it has committed stays. One that has ended stays as it is."""
        return _whole(*await jobs.cancel(request.user, job_id))

    @get("/{job_id:str}/events", media_type="text/event-stream")
    async def follow_job(self, request: Anyone, host: Host, jobs: Jobs, job_id: FromPath[str]) -> Stream:
        """Follow a job: an event with its state and progress when they change, until it has ended."""
        await jobs.find(request.user, job_id)
        host.feed.check_room()
        chunks = while_known(caller_of(request), job_events(jobs, host.feed, request.user, job_id))
        return Stream(chunks, media_type="text/event-stream", headers=HEADERS)


def _whole(job: Job, result: bytes | None) -> JobAnswer:
    return job.answer(None if result is None else msgspec.Raw(result))
