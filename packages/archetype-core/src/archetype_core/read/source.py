"""Tick history as a Daft data source. A store only answers ``Scan`` requests with Arrow batches.

The columns, ticks, entities, filters and limit that Daft pushes down become part of each scan.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import daft
import pyarrow as pa
from daft import col
from daft.expressions import ExpressionsProjection
from daft.io.pushdowns import Pushdowns
from daft.io.source import DataSource, DataSourceTask
from daft.recordbatch import RecordBatch

from archetype_core.read.condition import columns_of
from archetype_core.read.plan import Part, ReadPlan
from archetype_core.read.pushdown import Pushdown
from archetype_core.schema.snapshot import ENTITY_ID
from archetype_core.store.request import IS_ACTIVE, Scan

_BATCH_ROWS = 65_536


class HistorySource(DataSource):
    """A Daft source over a store's history."""

    def __init__(self, plan: ReadPlan) -> None:
        self._plan = plan
        self._schema = _daft_schema(plan.schema)

    @property
    def name(self) -> str:
        return "archetype history"

    @property
    def schema(self) -> Any:
        return self._schema

    async def get_tasks(self, pushdowns: Pushdowns) -> AsyncIterator[DataSourceTask]:
        for part in self._plan.parts:
            yield HistoryTask(self._plan, part, pushdowns)


class HistoryTask(DataSourceTask):
    """Reads one part of a history source, with Daft's pushdowns applied."""

    def __init__(self, plan: ReadPlan, part: Part, pushdowns: Pushdowns) -> None:
        self._plan = plan
        self._part = part
        self._filter = pushdowns.filters
        # A filter on a column that was filled, cast or converted says nothing about what is stored.
        pushable = part.schema if part.lens is None else part.lens.untouched(part.schema)
        self._pushdown = Pushdown() if pushdowns.filters is None else Pushdown.of(pushdowns.filters, pushable)
        self._limit = pushdowns.limit
        names = plan.schema.names
        # Daft applies its filter again, so the filter's columns are always part of the answer. It finds columns by position,
        # so they come in the source's order.
        wanted = {
            *(names if pushdowns.columns is None else pushdowns.columns),
            *(() if self._filter is None else columns_of(self._filter)),
        }
        self._columns = tuple(name for name in names if name in wanted)
        self._constants = tuple(field for field in plan.branch_columns if part.branch and field.name in wanted)
        constant = {field.name for field in self._constants}
        self._own = tuple(name for name in self._columns if name not in constant)
        needed = dict.fromkeys(self._own if part.lens is None else part.lens.stored(self._own))
        if not plan.include_inactive:
            needed[IS_ACTIVE] = None
        # A batch needs at least one column to have a row count.
        self._needed = tuple(needed) or (ENTITY_ID,)

    @property
    def schema(self) -> Any:
        return _daft_schema(pa.schema([self._plan.schema.field(name) for name in self._columns]))

    async def read(self) -> AsyncIterator[RecordBatch]:
        given = 0
        lens = self._part.lens
        for read in self._tables():
            table = read if lens is None or not self._own else lens.through(read, self._own)
            for field in self._constants:
                assert self._part.branch is not None
                value = pa.scalar(self._part.branch.value(field.name), field.type)
                table = table.append_column(field, pa.repeat(value, table.num_rows))
            batch = RecordBatch.from_arrow_table(table)
            if self._filter is not None:
                batch = batch.filter(ExpressionsProjection([self._filter]))
            batch = batch.eval_expression_list(ExpressionsProjection([col(name) for name in self._columns]))
            given += len(batch)
            yield batch
            if self._limit is not None and given >= self._limit:
                return

    def _tables(self) -> Iterable[pa.Table]:
        """The rows in batches large enough to be worth converting to Daft."""
        plan, part = self._plan, self._part
        span = part.span
        first, last = self._pushdown.within(span.first, span.last)
        if first > last:
            return
        ids = self._pushdown.among(plan.entity_ids)
        scan = Scan(part.table, span.segment, first, last, self._needed, ids, self._pushdown.rows)
        schema = scan.schema(part.schema)
        waiting: list[pa.RecordBatch] = []
        rows = 0
        for batch in plan.store.scan(scan):
            if not plan.include_inactive:
                active = batch.column(scan.columns.index(IS_ACTIVE))
                kept = batch.filter(active) if active.false_count else batch
            else:
                kept = batch
            if kept.num_rows:
                waiting.append(kept)
                rows += kept.num_rows
            if rows >= _BATCH_ROWS:
                yield pa.Table.from_batches(waiting, schema).combine_chunks()
                waiting, rows = [], 0
        if waiting:
            yield pa.Table.from_batches(waiting, schema).combine_chunks()


class TableSource(DataSource):
    """A Daft source over one table that is made when it is read."""

    def __init__(self, schema: pa.Schema, make: Callable[[], pa.Table]) -> None:
        self._arrow, self._make = schema, make
        self._schema = _daft_schema(schema)

    @property
    def name(self) -> str:
        return "archetype table"

    @property
    def schema(self) -> Any:
        return self._schema

    async def get_tasks(self, pushdowns: Pushdowns) -> AsyncIterator[DataSourceTask]:
        wanted = {
            *(self._arrow.names if pushdowns.columns is None else pushdowns.columns),
            *(() if pushdowns.filters is None else columns_of(pushdowns.filters)),
        }
        yield TableTask([name for name in self._arrow.names if name in wanted], self._arrow, self._make)


class TableTask(DataSourceTask):
    """Makes the table; Daft applies the condition and the limit."""

    def __init__(self, columns: list[str], schema: pa.Schema, make: Callable[[], pa.Table]) -> None:
        self._columns, self._arrow, self._make = columns, schema, make

    @property
    def schema(self) -> Any:
        return _daft_schema(pa.schema([self._arrow.field(name) for name in self._columns]))

    async def read(self) -> AsyncIterator[RecordBatch]:
        yield RecordBatch.from_arrow_table(self._make().select(self._columns).combine_chunks())


def _daft_schema(schema: pa.Schema) -> Any:
    return daft.Schema.from_pyarrow_schema(schema)
