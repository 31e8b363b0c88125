"""Handlers of lifecycle events."""

from __future__ import annotations

from archetype_core import Event, Hook, HookHandle, MemoryStore, OnSpawn, PostTick, PreTick, World
from archetype_core.engine import EntityEvent


def before(event: PreTick) -> None:
    """Takes one type of event."""
    print(event.run_id, event.tick)


async def after(event: PostTick) -> None:
    """Awaits, and reads the tables of a tick."""
    for name, rows in event.results.items():
        print(name, rows.num_rows)


def noticed(event: EntityEvent) -> int:
    """Takes several types of events, and returns something."""
    return len(event.entity_ids)


def anything(event: Event) -> None:
    """Takes every event."""
    print(event)


world = World(
    MemoryStore(),
    hooks=[(PreTick, before), (PostTick, after), (OnSpawn, noticed), (Event, anything), (PreTick, anything)],
)
hooks: list[Hook] = [(PreTick, before), (PreTick, lambda event: print(event.run_id))]
other = World(MemoryStore(), hooks=hooks)
handle: HookHandle = world.add_hook(PreTick, before, fail_fast=True)
world.add_hook(PostTick, after, mode="spawn")
world.add_hook(OnSpawn, noticed)
world.add_hook(OnSpawn, lambda event: print(event.entity_id, event.archetype))
world.remove_hook(handle)
