"""Which entities commands concern, so that only the queued commands that matter for another one are looked at."""

from __future__ import annotations

from collections.abc import Iterable, Sized
from typing import Any

from archetype_core.command import (
    AddComponents,
    Command,
    Custom,
    Despawn,
    EntityCommand,
    RemoveComponents,
    Send,
    Spawn,
    SpawnMany,
    SpawnTable,
    Update,
)
from archetype_core.engine import is_condition
from archetype_gate.ledger import AcceptedCommand

_SINGLE = (Spawn, Send)
_MANY = 1_000
"""More entities are not listed: then every queued command counts."""

MOVING = (Spawn, SpawnMany, SpawnTable, Despawn, AddComponents, RemoveComponents)
"""The commands that change which components an entity has. A custom command may too, but nobody knows before it runs."""


def is_single(command: Command[Any]) -> bool:
    """Whether a command is a mutation of one entity, which is never large and runs no code of its caller."""
    return type(command) in _SINGLE or type(getattr(command, "entities", None)) is int


def entity_ids(commands: Iterable[EntityCommand[Any]]) -> set[int] | None:
    """The ids of the entities that must exist for some commands; ``None`` if they are many or not known."""
    found: set[int] = set()
    for command in commands:
        match command:
            case Send(recipient=recipient):
                found.add(recipient)
            case Update(entities=given) | AddComponents(entities=given) | RemoveComponents(entities=given):
                if isinstance(given, int):
                    found.add(given)
                elif isinstance(given, Sized) and isinstance(given, Iterable) and not is_condition(given):
                    if len(given) > _MANY:
                        return None
                    found.update(map(int, given))
                else:
                    return None
            case Spawn() | SpawnMany() | SpawnTable() | Despawn() | Custom():
                pass
            case _:
                return None
    return found


def concerns(accepted: AcceptedCommand, command: EntityCommand[Any], ids: set[int]) -> bool:
    """Whether a queued command spawns, moves or despawns one of some entities."""
    if isinstance(command, Spawn | SpawnMany | SpawnTable):
        return any(one in accepted.entity_ids for one in ids)
    entities: Any = getattr(command, "entities", ())
    return entities in ids if isinstance(entities, int) else not ids.isdisjoint(map(int, entities.tolist()))
