"""Storage of history: the ``Store`` port, its requests and commits, the memory store, and opening a store by address."""

from archetype_core.store.commit import Rows, TickCommit, check_successors
from archetype_core.store.digest import digest, digest_table
from archetype_core.store.memory import MemoryStore
from archetype_core.store.port import Capability, PlacedStore, PublishingStore, SealingStore, SearchStore, Store
from archetype_core.store.registry import has_embedded_store, open_store
from archetype_core.store.request import BASE_FIELDS, IS_ACTIVE, RUN_ID, TICK, WORLD_ID, Scan, Search, project
from archetype_core.store.timeline import Head, Point, Segment, Span, Timeline, WorldRecord

__all__ = [
    "BASE_FIELDS",
    "IS_ACTIVE",
    "RUN_ID",
    "TICK",
    "WORLD_ID",
    "Capability",
    "Head",
    "MemoryStore",
    "PlacedStore",
    "Point",
    "PublishingStore",
    "Rows",
    "Scan",
    "SealingStore",
    "Search",
    "SearchStore",
    "Segment",
    "Span",
    "Store",
    "TickCommit",
    "Timeline",
    "WorldRecord",
    "check_successors",
    "digest",
    "digest_table",
    "has_embedded_store",
    "open_store",
    "project",
]
