"""Archetype's engine and the ports that its adapters implement.

Component model, worlds and ticks, an in-memory store, and lookup of the stores and kernels that other packages bring.
"""

from archetype_core.archetype import Archetype
from archetype_core.commit import Head, Point, Rows, Scan, Segment, Span, TickCommit, Timeline, WorldRecord
from archetype_core.component import Component, ComponentType
from archetype_core.config import CacheConfig, RunConfig, StorageConfig
from archetype_core.digest import digest
from archetype_core.entity import Entity
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
from archetype_core.kernel import Patch, PythonKernel, Staged
from archetype_core.memory import MemoryStore
from archetype_core.message import Letter, Mailbox, Message
from archetype_core.ports import Capability, Clock, Executor, IdSource, Kernel, Store
from archetype_core.processor import AsyncProcessor, Processor
from archetype_core.registry import load_kernel, open_store
from archetype_core.resource import Resources
from archetype_core.snapshot import Snapshot
from archetype_core.tick import Outcome
from archetype_core.vector import Vector
from archetype_core.view import WorldView
from archetype_core.world import World

__all__ = [
    "Archetype",
    "AsyncProcessor",
    "CacheConfig",
    "Capability",
    "Clock",
    "Component",
    "ComponentType",
    "Entity",
    "Event",
    "Executor",
    "Head",
    "HookHandle",
    "IdSource",
    "Kernel",
    "Letter",
    "Mailbox",
    "MemoryStore",
    "Message",
    "OnComponentAdded",
    "OnComponentRemoved",
    "OnDespawn",
    "OnDestroy",
    "OnSpawn",
    "Outcome",
    "Patch",
    "Point",
    "PostTick",
    "PreTick",
    "Processor",
    "PythonKernel",
    "Resources",
    "Rows",
    "RunConfig",
    "Scan",
    "Segment",
    "Snapshot",
    "Span",
    "Staged",
    "StorageConfig",
    "Store",
    "TickCommit",
    "Timeline",
    "Vector",
    "World",
    "WorldRecord",
    "WorldView",
    "digest",
    "load_kernel",
    "open_store",
]
