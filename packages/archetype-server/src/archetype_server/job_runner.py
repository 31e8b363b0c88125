"""Runs long jobs beside the requests: bounded in number, cancelled between ticks, and on disk."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from archetype_core.clock import SystemIds
from archetype_core.command import ADMIN, ActorCtx, Administer, Run, RunEpisode, RunRollout
from archetype_core.errors import KeyConflict
from archetype_server.config import Limits
from archetype_server.identity import Caller
from archetype_server.job import LIVE, Job, JobKind, JobState
from archetype_server.job_store import JobStore
from archetype_server.key_store import SERVER
from archetype_server.problem import NotHere, TooManyJobs, Unauthenticated, Unavailable, as_problem, document
from archetype_server.terms import Terms
from archetype_server.tick_feed import COUNTED
from archetype_server.world_host import WorldHost

T = TypeVar("T")
Ticking = Run | RunEpisode | RunRollout
_CANCEL_S = 10.0
"""How long whoever cancels a job waits for its tick to end."""
log = logging.getLogger("archetype_server")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request for a job asks."""

    kind: JobKind
    caller: Caller
    world: str
    command: Ticking
    terms: Terms
    path: str
    ticks: int

    @property
    def actor(self) -> ActorCtx:
        """Whose job it is."""
        return self.caller.actor

    @property
    def is_revoked(self) -> bool:
        """Whether the key that it was sent with was revoked since. That a key expires ends no job."""
        return self.caller.why_over() == "revoked"


@dataclass(eq=False, slots=True)
class _Active:
    """A job that waits or runs."""

    job: Job
    asked: Asked
    encode: Callable[[Any], bytes]
    turn: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it may begin, or is not to begin any more."""
    call: asyncio.Task[Any] | None = None
    whole: asyncio.Task[None] | None = None
    ending: JobState | None = None
    """How it ends, if somebody ends it."""
    is_noted: bool = True
    """Whether its progress is on disk."""

    def count(self) -> None:
        """Count a committed tick of it or of its forks."""
        self.job.ticks += 1
        self.is_noted = False

    def progress(self, done: int, _: int) -> None:
        """Take note of what the gate says is done: ticks, or the episodes of a rollout."""
        if self.job.episodes_total is None:
            self.job.ticks = done
        else:
            self.job.episodes = done
        self.is_noted = False

    def end(self, how: JobState) -> None:
        """End it before its next tick."""
        if self.ending is None:
            self.ending = how
            self.turn.set()
            if self.call is not None:
                self.call.cancel()


class JobRunner:
    """The long jobs of a server. Each is one call of the gate, for its actor."""

    def __init__(self, host: WorldHost, store: JobStore, limits: Limits) -> None:
        self._host = host
        self._store = store
        self._limits = limits
        self._ids = SystemIds()
        self._active: dict[str, _Active] = {}
        self._accepting = asyncio.Lock()
        self._is_closed = False
        self._tending: asyncio.Task[None] | None = None

    async def begin(self, asked: Asked, encode: Callable[[Any], bytes]) -> Job:
        """Accept a job, which is on disk when this returns; with a key that was used, return the job of that time.

        ``encode`` makes the stored answer of its result, in a thread.
        Raises what the gate would refuse now, ``KeyConflict`` for the key of another request, ``TooManyJobs`` or ``Unavailable``.
        """
        asked = replace(asked, world=self._host.id_of(asked.actor, asked.world))
        await self._host.foresee(asked.actor, asked.command, asked.world, asked.terms)
        async with self._accepting:
            job = await self._known(asked)
            if job is not None and job.state != "interrupted":
                return job
            self._check_room(asked.actor)
            job = job or self._new(asked)
            job.state, job.started_at, job.ended_at, job.problem = "queued", None, None, None
            await asyncio.to_thread(self._store.put, job)
            self._active[job.job_id] = active = _Active(job, asked, encode)
            active.whole = asyncio.create_task(self._play(active))
            if self._tending is None or self._tending.done():
                self._tending = asyncio.create_task(self._tend())
        self._start_waiting()
        return job

    async def _known(self, asked: Asked) -> Job | None:
        key = asked.terms.key
        found = None if key is None else await asyncio.to_thread(self._store.find_key, asked.actor.id, key.value)
        if key is None or found is None:
            return None
        if found.request != key.request:
            raise KeyConflict(key.value, is_running=False)
        return self._current(found)

    def _check_room(self, actor: ActorCtx) -> None:
        if self._is_closed:
            raise Unavailable("the server is stopping: send it again later")
        if sum(one.job.actor == actor.id for one in self._active.values()) >= self._limits.jobs_of_one:
            raise TooManyJobs(f"{self._limits.jobs_of_one} jobs of {actor.id} wait or run: wait until one has ended")
        if len(self._active) >= self._limits.jobs:
            raise Unavailable(f"{self._limits.jobs} jobs wait or run, which is all that this server takes")

    def _new(self, asked: Asked) -> Job:
        actor, key, command = asked.actor, asked.terms.key, asked.command
        return Job(
            job_id=self._ids.new(),
            kind=asked.kind,
            world_id=asked.world,
            actor=actor.id,
            worlds=None if actor.worlds is None else sorted(actor.worlds),
            path=asked.path,
            key=None if key is None else key.value,
            request=None if key is None else key.request,
            created_at=datetime.now(UTC),
            ticks_total=asked.ticks,
            episodes_total=command.config.num_episodes if isinstance(command, RunRollout) else None,
        )

    def _start_waiting(self) -> None:
        """Let jobs begin, up to the number that may run at a time: first those of callers of whom the fewest run."""
        running: list[str] = [one.job.actor for one in self._active.values() if one.turn.is_set()]
        waiting = [one for one in self._active.values() if not one.turn.is_set()]
        while waiting and len(running) < self._limits.jobs_at_once:
            first = min(waiting, key=lambda one: running.count(one.job.actor))
            waiting.remove(first)
            running.append(first.job.actor)
            first.turn.set()

    async def _play(self, active: _Active) -> None:
        job, result, problem = active.job, None, None
        await active.turn.wait()
        if active.asked.is_revoked:
            active.end("cancelled")
        try:
            if active.ending is None:
                job.state, job.started_at = "running", datetime.now(UTC)
                await asyncio.to_thread(self._store.put, job)
            # Somebody may have ended it meanwhile.
            if active.ending is None:
                result = await self._called(active)
            state = active.ending if result is None and active.ending is not None else "done"
        # Whatever a processor raises is the result of this job alone.
        except Exception as failure:  # noqa: BLE001  # reason: told to its caller as a problem
            problem = document(as_problem(failure), job.path, self._host.redaction)
            state = active.ending or "failed"
        if state == "cancelled" and active.asked.is_revoked:
            revoked = Unauthenticated("the key that this job was sent with was revoked")
            problem = document(revoked, job.path, self._host.redaction)
        # Nobody is told of an end that is not on disk, with its result.
        over = msgspec.structs.replace(job, state=state, problem=problem, ended_at=datetime.now(UTC))
        try:
            await asyncio.to_thread(self._keep, over, active.encode, result)
        except Exception:
            log.exception("job %s ended as %s, which cannot be written", job.job_id, state)
        del self._active[job.job_id]
        self._start_waiting()

    async def _called(self, active: _Active) -> Any:
        """Make the one call of the gate; ``None`` if it was cancelled."""
        asked, context = active.asked, contextvars.copy_context()
        command = replace(asked.command, progress=active.progress)
        if active.job.episodes_total is not None:
            # The gate tells of episodes; their ticks are counted as they are committed.
            context.run(COUNTED.set, active.count)
            active.job.ticks = 0
        call: Coroutine[Any, Any, Any] = self._host.ask(asked.actor, command, asked.world, asked.terms)
        active.call = asyncio.create_task(call, context=context)
        await asyncio.wait([active.call])
        return None if active.call.cancelled() else active.call.result()

    def _keep(self, job: Job, encode: Callable[[Any], bytes], result: Any) -> None:
        self._store.put(job, result=None if result is None else encode(result))

    async def _tend(self) -> None:
        """Twice a second write progress, so that a kill leaves nearly all, and end jobs of revoked keys, until none is left."""
        while self._active:
            await asyncio.sleep(0.5)
            for one in self._active.values():
                if one.asked.is_revoked:
                    one.end("cancelled")
            changed = [one for one in self._active.values() if not one.is_noted]
            for one in changed:
                one.is_noted = True
            try:
                await asyncio.to_thread(self._store.note, *[msgspec.structs.replace(one.job) for one in changed])
            except Exception:
                log.exception("the progress of jobs cannot be written")

    async def find(self, actor: ActorCtx, job_id: str) -> tuple[Job, bytes | None]:
        """Return a job that an actor may see and its result; ``NotHere`` for any other."""
        active = self._active.get(job_id)
        found = (active.job, None) if active else await asyncio.to_thread(self._store.find, job_id)
        if found is None or not self._may_see(actor, found[0]):
            raise NotHere("there is no such job: it was never there, or it ended more than a day ago")
        return self._current(found[0]), found[1]

    async def list(self, actor: ActorCtx, until: datetime) -> list[Job]:
        """Return the jobs that an actor may see and that were begun until a moment, the newest first."""
        whose = None if ADMIN in actor.roles else actor.id
        found = await asyncio.to_thread(self._store.list, whose, until)
        return [self._current(one) for one in found if self._may_see(actor, one)]

    async def cancel(self, actor: ActorCtx, job_id: str) -> tuple[Job, bytes | None]:
        """End a job before its next tick, and wait for that; nothing if it has ended. Of another actor's the gate decides."""
        job, _ = await self.find(actor, job_id)
        if job.actor != actor.id:
            await self._host.ask(actor, Administer("cancel a job", {"job_id": job_id, "actor": job.actor}))
        active = self._active.get(job_id)
        if active is not None and active.whole is not None:
            active.end("cancelled")
            await asyncio.wait([active.whole], timeout=_CANCEL_S)
        return await self.find(actor, job_id)

    async def close(self) -> None:
        """Take no more jobs, end those there are before their next tick, and mark them as interrupted; idempotent."""
        async with self._accepting:
            self._is_closed = True
        for one in self._active.values():
            one.end("interrupted")
        ending = [one.whole for one in self._active.values() if one.whole is not None]
        if self._tending is not None:
            self._tending.cancel()
            ending.append(self._tending)
        if ending:
            await asyncio.wait(ending)

    def _current(self, job: Job) -> Job:
        """A stored job as it is now."""
        active = self._active.get(job.job_id)
        if active is not None:
            return active.job
        if job.state in LIVE:
            job.state = "interrupted"
        return job

    def _may_see(self, actor: ActorCtx, job: Job) -> bool:
        if job.actor != actor.id and ADMIN not in actor.roles:
            return False
        if actor.worlds is None or self._host.gate.peek(actor, job.world_id) is not None:
            return True
        # Of a world that has ended since, only a key with the same worlds is told.
        is_live = self._host.gate.peek(SERVER, job.world_id) is not None
        return not is_live and job.actor == actor.id and job.worlds == sorted(actor.worlds)
