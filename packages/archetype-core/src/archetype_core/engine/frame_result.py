"""Evaluates the Daft frame that a processor returned: recorded steps directly, anything else through Daft's runner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest

import pyarrow as pa
from daft import DataFrame, col
from daft.expressions import Expression

from archetype_core.engine.daft.expression import evaluate, is_same, read
from archetype_core.engine.daft.failure import called
from archetype_core.engine.daft.frame import PLAN_LIMIT, Frame, depth
from archetype_core.engine.daft.guard import Stage, is_rowwise
from archetype_core.engine.table_result import aligned, check_base, check_names, shared
from archetype_core.engine.wrong_result import WrongResult, mark_failing
from archetype_core.errors import PlanTooDeep
from archetype_core.schema.archetype import BASE_COLUMNS
from archetype_core.schema.snapshot import ENTITY_ID, Column, Snapshot
from archetype_core.user_traceback import functions_in, point_at

_BASE_MARK = "_archetype_base_"


def collect_frame(frame: DataFrame, rows: Snapshot, constants: Mapping[str, Expression]) -> dict[str, Column]:
    """Return the columns of a frame, in row order; ``constants`` are the base columns that it was given."""
    if isinstance(frame, Frame) and frame.snapshot is rows and frame.is_record:
        return _replay(frame)
    return _planned(frame, rows, constants)


def are_equal(some: Sequence[Stage], others: Sequence[Stage]) -> bool:
    """Whether two lists of recorded steps compute the same."""
    if len(some) != len(others):
        return False
    for one, other in zip(some, others, strict=True):
        if one is other:
            continue
        if one.keys() != other.keys():
            return False
        for name, expression in one.items():
            if expression is not other[name] and not is_same(expression, other[name]):
                return False
    return True


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


def _planned(frame: DataFrame, rows: Snapshot, constants: Mapping[str, Expression]) -> dict[str, Column]:
    """Run a frame through Daft. Base columns that were on the given frame may be there, unchanged."""
    names = frame.column_names
    own = check_names(names, rows, BASE_COLUMNS)
    if ENTITY_ID not in names:
        raise WrongResult("the frame has no entity_id: keep that column, or return a mapping", ENTITY_ID)
    marks = []
    for name, value in constants.items():
        if name in names:
            if frame.schema()[name].dtype != Frame(rows, constants).schema()[name].dtype:
                check_base(name, pa.array([False]), rows)
            marks.append(col(name).eq_null_safe(value).alias(_BASE_MARK + name))
    table = aligned(_run(frame.select(col(ENTITY_ID), *map(col, own), *marks)), rows)
    for name in constants:
        if name in names:
            check_base(name, table.column(_BASE_MARK + name), rows)
    return {name: shared(table.column(name), rows.columns[name]) for name in own}


def _replay(frame: Frame) -> dict[str, Column]:
    """Evaluate the recorded steps in order, each over the columns it reads."""
    snapshot = frame.snapshot
    changed: dict[str, Column] = {}
    for stage in frame.stages:
        check_names(stage, snapshot)
    for stage, line in zip_longest(frame.stages, frame.lines):
        try:
            if is_rowwise(stage):
                changed.update(_evaluate(stage, frame, changed))
            else:
                changed.update(_run_stage(stage, frame, changed))
        except Exception as failure:
            point_at(failure, line)
            name = _failing(stage, frame, changed, failure)
            if name is not None:
                mark_failing(failure, name, stage[name])
            raise
    return {name: column for name, column in changed.items() if name in snapshot.columns}


def _failing(stage: Stage, frame: Frame, changed: Mapping[str, Column], failure: Exception) -> str | None:
    """The column of a step whose expression failed, if that can be told without running Python code again."""
    coded = []
    for name, expression in stage.items():
        if not is_rowwise({name: expression}):
            coded.append(name)
        elif len(stage) > 1:
            try:
                _evaluate({name: expression}, frame, changed)
            except Exception:  # noqa: BLE001  # reason: the failure that is looked for
                return name
    if len(coded) > 1:
        running = functions_in(failure)
        coded = [name for name in coded if running & called(stage[name])]
    names = coded if len(stage) > 1 else list(stage)
    return names[0] if len(names) == 1 else None


def _evaluate(stage: Stage, frame: Frame, changed: Mapping[str, Column]) -> dict[str, Column]:
    snapshot = frame.snapshot
    columns: dict[str, Column] = {}
    constants: Stage = {}
    skipped: list[Expression] = []
    for expression in stage.values():
        reading = read(expression)
        assert reading is not None
        skipped += reading.skipped
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
    return evaluate(stage, columns, skipped)


def _run_stage(stage: Stage, frame: Frame, changed: Mapping[str, Column]) -> dict[str, Column]:
    """Run one recorded step through Daft's runner, over the results of the earlier steps."""
    import daft

    snapshot = frame.snapshot
    columns = {**snapshot.columns, **changed}
    table = pa.table({name: column.arrow for name, column in columns.items()})
    result = daft.from_arrow(table).with_columns(dict(frame.constants)).with_columns(dict(stage))
    table = aligned(_run(result.select(col(ENTITY_ID), *(col(name) for name in stage))), snapshot)
    return {name: shared(table.column(name), snapshot.columns.get(name)) for name in stage}


def _run(frame: DataFrame) -> pa.Table:
    steps = depth(frame)
    if steps > PLAN_LIMIT + 2:
        raise PlanTooDeep(steps, PLAN_LIMIT)
    return frame.to_arrow()
