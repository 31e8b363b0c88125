"""The event stream of one long job: how far it is, until it has ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import msgspec

from archetype_core.command import ActorCtx
from archetype_server.job import LIVE
from archetype_server.job_runner import JobRunner
from archetype_server.tick_feed import TickFeed

_INTERVAL_S = 0.2


async def job_events(jobs: JobRunner, feed: TickFeed, actor: ActorCtx, job_id: str) -> AsyncGenerator[bytes]:
    """Give the job now, and again whenever it has changed, or ``b""``; the last event has the state that it ended with."""
    told = b""
    with feed.subscribe(None) as stream:
        while True:
            job, _ = await jobs.find(actor, job_id)
            data = msgspec.json.encode(job.answer())
            yield b"" if data == told else b"event: job\ndata: %s\n\n" % data
            told = data
            if job.state not in LIVE or stream.is_over:
                return
            try:
                async with asyncio.timeout(_INTERVAL_S):
                    await stream.wake.wait()
            except TimeoutError:
                continue
