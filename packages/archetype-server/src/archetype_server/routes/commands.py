"""The queue of commands, and the audit log of all of them."""

from __future__ import annotations

from asyncio import to_thread
from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Controller
from litestar.params import FromQuery, JSONBody, QueryParameter

from archetype_core.command import AuditFilter, EntityCommand, GetHistory, Status
from archetype_server.answer import AuditAnswer, Page, TicketAnswer
from archetype_server.model import SubmitBody, SubmitManyBody
from archetype_server.paging import Cursor, decoded
from archetype_server.problem import BadRequest, Unprocessable
from archetype_server.routes.base import (
    Anyone,
    Bounds,
    Flag,
    Host,
    Limit,
    Place,
    TermsOf,
    Text,
    WorldName,
    command_of,
    get,
    post,
)

Moment = Annotated[str | None, QueryParameter(description="A time with its zone.")]


class CommandRoutes(Controller):
    """The routes of commands."""

    path = "/v1/worlds/{world:str}"
    tags = ("commands",)

    @post("/commands", status_code=202)
    async def submit(
        self, *, request: Anyone, host: Host, terms: TermsOf, world: WorldName, data: JSONBody[SubmitBody]
    ) -> TicketAnswer:
        """Queue a command for a tick. It is on disk when this answers, and is applied exactly once."""
        (ticket,) = await host.submit(
            request.user, [command_of(data.command)], world, tick=data.tick, priority=data.priority, terms=terms
        )
        return TicketAnswer.of(ticket)

    @post("/commands/batch", status_code=202)
    async def submit_many(
        self,
        *,
        request: Anyone,
        host: Host,
        limits: Bounds,
        terms: TermsOf,
        world: WorldName,
        data: JSONBody[SubmitManyBody],
    ) -> Page[TicketAnswer]:
        """Queue several commands, all or none."""
        if len(data.commands) > limits.entities:
            raise Unprocessable(f"{len(data.commands)} commands are more than the {limits.entities} of one request")
        commands = await to_thread(_commands, data)
        tickets = await host.submit(request.user, commands, world, tick=data.tick, priority=data.priority, terms=terms)
        return Page([TicketAnswer.of(one) for one in tickets])

    @get(["/commands", "/history"])
    async def history(
        self,
        *,
        request: Anyone,
        host: Host,
        world: WorldName,
        limit: Limit = 100,
        cursor: Place = None,
        actor: Text = None,
        kind: Annotated[str | None, QueryParameter(name="type")] = None,
        status: FromQuery[Status | None] = None,
        since: Moment = None,
        until: Moment = None,
        oldest_first: Flag = False,
    ) -> Page[AuditAnswer]:
        """Read the audit log of a world, newest first: a row for every command that anybody sent to it."""
        after = None if cursor is None else decoded(cursor).offset
        world_id = host.id_of(request.user, world)
        first, last = _moment("since", since), _moment("until", until)
        wanted = AuditFilter(world_id, actor, kind, status, first, last, after, limit, oldest_first)
        rows = await host.ask(request.user, GetHistory(wanted), world)
        following = Cursor(0, rows[-1].seq).encoded() if len(rows) == limit else None
        return Page([AuditAnswer.of(one, host.redaction) for one in rows], following)


def _moment(name: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment: datetime = msgspec.convert(text, Annotated[datetime, msgspec.Meta(tz=True)])
    except msgspec.ValidationError:
        raise BadRequest(f"{name} is a time with its zone, such as 2026-01-31T12:00:00Z") from None
    return moment


def _commands(data: SubmitManyBody) -> list[EntityCommand[Any]]:
    return [command_of(one) for one in data.commands]
