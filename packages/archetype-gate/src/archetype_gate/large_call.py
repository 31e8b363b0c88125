"""Which calls are large: a thread works on them, so that the event loop is free meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from typing import Any

from archetype_core import World
from archetype_core.command import EntitiesCommand, EntityCommand, SpawnMany, SpawnTable, UpdateTable, UpdateWhere
from archetype_core.engine import is_condition
from archetype_core.schema import ENTITY_ID

LARGE = 1_000
"""From so many entities on a command is worked on in a thread, so that the event loop is free meanwhile."""


def is_large(commands: Sequence[EntityCommand[Any]], world: World) -> bool:
    """Whether checking, copying and encoding commands takes long; a condition counts all live entities.

    A generator counts as one entity: it is the caller's code, so it runs in the caller's thread.
    """
    if len(commands) == 1 and type(getattr(commands[0], "entities", commands)) is int:
        return False
    return sum(_size(one, world) for one in commands) >= LARGE


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
