"""ETags: which tick of a world an answer is about. With them clients read only what is new, and change only what they know."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from litestar import Request, Response

from archetype_server.problem import ServerError

_OURS = re.compile(r'"([0-9a-f]{16})\.([0-9]{1,18})(?:\.[A-Za-z0-9_-]+)?"')
_TAGS = re.compile(r'\s*(?:W/)?("[\x21\x23-\x7e]*")\s*(?:,|$)')
_VARY = "Accept, Authorization, X-Archetype-Role"


class OtherWorld(ServerError):
    """``If-Match`` has no ETag of this world, or has one of another tick than ``expected_tick``."""

    code, status = "ARC-H015", 412


def etag(world_id: str, tick: int, variant: str = "") -> str:
    """Return the ETag of a world whose next tick is ``tick``, in one of several forms of the answer."""
    return f'"{_hashed(world_id)}.{tick}{"." if variant else ""}{variant}"'


def expected_tick(if_match: str, world_id: str) -> int | None:
    """Return the next tick that ``If-Match`` names; ``None`` for ``*``, which every world matches.

    ``OtherWorld`` if none of its ETags is one of the world. A weak one never matches.
    """
    if if_match.strip() == "*":
        return None
    tags = [_OURS.fullmatch(one.strip()) for one in if_match.split(",")]
    hashed = _hashed(world_id)
    ticks = [int(one[2]) for one in tags if one is not None and one[1] == hashed]
    if not ticks:
        raise OtherWorld("If-Match has no ETag of this world: nothing was done; read it again")
    # A world that had the later one has left the others.
    return max(ticks)


def tagged(tag: str, *, is_settled: bool) -> dict[str, str]:
    """Return the headers of an answer with an ETag; a settled one never changes."""
    cache = "private, max-age=31536000, immutable" if is_settled else "private, no-cache"
    return {"ETag": tag, "Cache-Control": cache, "Vary": _VARY}


def unmodified(request: Request[Any, Any, Any], headers: dict[str, str]) -> Response[Any] | None:
    """Return the answer to a client that has this already, if it says so in ``If-None-Match``."""
    known = request.headers.get("if-none-match")
    if known is None or not (known.strip() == "*" or headers["ETag"] in _TAGS.findall(known)):
        return None
    return Response(None, status_code=304, headers=headers)


def fingerprint(body: bytes) -> str:
    """Return what tells one answer of a tick from another, for answers that also change between ticks."""
    return hashlib.blake2b(body, digest_size=8).hexdigest()


def _hashed(world_id: str) -> str:
    # An id is chosen by its creator and may have any characters.
    return fingerprint(world_id.encode())
