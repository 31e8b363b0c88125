"""Reads the terms of a request: ``If-Match``, ``expected_tick`` and ``Idempotency-Key``."""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Any
from urllib.parse import parse_qsl

from litestar import Request
from litestar.params import HeaderParameter, QueryParameter

from archetype_core.command import IdempotencyKey
from archetype_server import etag
from archetype_server.problem import BadRequest
from archetype_server.routes.base import MAX, Anyone, Host, WorldName
from archetype_server.terms import Terms

_KEY = re.compile(r'"?([\x21\x23-\x7e]{1,255})"?')
Match = Annotated[
    str | None, HeaderParameter(name="If-Match", description="The ETag of the world that the client knows.")
]
Key = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        description="A name for the request, chosen by the client: sent again, it does nothing more.",
    ),
]
ExpectedTick = Annotated[
    int | None, QueryParameter(ge=0, le=MAX, description="The next tick of the world that the client knows.")
]


async def terms_of(  # noqa: PLR0917  # reason: Litestar passes them by name
    request: Anyone,
    host: Host,
    world: WorldName,
    if_match: Match = None,
    expected_tick: ExpectedTick = None,
    idempotency_key: Key = None,
) -> Terms:
    """Return the terms of a request to a world."""
    tagged = None if if_match is None else etag.expected_tick(if_match, host.id_of(request.user, world))
    if tagged is not None and expected_tick not in (None, tagged):
        raise etag.OtherWorld(f"If-Match is of tick {tagged} and expected_tick is {expected_tick}: nothing was done")
    expected = expected_tick if tagged is None else tagged
    return Terms(expected, await _key(request, idempotency_key))


async def once_of(request: Anyone, idempotency_key: Key = None) -> Terms:
    """Return the terms of a request that makes a world."""
    return Terms(None, await _key(request, idempotency_key))


async def _key(request: Request[Any, Any, Any], given: str | None) -> IdempotencyKey | None:
    if given is None:
        return None
    found = _KEY.fullmatch(given.strip())
    if found is None:
        raise BadRequest("Idempotency-Key is 1 to 255 visible characters")
    # In dev mode the role is part of the caller, not of what it asks.
    query = sorted(one for one in parse_qsl(request.url.query, keep_blank_values=True) if one[0] != "role")
    told = (request.method, request.url.path, query, request.headers.get("if-match"), await request.body())
    return IdempotencyKey(found[1], hashlib.sha256(repr(told).encode()).hexdigest())
