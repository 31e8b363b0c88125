"""The shortest way for requests that come by the thousand: single spawns without terms. All others go through Litestar.

Nothing is decided here that is not decided there: the front has checked the request, the body is decoded alike, and the gate is
asked in the same way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from archetype_server.answer import EntityRef
from archetype_server.body import decoded
from archetype_server.model import SpawnBody

if TYPE_CHECKING:
    from archetype_core.command import ActorCtx
    from archetype_server.world_host import WorldHost

_ADDRESS = re.compile(r"/v1/worlds/([^/]+)/entities")
SPAWN_ROUTE = "/v1/worlds/{world:str}/entities"
_TERMS = ("if-match", "idempotency-key")
_ENCODER = msgspec.json.Encoder()


def spawned_world(scope: Any, headers: Mapping[str, str]) -> str | None:
    """Return the world that a request asks nothing else of but a spawn; ``None`` for any other request."""
    if scope["method"] != "POST" or scope["query_string"] or any(one in headers for one in _TERMS):
        return None
    found = _ADDRESS.fullmatch(scope["path"])
    return None if found is None else found[1]


async def spawn(host: WorldHost, actor: ActorCtx, world: str, body: bytes) -> bytes:
    """Spawn the entity of a body, and return the body of the answer."""
    command = decoded(SpawnBody, body).command()
    return _ENCODER.encode(EntityRef(await host.ask(actor, command, world)))
