"""The event stream of one long job: how far it is, until it has ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import msgspec

from archetype_core.command import ActorCtx
from archetype_server.event_stream import HEARTBEAT_S
from archetype_server.job import LIVE
from archetype_server.job_runner import JobRunner
from archetype_server.tick_feed import TickFeed

_INTERVAL_S = 0.2


async def job_events(jobs: JobRunner, feed: TickFeed, actor: ActorCtx, job_id: str) -> AsyncIterator[bytes]:
    """Give the job now, and again whenever it has changed; the last event has the state that it ended with."""
    told, at = b"", time.monotonic()
    with feed.subscribe(None) as stream:
        while True:
            job, _ = await jobs.find(actor, job_id)
            if (data := msgspec.json.encode(job.answer())) != told:
                told, at = data, time.monotonic()
                yield b"event: job\ndata: %s\n\n" % data
            elif time.monotonic() - at > HEARTBEAT_S:
                at = time.monotonic()
                yield b": still here\n\n"
            if job.state not in LIVE or stream.is_over:
                return
            try:
                async with asyncio.timeout(_INTERVAL_S):
                    await stream.wake.wait()
            except TimeoutError:
                continue
