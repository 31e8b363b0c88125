"""Builds the ASGI application of a server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from litestar import Litestar, Request
from litestar.di import Provide
from litestar.handlers.base import BaseRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.params import ParameterKwarg

from archetype_server.config import ServerConfig
from archetype_server.front import Front
from archetype_server.identity import Identity
from archetype_server.job_runner import JobRunner
from archetype_server.key_store import KeyStore
from archetype_server.openapi import complete
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
    return _routed(dict.fromkeys(("host", "keys", "jobs", "limits", "readiness"))).openapi_schema.to_schema()


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
        openapi_config=OpenAPIConfig(
            title="Archetype",
            version="1",
            path="/v1/openapi.json",
            render_plugins=[JsonRenderPlugin(path="/")],
            use_handler_docstrings=True,
        ),
        request_max_body_size=None,  # the front has read the body by then
        logging_config=None,
        debug=False,
    )
    complete(litestar.openapi_schema)
    return litestar


def _giving(value: Any) -> Any:
    return lambda: value


async def _check_parameters(request: Request[Any, Any, Any]) -> None:
    """Refuse a parameter of the query that the route does not have: a misspelt one would have no effect.

    It waits for nothing, and is a coroutine because Litestar would run a function in a thread.
    """
    known = _parameters(request.route_handler)
    for name in request.query_params:
        if name not in known:
            has = f"it has {', '.join(sorted(known - {'role'}))}" if known - {"role"} else "it has none"
            raise BadRequest(f"there is no parameter {name!r} here; {has}")


def _parameters(handler: BaseRouteHandler) -> frozenset[str]:
    """The names of a route's parameters, and the role of dev mode."""
    found = {"role"}
    if "terms" in handler.parsed_fn_signature.parameters:
        found.add("expected_tick")
    for name, field in handler.parsed_fn_signature.parameters.items():
        kwarg = field.kwarg_definition
        found.add(kwarg.name if isinstance(kwarg, ParameterKwarg) and kwarg.name else name)
    return frozenset(found - _NOT_OF_QUERY)
