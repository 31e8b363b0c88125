"""What a request is refused for before anything reads it: its host, its size, its depth, and how many came before."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from archetype_server.problem import BadRequest, BodyTooLarge, SlowBody, TooManyRequests, WrongHost

if TYPE_CHECKING:
    from litestar.types import Receive

    from archetype_server.config import Limits

_PORT = re.compile(r":\d+$")
_DECIDING = frozenset(
    {
        b"host",
        b"origin",
        b"authorization",
        b"x-archetype-role",
        b"content-length",
        b"content-type",
        b"transfer-encoding",
    }
)
_HEADER_BYTES = 32 * 1024
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_PAIR = re.compile(rb"\[\]|\{\}")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_NOT_STRUCTURE = bytes(set(_NOT_BRACKETS) - set(b'"'))


def check_headers(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Refuse too many headers, and one that is given twice and decides something: two readers may choose different ones."""
    seen: set[bytes] = set()
    size = 0
    for name, value in headers:
        size += len(name) + len(value)
        if size > _HEADER_BYTES:
            raise BadRequest(f"the headers have more than {_HEADER_BYTES} bytes")
        if name in _DECIDING:
            if name in seen:
                raise BadRequest(f"the header {name.decode()} is given more than once")
            seen.add(name)


def check_host(host: str | None, allowed: frozenset[str]) -> None:
    """Refuse a request to another name: a page that a browser loaded from elsewhere must not reach this server."""
    name = _PORT.sub("", host or "").lower()
    if name not in allowed:
        raise WrongHost(
            f"this server is not {name!r}: start it with --allow-host {name} if it should answer to that name"
        )


def check_origin(origin: str | None, host: str | None) -> None:
    """Refuse what a browser sends for a page of another origin: it needs no answer to do harm."""
    if origin is not None and origin.partition("//")[2].lower() != (host or "").lower():
        raise WrongHost(f"a page of {origin} may not use this server")


async def read_body(receive: Receive, length: str | None, limits: Limits) -> bytes:
    """Return a request's whole body; refused once it is too large, or too late."""
    too_large = BodyTooLarge(f"a body has at most {limits.body_bytes} bytes: send several requests")
    if length is not None and length.isdigit() and int(length[:19]) > limits.body_bytes:
        raise too_large
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(limits.body_s):
            while True:
                event = await receive()
                if event["type"] != "http.request":
                    raise BadRequest("the client went away before it had sent its body")
                parts.append(event.get("body", b""))
                size += len(parts[-1])
                if size > limits.body_bytes:
                    raise too_large
                if not event.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        raise SlowBody(f"the body did not arrive within {limits.body_s:g} s") from None


def check_depth(body: bytes, depth: int) -> None:
    """Refuse JSON that is nested too deep, before a decoder follows it down."""
    if b"\\" not in body:
        # Without escapes every string is between two quotes, and most have no bracket in them.
        body = body.translate(None, _NOT_STRUCTURE).replace(b'""', b"")
    brackets = _STRING.sub(b"", body).translate(None, _NOT_BRACKETS)
    for _ in range(depth):
        if not brackets:
            return
        # Each round removes the innermost level.
        brackets = _PAIR.sub(b"", brackets)
    if brackets:
        raise BadRequest(f"the body is nested deeper than {depth} levels, or its brackets do not match")


class RateLimit:
    """A bucket for each caller: ``burst`` requests at once, and ``per_s`` in the long run."""

    def __init__(self, per_s: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s, self._burst, self._clock = per_s, burst, clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, caller: str) -> None:
        """Count a request; ``TooManyRequests`` says when the next one is welcome."""
        now = self._clock()
        tokens, then = self._buckets.get(caller, (float(self._burst), now))
        tokens = min(self._burst, tokens + (now - then) * self._per_s)
        if tokens < 1:
            wait = (1 - tokens) / self._per_s
            retry = {"Retry-After": str(max(1, round(wait + 0.5)))}
            raise TooManyRequests(f"{caller} sends more than {self._per_s:g} requests per second: wait", headers=retry)
        self._buckets[caller] = (tokens - 1, now)
        if len(self._buckets) > 10_000:
            self._forget(now)

    def _forget(self, now: float) -> None:
        """Drop the callers whose buckets are full again."""
        full_after = self._burst / self._per_s
        self._buckets = {name: one for name, one in self._buckets.items() if now - one[1] < full_after}
