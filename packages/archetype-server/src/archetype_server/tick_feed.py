"""Tells event streams of committed ticks. Ticks follow one another, so a stream needs only the last one, and nothing piles up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from archetype_core.engine import Event, Hook, OnDestroy, PostTick
from archetype_server.problem import Unavailable


@dataclass(eq=False, slots=True)
class Subscriber:
    """One event stream: the last tick of its world, and whether more can come."""

    world_id: str
    last_tick: int = -1
    is_over: bool = False
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, tick: int) -> None:
        """Take note of a committed tick."""
        self.last_tick = max(self.last_tick, tick)
        self.wake.set()

    def end(self) -> None:
        """Take note that no tick follows."""
        self.is_over = True
        self.wake.set()

    async def ticks(self, after: int, heartbeat_s: float) -> AsyncIterator[int | None]:
        """Give every committed tick above ``after`` as it comes, and ``None`` when there was none for a while."""
        while True:
            self.wake.clear()
            while after < self.last_tick:
                after += 1
                yield after
            if self.is_over:
                return
            try:
                async with asyncio.timeout(heartbeat_s):
                    await self.wake.wait()
            except TimeoutError:
                yield None


class TickFeed:
    """The open event streams of a server. Its hooks are added to every world; forks inherit them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._streams: set[Subscriber] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False

    @property
    def hooks(self) -> tuple[Hook, Hook]:
        """What a world needs to be heard."""
        return ((PostTick, self.committed), (OnDestroy, self.ended))

    def check_room(self) -> None:
        """Raise ``Unavailable`` if no stream can be opened."""
        if self._is_closed:
            raise Unavailable("the server is stopping: connect again later")
        if len(self._streams) >= self._limit:
            raise Unavailable(f"{self._limit} event streams are open, which is all that this server takes")

    @contextmanager
    def subscribe(self, world_id: str) -> Iterator[Subscriber]:
        """Open a stream; ``Unavailable`` if there are too many."""
        self.check_room()
        self._loop = asyncio.get_running_loop()
        stream = Subscriber(world_id)
        self._streams.add(stream)
        try:
            yield stream
        finally:
            self._streams.discard(stream)

    def committed(self, event: PostTick) -> None:
        """Observe a committed tick."""
        self._tell(event.world.world_id, lambda stream: stream.tell(event.tick))

    def ended(self, event: Event) -> None:
        """Observe the end of a world."""
        self._tell(event.world.world_id, Subscriber.end)

    def close(self) -> None:
        """End every stream, and take no more; from the server's own loop."""
        self._is_closed = True
        for one in tuple(self._streams):
            one.end()

    def _tell(self, world_id: str, tell: Callable[[Subscriber], None]) -> None:
        """Tell the streams of a world something, on the server's loop, wherever the hook runs."""

        def tell_all() -> None:
            for one in tuple(self._streams):
                if one.world_id == world_id:
                    tell(one)

        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(tell_all)
