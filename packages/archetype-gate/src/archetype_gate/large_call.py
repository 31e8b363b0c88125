"""Which calls are large: a thread works on them, so that the event loop is free meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Sized
from typing import Any, TypeVar

from archetype_core import World
from archetype_core.command import (
    EntitiesCommand,
    EntityCommand,
    SpawnMany,
    SpawnTable,
    UpdateTable,
    UpdateWhere,
)
from archetype_core.engine import can_wait, in_thread, is_condition
from archetype_core.schema import ENTITY_ID
from archetype_gate.live_world import LiveWorld

T = TypeVar("T")

LARGE = 1_000
"""From so many entities on a command is worked on in a thread, so that the event loop is free meanwhile."""


def is_large(commands: Sequence[EntityCommand[Any]], live: LiveWorld | None) -> bool:
    """Whether a thread works on commands; never for a caller that the event loop waits for.

    A condition counts all live entities. A generator counts as one: it is the caller's code, so it runs in the caller's thread.
    """
    if live is None:
        return False
    return sum(_size(one, live.world) for one in commands) >= LARGE and can_wait()


async def in_turn(live: LiveWorld | None, is_large: bool, work: Callable[[], T]) -> T:
    """Do the work of a call after the large calls that came before it; large work in a thread."""
    # Nothing is awaited if nobody has the turn: the sync twin makes some calls that cannot wait.
    if live is None or not (is_large or (live.turn.is_taken and can_wait())):
        return work()
    async with live.turn:
        return await in_thread(work) if is_large else work()


def _size(command: EntityCommand[Any], world: World) -> int:
    match command:
        case SpawnMany(bundles):
            # The arguments of a command that is not checked yet may be anything.
            return _count(bundles, world)
        case SpawnTable(table):
            return _count(table, world)
        case UpdateWhere():
            return len(world)
        case UpdateTable(data, entities) if entities is None:
            given = data.get(ENTITY_ID, ()) if isinstance(data, Mapping) else data
            return _count(given, world)
        case UpdateTable(entities=entities) | EntitiesCommand(entities=entities):
            return _count(entities, world)
    return 1


def _count(entities: object, world: World) -> int:
    if type(entities) is int:
        return 1
    if is_condition(entities) or hasattr(entities, "collect"):
        return len(world)
    rows = getattr(entities, "num_rows", None)
    if isinstance(rows, int):
        return rows
    try:
        return len(entities) if isinstance(entities, Sized) else 1
    except TypeError:
        # An array without dimensions.
        return 1
