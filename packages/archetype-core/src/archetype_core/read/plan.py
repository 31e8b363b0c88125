"""The plan of a query: which ticks of which tables to scan. Made from a world's timeline, before any store is read."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from archetype_core.read.request import Branch
from archetype_core.store.port import Store
from archetype_core.store.timeline import Span


@dataclass(frozen=True, slots=True)
class Part:
    """Some consecutive ticks of one table in one segment."""

    table: str
    schema: pa.Schema
    span: Span
    branch: Branch | None = None


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """The parts of tables that answer a query, and the schema of the answer."""

    store: Store
    parts: tuple[Part, ...]
    schema: pa.Schema
    entity_ids: pa.Array | None
    include_inactive: bool
