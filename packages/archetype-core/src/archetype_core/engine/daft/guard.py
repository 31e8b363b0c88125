"""A Daft DataFrame in which a step never sees columns that a later step writes (T12).

Daft folds chained projections, so a Python function in an early step would see the values of a later one. Here a step with
code is materialized before anything is built on it. Nothing else changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from daft import DataFrame
from daft.expressions import Expression

from archetype_core.engine.daft.expression import read
from archetype_core.schema.snapshot import ENTITY_ID

Stage = Mapping[str, Expression]


def is_rowwise(stage: Stage) -> bool:
    """Whether every expression of a step can be evaluated row by row, in batches of any size."""
    return all((reading := read(expression)) is not None and reading.is_rowwise for expression in stage.values())


def named(columns: Any) -> dict[str, Any]:
    """A step's columns by name, each given by its name or as a column such as ``Position.c.x``; refuses ``entity_id``."""
    if not isinstance(columns, Mapping):
        raise TypeError(f"with_columns takes a mapping from columns to expressions, not {columns!r}")
    by_name = {column_name(key): value for key, value in columns.items()}
    if ENTITY_ID in by_name:
        raise ValueError("process wrote entity_id, which only the engine may set: leave it out of what you return")
    return by_name


def column_name(column: object) -> str:
    """The name of a column that is given by name or as an expression."""
    if isinstance(column, str):
        return column
    if isinstance(column, Expression) and column.is_column():
        return column.name()
    raise TypeError(f"a column is named by text or by one such as Position.c.x, not {column!r}")


class Guarded(DataFrame):
    """A DataFrame that knows whether its newest steps contain Python code."""

    _has_code: bool = False

    def with_column(self, column_name: Any, expr: Expression) -> DataFrame:
        return self.with_columns({column_name: expr})

    def with_columns(self, columns: Mapping[Any, Expression]) -> DataFrame:
        by_name = named(columns)
        _settle(self)
        return guarded(super().with_columns(by_name), not _is_plain(by_name.values()))

    def collect(self, num_preview_rows: int | None = 8) -> DataFrame:
        result = super().collect(num_preview_rows)
        self._has_code = False
        return result


def guarded(frame: DataFrame, has_code: bool) -> DataFrame:
    """Make a Daft frame a guarded one, in place."""
    # Daft returns plain DataFrames; the subclass adds behaviour only.
    frame.__class__ = Guarded
    assert isinstance(frame, Guarded)
    frame._has_code = has_code  # noqa: SLF001  # reason: this is its constructor
    return frame


def _is_plain(arguments: Any) -> bool:
    """Whether no argument is an expression with code."""
    return all(
        not isinstance(one, Expression) or ((reading := read(one)) is not None and reading.is_rowwise)
        for one in arguments
    )


def _settle(*frames: Any) -> None:
    """Materialize frames with code before they are used: a plan that names one twice would run it twice (T13)."""
    for frame in frames:
        if isinstance(frame, Guarded) and frame._has_code:  # noqa: SLF001  # reason: of its own class
            frame.collect()


def _step(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def step(self: Guarded, *arguments: Any, **options: Any) -> Any:
        given = (*arguments, *options.values())
        _settle(self, *given)
        result = method(self, *arguments, **options)
        return guarded(result, not _is_plain(given)) if type(result) is DataFrame else result

    return step


for _name in (
    "select", "exclude", "filter", "where", "with_column_renamed", "with_columns_renamed", "sort", "limit", "offset",
    "sample", "distinct", "unique", "drop_duplicates", "drop_nan", "drop_null", "explode", "join", "concat", "union_all",
    "repartition", "into_batches", "transform", "groupby", "agg", "pivot", "union", "intersect", "except_all",
):  # fmt: skip
    setattr(Guarded, _name, _step(getattr(DataFrame, _name)))
