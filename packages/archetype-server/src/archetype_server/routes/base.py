"""What all routes share: the errors that they may answer with, and the types of their parameters."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Protocol, TypeVar, cast

import litestar
from litestar import Request
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromQuery, PathParameter, QueryParameter

from archetype_core.command import ActorCtx
from archetype_core.errors import ArchetypeError
from archetype_core.schema import Component
from archetype_server.answer import Problem
from archetype_server.config import Limits
from archetype_server.identity import Caller
from archetype_server.model import kinds
from archetype_server.problem import PROBLEM_JSON, Unprocessable
from archetype_server.terms import Terms
from archetype_server.world_host import WorldHost

C_co = TypeVar("C_co", covariant=True)


class _Body(Protocol[C_co]):
    def command(self) -> C_co: ...


_TEXTS = {
    400: "The request is malformed",
    401: "The caller is not known",
    403: "The caller may not do that",
    404: "There is no such thing",
    405: "The address does not have that method",
    406: "The answer has none of the accepted formats",
    408: "The body did not arrive in time",
    409: "The state of the world does not allow that",
    410: "The world is closed",
    412: "The world is at another tick than the client expects",
    413: "The body is too large",
    415: "The body is of another type",
    421: "The host is not this server",
    422: "A component does not fit its class",
    429: "A quota is spent, or there are too many requests",
    500: "The server, or a processor, failed",
    501: "The store cannot do that",
    503: "The server is not available now",
}
PROBLEMS = {
    status: ResponseSpec(Problem, generate_examples=False, description=text, media_type=PROBLEM_JSON)
    for status, text in _TEXTS.items()
}

PROBLEMS_OR_UNMODIFIED = {
    **PROBLEMS,
    304: ResponseSpec(None, generate_examples=False, description="The client has this answer already"),
}

MAX = 2**63 - 1
Host = NamedDependency[WorldHost]
Bounds = NamedDependency[Limits]
TermsOf = NamedDependency[Terms]
WorldName = Annotated[str, PathParameter(description="The world's id, or the name of a live world.")]
EntityId = Annotated[int, PathParameter(ge=1, le=MAX)]
SomeEntity = Annotated[int | None, QueryParameter(ge=1, le=MAX)]
Tick = Annotated[int, QueryParameter(ge=0, le=MAX)]
SomeTick = Annotated[int | None, QueryParameter(ge=0, le=MAX)]
Limit = Annotated[int, QueryParameter(ge=1, le=10_000)]
Place = Annotated[str | None, QueryParameter(name="cursor", description="The `next` of the page before.")]
Names = Annotated[str | None, QueryParameter(description="Names of components, separated by commas.")]
Text = FromQuery[str | None]
Flag = FromQuery[bool]
Anyone = Request[ActorCtx, Any, Any]
"""A request; ``user`` is the actor that sent it."""


# Litestar takes no errors for a whole group of routes.
get = partial(litestar.get, responses=PROBLEMS)
get_tagged = partial(litestar.get, responses=PROBLEMS_OR_UNMODIFIED)
post = partial(litestar.post, responses=PROBLEMS)
patch = partial(litestar.patch, responses=PROBLEMS)
delete = partial(litestar.delete, responses=PROBLEMS)


def caller_of(request: Anyone) -> Caller:
    """Return who sent a request, and until when that is so."""
    caller: Caller = cast("dict[str, Any]", request.scope)["archetype_caller"]
    return caller


def command_of(body: _Body[C_co]) -> C_co:
    """Return the command of a body; ``BadRequest`` if its values do not go together."""
    try:
        return body.command()
    except ArchetypeError:
        raise
    except (TypeError, ValueError) as refusal:
        raise Unprocessable(str(refusal)) from refusal


def component_kinds(names: str | None) -> tuple[type[Component], ...]:
    """Return the classes that a list of names gives; ``UnknownComponent`` for one that this server does not have."""
    return kinds(split(names))


def split(text: str | None) -> list[str]:
    """Return the parts of a text with commas between."""
    return [one.strip() for one in text.split(",") if one.strip()] if text else []


def required_kinds(names: str | None) -> tuple[type[Component], ...]:
    """Return the classes of a list that must not be empty."""
    found = component_kinds(names)
    if not found:
        raise Unprocessable("name the components: ?components=Position,Velocity")
    return found
