"""Turns what a processor returned into columns of the rows it was given: evaluated, checked and reordered (T8)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import zip_longest
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from daft import DataFrame, col

from archetype_core.engine.daft.expression import evaluate, read
from archetype_core.engine.daft.frame import PLAN_LIMIT, Frame, depth
from archetype_core.engine.daft.guard import Stage, is_rowwise
from archetype_core.errors import PlanTooDeep, SchemaMismatch, UnknownComponent
from archetype_core.schema.archetype import Archetype
from archetype_core.schema.cast import CastRefused, cast
from archetype_core.schema.conform import value_checks
from archetype_core.schema.snapshot import ENTITY_ID, Column, Snapshot, owned
from archetype_core.user_traceback import point_at


def collect(result: Any, snapshot: Snapshot) -> dict[str, Column]:
    """The columns that a processor changed, one value per row of ``snapshot`` and in its order."""
    if isinstance(result, Frame) and result.snapshot is snapshot and result.is_record:
        return _replay(result)
    if not isinstance(result, DataFrame):
        hint = "; did it forget to return the frame?" if result is None else ""
        raise TypeError(f"process returned {type(result).__name__}, not a DataFrame{hint}")
    wanted = snapshot.archetype.schema.names
    missing = [name for name in wanted if name not in set(result.column_names)]
    if missing:
        raise SchemaMismatch(snapshot.archetype.name, [f"column {name} is missing" for name in missing])
    return _aligned(_run(result.select(*wanted)), snapshot)


def is_local(stages: Sequence[Stage], columns: frozenset[str]) -> bool:
    """Whether recorded steps are row-wise over these columns, so that rows of several tables can be evaluated together."""
    made: set[str] = set()
    for stage in stages:
        for expression in stage.values():
            reading = read(expression)
            if reading is None or not reading.is_rowwise or not reading.columns <= columns | made:
                return False
        made.update(stage)
    return True


def settle(snapshot: Snapshot, changed: Mapping[str, Column]) -> Snapshot:
    """The snapshot with the changed columns, cast to the table's types; columns that the table lacks are dropped."""
    schema = snapshot.archetype.schema
    kept: dict[str, Column] = {}
    for name, column in changed.items():
        if name in snapshot.columns:
            kept[name] = _typed(column, schema.field(name), snapshot)
    return snapshot.with_columns(kept) if kept else snapshot


def _replay(frame: Frame) -> dict[str, Column]:
    """Evaluate the recorded steps in order, each over the columns it reads."""
    snapshot = frame.snapshot
    changed: dict[str, Column] = {}
    for stage, line in zip_longest(frame.stages, frame.lines):
        try:
            if is_rowwise(stage):
                changed.update(_evaluate(stage, frame, changed))
            else:
                changed.update(_run_stage(stage, frame, changed))
        except Exception as failure:
            point_at(failure, line)
            raise
    return {name: column for name, column in changed.items() if name in snapshot.columns}


def _evaluate(stage: Stage, frame: Frame, changed: Mapping[str, Column]) -> dict[str, Column]:
    snapshot = frame.snapshot
    columns: dict[str, Column] = {}
    constants: Stage = {}
    for expression in stage.values():
        reading = read(expression)
        assert reading is not None
        for name in reading.columns:
            if name in changed:
                columns[name] = changed[name]
            elif name in snapshot.columns:
                columns[name] = snapshot.columns[name]
            elif name in frame.constants:
                constants = {**constants, name: frame.constants[name]}
    # An expression that reads no column still needs a row count.
    columns = columns or {ENTITY_ID: snapshot.columns[ENTITY_ID]}
    if constants:
        columns.update(evaluate(constants, columns))
    return evaluate(stage, columns)


def _run_stage(stage: Stage, frame: Frame, changed: Mapping[str, Column]) -> dict[str, Column]:
    """Run one recorded step through Daft's runner, over the results of the earlier steps."""
    import daft

    snapshot = frame.snapshot
    columns = {**snapshot.columns, **changed}
    table = pa.table({name: column.arrow for name, column in columns.items()})
    # A base column that an earlier step overwrote is an ordinary column.
    constants = {name: value for name, value in frame.constants.items() if name not in changed}
    result = daft.from_arrow(table).with_columns(constants).with_columns(dict(stage))
    return _aligned(_run(result.select(col(ENTITY_ID), *(col(name) for name in stage))), snapshot)


def _run(frame: DataFrame) -> pa.Table:
    steps = depth(frame)
    if steps > PLAN_LIMIT + 2:
        raise PlanTooDeep(steps, PLAN_LIMIT)
    return frame.to_arrow()


def _aligned(table: pa.Table, snapshot: Snapshot) -> dict[str, Column]:
    """The columns of the runner's result in the snapshot's row order; the runner does not keep order and may repeat rows."""
    ids = table.column(ENTITY_ID)
    names = [name for name in table.column_names if name != ENTITY_ID]
    if ids.type != pa.int64():
        raise ValueError(f"entity_id came back as {ids.type}")
    prior = snapshot.entity_ids
    if not ids.equals(pa.chunked_array([prior])):
        positions = pc.index_in(prior, value_set=ids)
        lost = snapshot.num_rows - len(positions.drop_null())
        if lost or table.num_rows != snapshot.num_rows:
            raise ValueError(_difference(ids, prior))
        table = table.take(positions)
    return {name: _shared(table.column(name), snapshot.columns.get(name)) for name in names}


def _shared(column: pa.ChunkedArray, before: Column | None) -> Column:
    """The new column, or the old object if the runner passed its memory through unchanged."""
    if before is not None and column.type == before.arrow.type and _same_memory(column, before.arrow):
        return before
    # User code may keep writing to a buffer that it returned; committed data must not change.
    return Column(owned(column))


def _same_memory(column: pa.ChunkedArray, array: pa.Array) -> bool:
    where = _addresses(array)
    offset = array.offset
    for chunk in column.chunks:
        if chunk.offset != offset or _addresses(chunk) != where:
            return False
        offset += len(chunk)
    return len(column) == len(array) and len(array) > 0


def _addresses(array: pa.Array) -> list[int | None]:
    # An empty buffer is falsy, so compare with None.
    return [None if buffer is None else buffer.address for buffer in array.buffers()]


def _difference(got: pa.ChunkedArray, expected: pa.Array) -> str:
    counted = pc.value_counts(got.combine_chunks())
    doubled = counted.field("values").filter(pc.greater(counted.field("counts"), 1))
    lost = expected.filter(pc.invert(pc.is_in(expected, value_set=got)))
    invented = got.filter(pc.invert(pc.is_in(got, value_set=expected)))
    parts = [
        f"{what} {len(ids)} of its entities (such as {ids[0].as_py()})"
        for what, ids in (("lost", lost), ("repeated", doubled), ("invented", invented))
        if len(ids)
    ]
    return f"process {', '.join(parts)}; it must return the entities it was given"


def _typed(column: Column, field: pa.Field, snapshot: Snapshot) -> Column:
    array = column.arrow
    try:
        fitting = cast(array, field.type)
    except CastRefused as failure:
        raise SchemaMismatch(snapshot.archetype.name, [f"column {field.name}: {failure}"]) from failure
    if not field.nullable and fitting.null_count:
        problem = f"column {field.name} has {fitting.null_count} nulls, and the field is not Optional"
        raise SchemaMismatch(snapshot.archetype.name, [problem])
    check = _checks(snapshot.archetype).get(field.name)
    if check is not None:
        try:
            check(fitting)
        except ValueError as failure:
            raise SchemaMismatch(snapshot.archetype.name, [f"column {field.name}: {failure}"]) from failure
    return column if fitting is array else Column(fitting)


@lru_cache(maxsize=4096)
def _checks(archetype: Archetype) -> dict[str, Callable[[pa.Array], None]]:
    """Checks that some columns need beyond their Arrow type: enum members, literals, UUIDs, time zones."""
    found: dict[str, Callable[[pa.Array], None]] = {}
    for kind in archetype.components:
        # Only the class knows the checks; without it the values were checked in the process that defined it.
        with suppress(UnknownComponent):
            found.update(value_checks(kind))
    return found
