"""What the read side asks of a store: rows of a table over some ticks, and the rows most like a query."""

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
    """A request for rows of one table over consecutive ticks of one segment.

    A store must honour ``columns``, the ticks and ``entity_ids``, keep the committed order within a tick, and impose no
    filter of its own (tombstones are rows). ``where`` is a hint: a store may return rows that do not match it.
    """

    table: str
    segment: Segment
    first: int
    last: int
    columns: tuple[str, ...]
    """Any of ``entity_id``, ``tick``, ``is_active``, ``world_id``, ``run_id`` and the table's component columns."""
    entity_ids: pa.Array | None = None
    where: object | None = None
    """A ``pyarrow.compute.Expression`` over base and component columns, or ``None``."""

    def schema(self, table: pa.Schema) -> pa.Schema:
        """The schema of the answer, given the table's own."""
        return pa.schema([BASE_FIELDS[name] if name in BASE_FIELDS else table.field(name) for name in self.columns])


@dataclass(frozen=True, slots=True)
class Search:
    """A request for the active rows of one table at one tick that are most like a query.

    ``query`` is a vector for a column of vectors, ranked by ``metric``, or words for a column of text, ranked by BM25 over
    the texts of that table at that tick; a text without any of the words is not found, nor is a null.
    """

    table: str
    segment: Segment
    tick: int
    column: str
    query: tuple[float, ...] | str
    k: int
    metric: str = "cosine"
    entity_ids: pa.Array | None = None
    """The only entities to rank, ``None`` for all."""
    exact: bool = True
    """Whether the answer has to be the best there is; otherwise a store may ask an index that misses some."""


def activity(table: pa.Table, active: bool) -> pa.Table:
    """The table with a constant ``is_active`` column."""
    return table.append_column(BASE_FIELDS[IS_ACTIVE], pa.repeat(pa.scalar(active), table.num_rows))


def project(snapshot: Snapshot, scan: Scan, tick: int, active: bool, schema: pa.Schema) -> pa.RecordBatch:
    """The columns a scan asks for, of one tick's snapshot, with the constant ones filled in."""
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
