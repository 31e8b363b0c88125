"""What a query reads: the stretches of tables that answer it, found in a world's timeline before any store is asked."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from archetype_core.read.request import Branch
from archetype_core.store.port import Store
from archetype_core.store.timeline import Span


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of one table in one segment."""

    table: str
    schema: pa.Schema
    span: Span
    branch: Branch | None = None


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """What a history source reads: parts of tables, as one schema."""

    store: Store
    parts: tuple[Part, ...]
    schema: pa.Schema
    entity_ids: pa.Array | None
    include_inactive: bool
