"""Tells event streams of committed ticks. Ticks follow one another, so a stream needs only the last one, and nothing piles up."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from archetype_core.engine import Event, Hook, OnDestroy, PostTick
from archetype_server.problem import Unavailable

COUNTED: contextvars.ContextVar[Callable[[], None] | None] = contextvars.ContextVar("archetype_counted", default=None)
"""Called for each tick that is committed in this context, whichever world's."""


@dataclass(eq=False, slots=True)
class Subscriber:
    """One event stream: the last tick of its world, and whether more can come."""

    world_id: str | None
    """``None`` is of no world's ticks."""
    last_tick: int = -1
    is_over: bool = False
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, tick: int) -> None:
        """Take note of a committed tick."""
        self.last_tick = max(self.last_tick, tick)
        self.wake.set()

    def end(self) -> None:
        """Take note that nothing follows."""
        self.is_over = True
        self.wake.set()


class TickFeed:
    """The open event streams of a server. Its hooks are added to every world; forks inherit them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._streams: dict[str | None, set[Subscriber]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False
        self._lock = threading.Lock()
        self._news: dict[str, int | None] = {}
        """The last tick of each world that streams were not told of yet; ``None`` for a world that ended."""
        self.ticks = 0
        """How many ticks were committed."""

    @property
    def hooks(self) -> tuple[Hook, Hook]:
        """What a world needs to be heard."""
        return ((PostTick, self.committed), (OnDestroy, self.ended))

    @property
    def open_streams(self) -> int:
        """How many streams are open."""
        return sum(map(len, self._streams.values()))

    def check_room(self) -> None:
        """Raise ``Unavailable`` if no stream can be opened."""
        if self._is_closed:
            raise Unavailable("the server is stopping: connect again later")
        if self.open_streams >= self._limit:
            raise Unavailable(f"{self._limit} event streams are open, which is all that this server takes")

    @contextmanager
    def subscribe(self, world_id: str | None) -> Iterator[Subscriber]:
        """Open a stream; ``Unavailable`` if there are too many."""
        self.check_room()
        self._loop = asyncio.get_running_loop()
        stream = Subscriber(world_id)
        self._streams.setdefault(world_id, set()).add(stream)
        try:
            yield stream
        finally:
            self._streams[world_id].discard(stream)
            if not self._streams[world_id]:
                del self._streams[world_id]

    def committed(self, event: PostTick) -> None:
        """Observe a committed tick."""
        if (count := COUNTED.get()) is not None:
            count()
        self._note(event.world.world_id, event.tick)

    def ended(self, event: Event) -> None:
        """Observe the end of a world."""
        self._note(event.world.world_id, None)

    def close(self) -> None:
        """End every stream, and take no more; from the server's own loop."""
        self._is_closed = True
        for streams in tuple(self._streams.values()):
            for one in tuple(streams):
                one.end()

    def _note(self, world_id: str, tick: int | None) -> None:
        """Keep what happened for the streams of a world, and wake the server's loop once for all that happens meanwhile."""
        with self._lock:
            self.ticks += tick is not None
            if world_id not in self._streams or self._loop is None or self._loop.is_closed():
                return
            is_woken = bool(self._news)
            self._news[world_id] = tick
        if not is_woken:
            self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        with self._lock:
            news, self._news = self._news, {}
        for world_id, tick in news.items():
            for one in tuple(self._streams.get(world_id, ())):
                if tick is None:
                    one.end()
                else:
                    one.tell(tick)
