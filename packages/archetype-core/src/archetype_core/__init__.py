"""Archetype's core: the component model, worlds and ticks, the in-memory store, and the ports of stores and kernels.

This module exports what most programs need; the rooms ``schema``, ``store``, ``read``, ``engine`` and ``command`` export
the rest.
"""

from archetype_core.clock import Clock, IdSource
from archetype_core.config import CacheConfig, RunConfig, StorageConfig
from archetype_core.engine.arrays import Arrays
from archetype_core.engine.commands import Commands
from archetype_core.engine.hook import (
    Event,
    Hook,
    HookHandle,
    OnComponentAdded,
    OnComponentRemoved,
    OnDespawn,
    OnDestroy,
    OnSpawn,
    PostTick,
    PreTick,
)
from archetype_core.engine.materialize import Arrival, Patch, PythonKernel, Staged
from archetype_core.engine.port import Executor, Kernel
from archetype_core.engine.processor import AsyncProcessor, Processor, ProcessorResult
from archetype_core.engine.registry import load_kernel
from archetype_core.engine.resource import Resources
from archetype_core.engine.rng import EntityRng, Rng
from archetype_core.engine.tick import Outcome, RunResult
from archetype_core.engine.view import WorldView
from archetype_core.engine.world import World
from archetype_core.schema.archetype import Archetype
from archetype_core.schema.component import Component, ComponentType
from archetype_core.schema.entity import Entity
from archetype_core.schema.evolution import Evolution, each
from archetype_core.schema.message import Letter, Letters, Mailbox, Message
from archetype_core.schema.snapshot import Snapshot
from archetype_core.schema.vector import Vector
from archetype_core.store.commit import Rows, TickCommit
from archetype_core.store.digest import digest
from archetype_core.store.memory import MemoryStore
from archetype_core.store.port import Capability, Store
from archetype_core.store.registry import open_store
from archetype_core.store.request import Scan
from archetype_core.store.timeline import Head, Point, Segment, Span, Timeline, WorldRecord

__all__ = [
    "Archetype",
    "Arrays",
    "Arrival",
    "AsyncProcessor",
    "CacheConfig",
    "Capability",
    "Clock",
    "Commands",
    "Component",
    "ComponentType",
    "Entity",
    "EntityRng",
    "Event",
    "Evolution",
    "Executor",
    "Head",
    "Hook",
    "HookHandle",
    "IdSource",
    "Kernel",
    "Letter",
    "Letters",
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
    "ProcessorResult",
    "PythonKernel",
    "Resources",
    "Rng",
    "Rows",
    "RunConfig",
    "RunResult",
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
    "each",
    "load_kernel",
    "open_store",
]
