"""What every request passes before Litestar sees it: host, identity, rate, size. Nothing is answered without it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs

from archetype_core.errors import ArchetypeError
from archetype_server.direct import SPAWN_ROUTE, spawn, spawned_world
from archetype_server.limits import RateLimit, check_depth, check_headers, check_host, check_origin, read_body
from archetype_server.problem import (
    PROBLEM_JSON,
    BadRequest,
    Unauthenticated,
    Unavailable,
    WrongMediaType,
    as_problem,
    encoded,
    headers_of,
    status_of,
)
from archetype_server.request_record import CODE, RequestRecord

if TYPE_CHECKING:
    from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

    from archetype_server.config import ServerConfig
    from archetype_server.identity import Caller, Identity
    from archetype_server.world_host import WorldHost

PREFIX = "/v1"
OPEN = frozenset({"/livez", "/readyz"})
"""The addresses that need no key: they tell nothing but whether the server works."""
log = logging.getLogger("archetype_server")


class Front:
    """An ASGI application around another one. Addresses without the version are those of the first version."""

    def __init__(self, app: ASGIApp, identity: Identity, config: ServerConfig, host: WorldHost) -> None:
        self._app = app
        self._identity = identity
        self._limits = config.limits
        self._hosts = config.hosts
        self._rate = RateLimit(config.limits.requests_per_s, config.limits.burst)
        self._host, self._metrics, self._redaction = host, host.metrics, host.redaction

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind: str = scope["type"]
        if kind == "lifespan":
            await self._app(scope, receive, send)
        elif kind == "http":
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            with RequestRecord(self._metrics, scope, headers) as record:
                await self._http(cast("HTTPScope", scope), receive, send, record)

    async def _http(self, scope: HTTPScope, receive: Receive, send: Send, record: RequestRecord) -> None:
        path, is_cut, is_streamed = scope["path"], False, False

        async def forward(message: Message) -> None:
            nonlocal is_cut, is_streamed
            if message["type"] == "http.response.start":
                record.begin(message)
            is_streamed = is_streamed or bool(message.get("more_body", False))
            if not is_streamed:
                # In one piece: nothing waits for the client.
                await send(message)
                return
            try:
                async with asyncio.timeout(self._limits.send_s):
                    await send(message)
            except TimeoutError:
                is_cut = True
                abort(send)
                raise

        try:
            body = await self._admitted(scope, receive, record)
            if (world := spawned_world(scope, record.headers)) is not None:
                facts = cast("dict[str, Any]", scope)
                facts["path_template"] = SPAWN_ROUTE
                answer = await spawn(self._host, facts["user"], world, body)
                await forward(
                    {"type": "http.response.start", "status": 201, "headers": _headers("application/json", answer)}
                )
                await send({"type": "http.response.body", "body": answer, "more_body": False})
            else:
                await self._app(scope, _replayed(body, receive), forward)
        except asyncio.CancelledError:
            if record.status:
                raise
            # A stopping server has waited long enough.
            stopping = Unavailable("the server stops, and did not finish this: ticks that were committed stay")
            await self._refuse(stopping, scope, path, forward)
        # Whatever happens, the client gets a problem and the server stays up.
        except Exception as failure:
            if is_cut:
                log.info("a client read nothing of the answer to %s for %g s", path, self._limits.send_s)
                # So that uvicorn learns that the connection is closed.
                await asyncio.sleep(0)
                return
            if record.status:
                log.warning("the answer to %s broke off: %s", path, failure)
                raise
            await self._refuse(as_problem(failure), scope, path, forward)

    async def _admitted(self, scope: HTTPScope, receive: Receive, record: RequestRecord) -> bytes:
        """Check a request, note who sent it, and return its body."""
        facts = cast("dict[str, Any]", scope)
        path = scope["path"]
        headers = record.headers
        facts["archetype_path"] = path
        facts["archetype_redaction"] = self._redaction
        check_headers(scope["headers"])
        check_host(headers.get("host"), self._hosts)
        check_origin(headers.get("origin"), headers.get("host"))
        if path not in OPEN:
            facts["archetype_caller"] = caller = self._known(scope, headers)
            facts["user"] = caller.actor
            record.actor = caller.actor.id
            if not path.startswith(f"{PREFIX}/"):
                scope["path"] = PREFIX + path
                scope["raw_path"] = PREFIX.encode() + scope["raw_path"]
        body = await read_body(receive, headers.get("content-length"), self._limits)
        if body:
            kind = headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "application/json":
                raise WrongMediaType(f"a body is application/json, not {kind or 'without a type'}")
            check_depth(body, self._limits.body_depth)
        return body

    def _known(self, scope: HTTPScope, headers: Mapping[str, str]) -> Caller:
        roles = parse_qs(scope["query_string"].decode("latin-1")).get("role", [])
        if len(roles) > 1:
            raise BadRequest("role is given more than once")
        try:
            caller = self._identity.caller(headers, roles[0] if roles else None)
        except Unauthenticated:
            client = scope.get("client")
            self._rate.take(f"address {client[0]}" if client else "an unknown address")
            raise
        self._rate.take(caller.actor.id)
        return caller

    async def _refuse(self, problem: ArchetypeError, scope: HTTPScope, path: str, send: Send) -> None:
        """Answer with a problem."""
        cast("dict[str, Any]", scope)[CODE] = problem.code
        body = encoded(problem, path, self._redaction)
        more = [(name.lower().encode(), value.encode()) for name, value in headers_of(problem).items()]
        headers = [*more, *_headers(PROBLEM_JSON, body)]
        await send({"type": "http.response.start", "status": status_of(problem), "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})


def abort(send: Send) -> None:
    """End a connection whose client reads nothing: closing it would wait for the client."""
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is not None:
        transport.abort()


def _headers(kind: str, body: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"content-type", kind.encode()), (b"content-length", b"%d" % len(body))]


def _replayed(body: bytes, receive: Receive) -> Receive:
    """What gives a body that was read before, and then what comes after it."""
    is_given = False

    async def replay() -> Any:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
