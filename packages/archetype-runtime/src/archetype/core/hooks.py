"""The published spelling of ``archetype_core.hook``."""

from archetype_core.hook import (
    Event,
    HookHandle,
    OnComponentAdded,
    OnComponentRemoved,
    OnDespawn,
    OnDestroy,
    OnSpawn,
    PostTick,
    PreTick,
)

HookEvent = Event
"""The published name of ``Event``."""

__all__ = [
    "Event",
    "HookEvent",
    "HookHandle",
    "OnComponentAdded",
    "OnComponentRemoved",
    "OnDespawn",
    "OnDestroy",
    "OnSpawn",
    "PostTick",
    "PreTick",
]
