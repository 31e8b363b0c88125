"""Ticks: a step, a run, an episode, a rollout. With ``Prefer: respond-async`` the last three are long jobs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, TypeVar, cast

import litestar
import msgspec
from litestar import Controller, Response
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import HeaderParameter, JSONBody

from archetype_server.answer import EpisodeAnswer, RolloutAnswer, RunAnswer, StepAnswer
from archetype_server.config import Limits
from archetype_server.job import JobAnswer
from archetype_server.job_runner import Asked, JobRunner
from archetype_server.model import EpisodeBody, RolloutBody, RunBody, StepBody
from archetype_server.problem import Unprocessable
from archetype_server.routes.base import PROBLEMS, Anyone, Bounds, Host, TermsOf, WorldName, caller_of, command_of, post
from archetype_server.world_host import WorldHost

A = TypeVar("A")
Jobs = NamedDependency[JobRunner]
Prefer = Annotated[
    str | None,
    HeaderParameter(name="Prefer", description="`respond-async` makes it a job: 202, and its address in `Location`."),
]
_JOB = ResponseSpec(JobAnswer, generate_examples=False, description="The job that was begun, or is under way")
_long = partial(litestar.post, responses={**PROBLEMS, 202: _JOB}, status_code=200)


class SimulationRoutes(Controller):
    """The routes that make ticks."""

    path = "/v1/worlds/{world:str}"
    tags = ("simulation",)

    @post("/step", status_code=200)
    async def step(
        self, *, request: Anyone, host: Host, terms: TermsOf, world: WorldName, data: JSONBody[StepBody | None] = None
    ) -> StepAnswer:
        """Run one tick."""
        return StepAnswer.of(await host.ask(request.user, command_of(data or StepBody()), world, terms))

    @_long("/run")
    async def run(
        self,
        *,
        request: Anyone,
        host: Host,
        jobs: Jobs,
        limits: Bounds,
        terms: TermsOf,
        world: WorldName,
        data: JSONBody[RunBody],
        prefer: Prefer = None,
    ) -> RunAnswer:
        """Run several ticks."""
        _check_steps(data.steps, limits)
        asked = Asked("run", caller_of(request), world, command_of(data), terms, request.url.path, data.steps)
        return await _answered(asked, host, jobs, prefer, RunAnswer.of)

    @_long("/episode")
    async def episode(
        self,
        *,
        request: Anyone,
        host: Host,
        jobs: Jobs,
        limits: Bounds,
        terms: TermsOf,
        world: WorldName,
        data: JSONBody[EpisodeBody | None] = None,
        prefer: Prefer = None,
    ) -> EpisodeAnswer:
        """Run an episode; if it fails, the answer says why."""
        body = data or EpisodeBody()
        _check_steps(body.max_steps, limits)
        asked = Asked("episode", caller_of(request), world, command_of(body), terms, request.url.path, body.max_steps)
        return await _answered(asked, host, jobs, prefer, EpisodeAnswer.of)

    @_long("/rollout")
    async def rollout(
        self,
        *,
        request: Anyone,
        host: Host,
        jobs: Jobs,
        limits: Bounds,
        terms: TermsOf,
        world: WorldName,
        data: JSONBody[RolloutBody | None] = None,
        prefer: Prefer = None,
    ) -> RolloutAnswer:
        """Run several episodes, each in a fork of its own."""
        body = data or RolloutBody()
        # An episode without ticks is a fork all the same.
        _check_steps(max(body.max_steps, 1) * body.num_episodes, limits)
        steps = body.max_steps * body.num_episodes
        asked = Asked("rollout", caller_of(request), world, command_of(body), terms, request.url.path, steps)
        return await _answered(asked, host, jobs, prefer, RolloutAnswer.of)


async def _answered(asked: Asked, host: WorldHost, jobs: JobRunner, prefer: str | None, of: Callable[[Any], A]) -> A:
    """Answer when it is done; or at once with a job, if the client prefers that."""
    if not _is_async(prefer):
        return of(await host.ask(asked.caller.actor, asked.command, asked.world, asked.terms))
    job = await jobs.begin(asked, lambda result: msgspec.json.encode(of(result)))
    headers = {"Location": f"/v1/jobs/{job.job_id}", "Preference-Applied": "respond-async"}
    return cast("A", Response(job.answer(), status_code=202, headers=headers))


def _is_async(prefer: str | None) -> bool:
    """Whether one of a client's preferences is an answer before the work is done."""
    return any(one.partition(";")[0].strip().lower() == "respond-async" for one in (prefer or "").split(","))


def _check_steps(steps: int, limits: Limits) -> None:
    if steps > limits.steps:
        raise Unprocessable(f"{steps} ticks are more than the {limits.steps} of one request: send several")
