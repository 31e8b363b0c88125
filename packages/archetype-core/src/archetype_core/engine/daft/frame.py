"""The DataFrame that a processor receives: a Daft DataFrame that records column steps instead of planning them.

A processor that only adds or replaces columns never pays for a query plan: the executor evaluates the recorded steps. Any
other call turns them into an ordinary Daft plan, so a processor sees no difference.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

import daft
from daft import DataFrame, col, lit
from daft.dataframe.preview import Preview
from daft.expressions import Expression
from daft.logical.builder import LogicalPlanBuilder

from archetype_core.engine.daft.guard import Guarded, Stage, is_rowwise, named
from archetype_core.errors import PlanTooDeep
from archetype_core.schema.snapshot import Snapshot
from archetype_core.user_traceback import Line, calling_line

PLAN_LIMIT = 64


class Frame(Guarded):
    """A Daft DataFrame over a snapshot. ``with_column`` and ``with_columns`` are recorded; the rest is inherited."""

    # The parent keeps its plan under this mangled name; a property makes it lazy. Tests pin this.
    _result_cache: Any = None
    _source_builder: Any = None
    _metadata: Any = None
    _preview: Any = Preview(partition=None, total_rows=None)
    _plan: LogicalPlanBuilder | None = None
    _num_preview_rows = 8

    def __init__(
        self,
        snapshot: Snapshot,
        constants: Mapping[str, Expression],
        stages: tuple[Stage, ...] = (),
        lines: tuple[Line | None, ...] = (),
    ) -> None:
        # The parent's constructor requires a plan, so it is not called.
        self.snapshot = snapshot
        self.constants = constants
        self.stages = stages
        self.lines = lines
        """The user's line that wrote each step, to show where it comes from if it fails."""

    @property
    def _DataFrame__builder(self) -> LogicalPlanBuilder:  # noqa: N802  # reason: the parent's mangled name
        if self._plan is None:
            self._plan = self._planned()._builder
        return self._plan

    def _planned(self) -> DataFrame:
        if len(self.stages) > PLAN_LIMIT:
            raise PlanTooDeep(len(self.stages), PLAN_LIMIT)
        frame = daft.from_arrow(self.snapshot.to_arrow()).with_columns(dict(self.constants))
        for index, stage in enumerate(self.stages):
            frame = frame.with_columns(dict(stage))
            # Daft folds chained steps: code in an early step would see the columns that a later one writes.
            if index + 1 < len(self.stages) and not is_rowwise(stage):
                frame = frame.collect()
        return frame

    @property
    def column_names(self) -> list[str]:
        names = dict.fromkeys([*self.snapshot.columns, *self.constants])
        for stage in self.stages:
            names.update(dict.fromkeys(stage))
        return list(names)

    @property
    def columns(self) -> list[Expression]:
        return [col(name) for name in self.column_names]

    def __getitem__(self, item: int | str | slice | Iterable[str | int]) -> Any:
        if isinstance(item, str) and item in self.column_names:
            return col(item)
        return super().__getitem__(item)

    def with_columns(self, columns: Mapping[Any, Expression]) -> DataFrame:
        stage = named(columns)
        if self._result_cache is not None or not all(isinstance(one, Expression) for one in stage.values()):
            return super().with_columns(stage)
        line = calling_line(sys._getframe())
        return Frame(self.snapshot, self.constants, (*self.stages, stage), (*self.lines, line))

    @property
    def _has_code(self) -> bool:
        return self._result_cache is None and bool(self.stages) and not is_rowwise(self.stages[-1])

    @_has_code.setter
    def _has_code(self, value: bool) -> None:
        """Ignored: it follows from the recorded steps."""

    @property
    def is_record(self) -> bool:
        """Whether this frame is the snapshot plus recorded column steps only."""
        return self._result_cache is None


def base_columns(values: Mapping[str, Any]) -> dict[str, Expression]:
    """The constant base columns of live rows, as expressions: they cost nothing unless they are read."""
    return {
        name: lit(value).cast(daft.DataType.int64()) if type(value) is int else lit(value)
        for name, value in values.items()
    }


def depth(frame: DataFrame) -> int:
    """The number of steps in a frame's unexecuted plan."""
    return sum(1 for line in frame._builder.pretty_print(True).splitlines() if line.lstrip("| ").startswith("*"))
