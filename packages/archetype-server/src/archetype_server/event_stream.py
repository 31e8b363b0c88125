"""One event stream: the ticks of a world and the commands that were settled, from where its reader stopped."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field

import msgspec

from archetype_core.command import ADMIN, ActorCtx, AuditFilter, GetHistory
from archetype_server.audit_feed import INTERVAL_S, PAGE, Told, as_told
from archetype_server.identity import Caller
from archetype_server.key_store import SERVER
from archetype_server.problem import BadRequest
from archetype_server.tick_feed import Subscriber
from archetype_server.world_host import WorldHost

HEARTBEAT_S = 15.0
CHECK_S = 0.5
"""How long a stream may go on after its reader's key has ended."""
_ID = re.compile(r"(\d{1,18})?(?:-(\d{1,18}))?")
_TICKS = 1000
"""So many ticks are sent at a time."""


@dataclass(slots=True)
class Place:
    """What a reader has seen: the ticks up to one, and the commands up to one. ``None`` is what it does not follow."""

    tick: int | None
    seq: int | None

    @classmethod
    def of(cls, text: str | None) -> Place:
        """Return the place that a ``Last-Event-ID`` names."""
        found = _ID.fullmatch(text or "")
        if found is None:
            raise BadRequest(
                "Last-Event-ID is the id of an event: a tick such as 3, or 3-120, or -120 for commands alone"
            )
        tick, seq = found.groups()
        return cls(None if tick is None else int(tick), None if seq is None else int(seq))

    def __str__(self) -> str:
        tick = "" if self.tick is None else str(max(self.tick, 0))
        return tick if self.seq is None else f"{tick}-{self.seq}"


@dataclass(frozen=True, slots=True)
class Following:
    """What a stream is about: one world or all, and which commands. ``types`` of ``None`` are all that change something."""

    actor: ActorCtx
    world_id: str | None
    place: Place
    types: frozenset[str] | None = None
    seen: dict[str, bool] = field(default_factory=dict)
    """Which worlds the reader may see, as far as it was asked."""


async def while_known(caller: Caller, chunks: AsyncGenerator[bytes]) -> AsyncIterator[bytes]:
    """Give the events of a stream until its reader's key ends; comments show that a quiet stream is alive.

    What comes after the end of the key is not given, so the last event has no id: another key goes on where this one stopped.
    """
    sent_at = time.monotonic()
    async with aclosing(chunks):
        async for chunk in chunks:
            if (why := caller.why_over()) is not None:
                yield b"event: ended\ndata: %s\n\n" % msgspec.json.encode({"reason": why})
                return
            is_quiet = time.monotonic() - sent_at >= HEARTBEAT_S
            if chunk or is_quiet:
                sent_at = time.monotonic()
                yield chunk or b": still here\n\n"


async def events(host: WorldHost, following: Following) -> AsyncGenerator[bytes]:
    """Give the events since a place, and then those to come; nothing, ``b""``, at least every ``CHECK_S``."""
    place, actor = following.place, following.actor
    is_ending = place.seq is None
    async with AsyncExitStack() as stack:
        stream = stack.enter_context(host.feed.subscribe(following.world_id))
        if following.world_id is not None and place.tick is not None:
            # Since the caller's own read, more ticks may have been committed.
            now = host.gate.peek(actor, following.world_id)
            stream.tell(place.tick if now is None else now.tick - 1)
        if place.seq is not None:
            await stack.enter_async_context(host.audit.listen(stream.wake))
        yield b": events follow\n\n"
        if place.seq is not None:
            async for told in _missed(host, following):
                yield _commands(host, following, told)
        while True:
            stream.wake.clear()
            while chunk := _ticks(following, stream):
                yield chunk
            new = [] if place.seq is None else host.audit.since(place.seq)
            if new is None:
                yield _dropped(place)
                return
            if chunk := _commands(host, following, new):
                yield chunk
                continue
            if stream.is_over:
                if is_ending:
                    return
                # The command that ended the world is settled after it.
                is_ending = True
                await asyncio.sleep(3 * INTERVAL_S)
                continue
            try:
                async with asyncio.timeout(CHECK_S):
                    await stream.wake.wait()
            except TimeoutError:
                yield b""


async def _missed(host: WorldHost, following: Following) -> AsyncIterator[list[Told]]:
    """What was settled before the feed began, from the ledger: page by page, each a read of the caller."""
    place = following.place
    assert place.seq is not None
    while place.seq < (begun := host.audit.low):
        which = AuditFilter(following.world_id, after=place.seq, limit=PAGE, oldest_first=True, by_settlement=True)
        rows = await host.gate.execute(following.actor, GetHistory(which), following.world_id)
        yield await asyncio.to_thread(as_told, rows, host.redaction)
        if len(rows) < PAGE:
            place.seq = max(place.seq, begun)


def _ticks(following: Following, stream: Subscriber) -> bytes:
    """The next committed ticks, up to a bound; empty if there is none."""
    place, found = following.place, []
    if place.tick is not None:
        for tick in range(place.tick + 1, min(stream.last_tick, place.tick + _TICKS) + 1):
            place.tick = tick
            found.append(_event("tick", place, msgspec.json.encode({"world_id": following.world_id, "tick": tick})))
    return b"".join(found)


def _commands(host: WorldHost, following: Following, told: list[Told]) -> bytes:
    """Those commands of some that the reader wants and may see."""
    place, found = following.place, []
    for one in told:
        place.seq = one.seq
        if _is_wanted(host, following, one):
            found.append(_event("command", place, one.data))
    return b"".join(found)


def _is_wanted(host: WorldHost, following: Following, one: Told) -> bool:
    types, actor = following.types, following.actor
    if one.is_read if types is None else one.type not in types:
        return False
    if following.world_id is not None:
        return one.world_id == following.world_id
    if not one.world_id:
        return one.actor == actor.id or ADMIN in actor.roles
    if one.world_id not in following.seen:
        following.seen[one.world_id] = _may_see(host, actor, one.world_id)
    return following.seen[one.world_id]


def _may_see(host: WorldHost, actor: ActorCtx, world_id: str) -> bool:
    if host.gate.peek(actor, world_id) is not None:
        return True
    # A world that has ended since is not hidden from who may read the whole audit log.
    return host.gate.peek(SERVER, world_id) is None


def _dropped(place: Place) -> bytes:
    why = "this stream was too slow: go on from last_id with Last-Event-ID"
    return _event("dropped", place, msgspec.json.encode({"last_id": str(place), "reason": why}))


def _event(kind: str, place: Place, data: bytes) -> bytes:
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (str(place).encode(), kind.encode(), data)
