"""Reads the terms of a request to a world."""

from __future__ import annotations

from typing import Annotated

from litestar.params import HeaderParameter, QueryParameter

from archetype_server import etag
from archetype_server.problem import BadRequest
from archetype_server.routes.base import MAX, Host, WorldName
from archetype_server.terms import Terms


async def terms_of(
    host: Host,
    world: WorldName,
    if_match: Annotated[
        str | None, HeaderParameter(name="If-Match", description="The ETag of the world that the client knows.")
    ] = None,
    expected_tick: Annotated[
        int | None, QueryParameter(ge=0, le=MAX, description="The next tick of the world that the client knows.")
    ] = None,
) -> Terms:
    """Return the terms of a request."""
    if if_match is None:
        return Terms(expected_tick)
    if expected_tick is not None:
        raise BadRequest("give If-Match or expected_tick, not both")
    return Terms(etag.expected_tick(if_match, host.id_of(world)))
