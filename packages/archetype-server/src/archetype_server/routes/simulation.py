"""Ticks: a step, a run, an episode, a rollout."""

from __future__ import annotations

from litestar import Controller
from litestar.params import JSONBody

from archetype_server.answer import EpisodeAnswer, RolloutAnswer, RunAnswer, StepAnswer
from archetype_server.config import Limits
from archetype_server.model import EpisodeBody, RolloutBody, RunBody, StepBody
from archetype_server.problem import Unprocessable
from archetype_server.routes.base import Anyone, Bounds, Host, TermsOf, WorldName, command_of, post


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

    @post("/run", status_code=200)
    async def run(
        self, *, request: Anyone, host: Host, limits: Bounds, terms: TermsOf, world: WorldName, data: JSONBody[RunBody]
    ) -> RunAnswer:
        """Run several ticks."""
        _check_steps(data.steps, limits)
        return RunAnswer.of(await host.ask(request.user, command_of(data), world, terms))

    @post("/episode", status_code=200)
    async def episode(
        self,
        *,
        request: Anyone,
        host: Host,
        limits: Bounds,
        terms: TermsOf,
        world: WorldName,
        data: JSONBody[EpisodeBody | None] = None,
    ) -> EpisodeAnswer:
        """Run an episode; if it fails, the answer says why."""
        body = data or EpisodeBody()
        _check_steps(body.max_steps, limits)
        return EpisodeAnswer.of(await host.ask(request.user, command_of(body), world, terms))

    @post("/rollout", status_code=200)
    async def rollout(
        self,
        *,
        request: Anyone,
        host: Host,
        limits: Bounds,
        terms: TermsOf,
        world: WorldName,
        data: JSONBody[RolloutBody | None] = None,
    ) -> RolloutAnswer:
        """Run several episodes, each in a fork of its own."""
        body = data or RolloutBody()
        _check_steps(body.max_steps * body.num_episodes, limits)
        return RolloutAnswer.of(await host.ask(request.user, command_of(body), world, terms))


def _check_steps(steps: int, limits: Limits) -> None:
    if steps > limits.steps:
        raise Unprocessable(f"{steps} ticks are more than the {limits.steps} of one request: send several")
