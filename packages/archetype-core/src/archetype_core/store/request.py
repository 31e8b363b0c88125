"""Requests to a store: ``Scan`` for rows of a table over ticks, ``Search`` for the rows most similar to a query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import pyarrow as pa
import pyarrow.compute as pc

from archetype_core.schema.snapshot import Snapshot
from archetype_core.store.timeline import Segment

TICK = "tick"
WORLD_ID = "world_id"
RUN_ID = "run_id"
IS_ACTIVE = "is_active"

BASE_FIELDS: Mapping[str, pa.Field] = MappingProxyType(
    {
        WORLD_ID: pa.field(WORLD_ID, pa.large_string(), nullable=False),
        RUN_ID: pa.field(RUN_ID, pa.large_string(), nullable=False),
        "entity_id": pa.field("entity_id", pa.int64(), nullable=False),
        TICK: pa.field(TICK, pa.int64(), nullable=False),
        IS_ACTIVE: pa.field(IS_ACTIVE, pa.bool_(), nullable=False),
    }
)


@dataclass(frozen=True, slots=True)
class Scan:
    """A request for the rows of one table over consecutive ticks of one segment.

    A store must apply ``columns``, the ticks and ``entity_ids``, keep the committed row order within a tick, and apply no
    filter of its own: tombstones are rows. ``where`` is optional for the store, which may return rows that do not match.
    """

    table: str
    segment: Segment
    first: int
    last: int
    columns: tuple[str, ...]
    """Names among the base columns (``BASE_FIELDS``) and the table's component columns."""
    entity_ids: pa.Array | None = None
    where: object | None = None
    """A ``pyarrow.compute.Expression`` over base and component columns, or ``None``."""

    def schema(self, table: pa.Schema) -> pa.Schema:
        """Return the schema of the result, given the schema of the table."""
        return pa.schema([BASE_FIELDS[name] if name in BASE_FIELDS else table.field(name) for name in self.columns])


@dataclass(frozen=True, slots=True)
class Search:
    """A request for the active rows of one table at one tick that are most similar to a query.

    For a vector column ``query`` is a vector, ranked by ``metric``. For a text column it is words, ranked by BM25 over the
    texts of that table at that tick. Nulls and texts without any of the words are not returned.
    """

    table: str
    segment: Segment
    tick: int
    column: str
    query: tuple[float, ...] | str
    k: int
    metric: str = "cosine"
    entity_ids: pa.Array | None = None
    """The entities to rank; ``None`` ranks all."""
    exact: bool = True
    """Whether the result must be the true best rows; if not, a store may use an index that misses some."""


def with_activity(table: pa.Table, active: bool) -> pa.Table:
    """Return the table with a constant ``is_active`` column added."""
    return table.append_column(BASE_FIELDS[IS_ACTIVE], pa.repeat(pa.scalar(active), table.num_rows))


def project(snapshot: Snapshot, scan: Scan, tick: int, active: bool, schema: pa.Schema) -> pa.RecordBatch:
    """Return the columns that a scan requests from one tick's snapshot, constant base columns included."""
    if scan.entity_ids is not None:
        wanted = pc.is_in(snapshot.entity_ids, value_set=scan.entity_ids)
        snapshot = snapshot.take(pc.indices_nonzero(wanted).cast(pa.int64()))
    constant = {TICK: tick, IS_ACTIVE: active, WORLD_ID: scan.segment.world_id, RUN_ID: scan.segment.run_id}
    arrays = [
        pa.repeat(pa.scalar(constant[name], BASE_FIELDS[name].type), snapshot.num_rows)
        if name in constant
        else snapshot.columns[name].arrow
        for name in scan.columns
    ]
    if not arrays:
        return pa.RecordBatch.from_struct_array(pa.StructArray.from_buffers(pa.struct([]), snapshot.num_rows, [None]))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
