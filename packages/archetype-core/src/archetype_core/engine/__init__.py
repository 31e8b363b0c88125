"""Worlds and their ticks: staging, processors, hooks, the kernel and the executor."""

from archetype_core.engine.arrays import Arrays
from archetype_core.engine.attempt import Attempt, current_attempt, outside_attempts
from archetype_core.engine.commands import Commands
from archetype_core.engine.fair_lock import FairLock
from archetype_core.engine.hook import (
    EntityEvent,
    Event,
    Handler,
    Hook,
    HookHandle,
    Mode,
    OnComponentAdded,
    OnComponentRemoved,
    OnDespawn,
    OnDestroy,
    OnSpawn,
    PostTick,
    PreTick,
    hook_pairs,
)
from archetype_core.engine.materialize import Arrival, Patch, PythonKernel, Staged
from archetype_core.engine.parts import Parts
from archetype_core.engine.port import Executor, Kernel
from archetype_core.engine.processor import AsyncProcessor, Processor, ProcessorResult, check_inputs
from archetype_core.engine.registry import load_kernel
from archetype_core.engine.resource import Resources
from archetype_core.engine.rng import EntityRng, Rng
from archetype_core.engine.selection import Entities, is_condition
from archetype_core.engine.spawn_bundle import Bundle, bundled, bundles_as_table
from archetype_core.engine.spawn_table import conformed
from archetype_core.engine.table_update import Changes
from archetype_core.engine.thread import can_wait, in_thread, without_waiting
from archetype_core.engine.tick import Outcome, RunResult
from archetype_core.engine.view import WorldView
from archetype_core.engine.world import World

__all__ = [
    "Arrays",
    "Arrival",
    "AsyncProcessor",
    "Attempt",
    "Bundle",
    "Changes",
    "Commands",
    "Entities",
    "EntityEvent",
    "EntityRng",
    "Event",
    "Executor",
    "FairLock",
    "Handler",
    "Hook",
    "HookHandle",
    "Kernel",
    "Mode",
    "OnComponentAdded",
    "OnComponentRemoved",
    "OnDespawn",
    "OnDestroy",
    "OnSpawn",
    "Outcome",
    "Parts",
    "Patch",
    "PostTick",
    "PreTick",
    "Processor",
    "ProcessorResult",
    "PythonKernel",
    "Resources",
    "Rng",
    "RunResult",
    "Staged",
    "World",
    "WorldView",
    "bundled",
    "bundles_as_table",
    "can_wait",
    "check_inputs",
    "conformed",
    "current_attempt",
    "hook_pairs",
    "in_thread",
    "is_condition",
    "load_kernel",
    "outside_attempts",
    "without_waiting",
]
