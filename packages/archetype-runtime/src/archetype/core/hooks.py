"""The published spelling of ``archetype_core.engine.hook``."""

from archetype_core.engine import (
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
