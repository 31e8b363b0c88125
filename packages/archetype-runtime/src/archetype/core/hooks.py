"""The published import path of hook events. New code imports from ``archetype``."""

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
