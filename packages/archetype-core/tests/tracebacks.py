"""What a failing world raises and prints."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from scene import Health, Position

from archetype_core.engine import Processor, World
from archetype_core.errors import ArchetypeError
from archetype_core.store import MemoryStore

MOST_LINES = 25


def failing(processor: Processor) -> World:
    """A world that fails at its second tick."""
    world = World(MemoryStore(), processors=[processor])
    world.spawn_many([Position(), (Position(), Health())])
    asyncio.run(world.step())
    return world


def failure(call: Callable[[], Coroutine[Any, Any, object]]) -> ArchetypeError:
    """The error of a call, as an uncaught one leaves ``asyncio.run``."""

    async def main() -> None:
        await call()

    with pytest.raises(ArchetypeError) as caught:
        asyncio.run(main())
    # Without the frames of pytest.
    error = caught.value
    assert error.__traceback__ is not None
    return error.with_traceback(error.__traceback__.tb_next)


def lines(error: BaseException) -> list[str]:
    """The lines of a printed traceback."""
    return "".join(traceback.format_exception(error)).splitlines()


def shown(error: BaseException) -> list[str]:
    """The source lines of an error's own traceback, outermost first."""
    return [str(one.line) for one in traceback.extract_tb(error.__traceback__)]
