"""Builds the ASGI application of a server."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from litestar import Litestar, Request
from litestar.di import Provide
from litestar.handlers.base import BaseRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.params import ParameterKwarg

from archetype_server.body import BodyRequest
from archetype_server.config import ServerConfig
from archetype_server.front import Front
from archetype_server.identity import Identity
from archetype_server.job_runner import JobRunner
from archetype_server.key_store import KeyStore
from archetype_server.openapi import Document, document_of
from archetype_server.problem import BadRequest, answer
from archetype_server.readiness import Readiness
from archetype_server.routes.aggregates import AggregateRoutes
from archetype_server.routes.commands import CommandRoutes
from archetype_server.routes.entities import EntityRoutes
from archetype_server.routes.events import EventRoutes
from archetype_server.routes.jobs import JobRoutes
from archetype_server.routes.keys import KeyRoutes
from archetype_server.routes.reads import ReadRoutes
from archetype_server.routes.simulation import SimulationRoutes
from archetype_server.routes.system import HealthRoutes, SystemRoutes
from archetype_server.routes.terms import once_of, terms_of
from archetype_server.routes.worlds import WorldRoutes
from archetype_server.world_host import WorldHost

_NOT_OF_QUERY = frozenset(
    {
        "self",
        "request",
        "host",
        "limits",
        "readiness",
        "keys",
        "key_id",
        "jobs",
        "job_id",
        "prefer",
        "terms",
        "once",
        "data",
        "world",
        "last_event_id",
    }
)


def create_app(
    host: WorldHost, keys: KeyStore, jobs: JobRunner, *, identity: Identity, readiness: Readiness, config: ServerConfig
) -> Front:
    """Return the application that serves the worlds of a host."""
    shared = {"host": host, "keys": keys, "jobs": jobs, "limits": config.limits, "readiness": readiness}
    return Front(_routed(shared), identity, config, host)


def document() -> dict[str, Any]:
    """Return the OpenAPI document that every server has."""
    return document_of(_routed(dict.fromkeys(("host", "keys", "jobs", "limits", "readiness"))))


def _routed(shared: Mapping[str, Any]) -> Litestar:
    """All routes, with what they share."""
    litestar = Litestar(
        route_handlers=[
            WorldRoutes,
            EntityRoutes,
            CommandRoutes,
            SimulationRoutes,
            ReadRoutes,
            AggregateRoutes,
            EventRoutes,
            SystemRoutes,
            HealthRoutes,
            KeyRoutes,
            JobRoutes,
        ],
        dependencies={
            **{name: Provide(_giving(one), sync_to_thread=False) for name, one in shared.items()},
            "terms": Provide(terms_of),
            "once": Provide(once_of),
        },
        exception_handlers={Exception: answer},
        before_request=_check_parameters,
        request_class=BodyRequest,
        openapi_config=OpenAPIConfig(
            title="Archetype",
            version="1",
            path="/v1/openapi.json",
            render_plugins=[Document()],
            use_handler_docstrings=True,
        ),
        request_max_body_size=None,  # the front has read the body by then
        logging_config=None,
        debug=False,
    )
    _drop_options(litestar.asgi_router.root_route_map_node)
    return litestar


def _drop_options(node: Any) -> None:
    """Leave no answer to OPTIONS below a node: Litestar's names some of the methods that an address has."""
    node.asgi_handlers.pop("OPTIONS", None)
    for child in node.children.values():
        _drop_options(child)


def _giving(value: Any) -> Any:
    return lambda: value


async def _check_parameters(request: Request[Any, Any, Any]) -> None:
    """Refuse a parameter of the query that the route does not have, has twice, or has without a value.

    Each of them would have no effect. It waits for nothing, and is a coroutine because Litestar would run a function in a thread.
    """
    query = request.scope["query_string"]
    if not query:
        return
    known, seen = _parameters(request.route_handler), set()
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name not in known:
            has = f"it has {', '.join(sorted(known.keys() - {'role'}))}" if len(known) > 1 else "it has none"
            raise BadRequest(f"there is no parameter {name!r} here; {has}")
        if name in seen:
            raise BadRequest(f"the parameter {name!r} is given more than once")
        if not known[name] and value.lower() in ("", "null"):
            raise BadRequest(f"the parameter {name!r} has no value: leave it out, or give one")
        seen.add(name)


@functools.cache
def _parameters(handler: BaseRouteHandler) -> Mapping[str, bool]:
    """The names of a route's parameters, and whether any text is one's value; with the role of dev mode."""
    found = {"role": True}
    if "terms" in handler.parsed_fn_signature.parameters:
        found["expected_tick"] = False
    for name, field in handler.parsed_fn_signature.parameters.items():
        kwarg = field.kwarg_definition
        if name not in _NOT_OF_QUERY:
            shown = kwarg.name if isinstance(kwarg, ParameterKwarg) and kwarg.name else name
            found[shown] = field.annotation in (str, str | None)
    return found
