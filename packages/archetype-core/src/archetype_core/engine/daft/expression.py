"""Evaluates Daft expressions on columns directly, without planning a query.

Only expressions whose value in a row depends on that row alone qualify; everything else goes through the runner. The list of
functions is an allow-list: an unknown function costs speed, never correctness.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from daft.expressions import Expression, ExpressionsProjection
from daft.expressions.expressions import expr_structurally_equal  # type: ignore[attr-defined]  # reason: not in __all__
from daft.expressions.visitor import ExpressionVisitor
from daft.recordbatch import RecordBatch

from archetype_core.schema.snapshot import Column

ROWWISE = frozenset((
    "plus", "minus", "multiply", "true_divide", "floor_divide", "modulus", "and", "or", "xor", "not", "equal",
    "not_equal", "eq_null_safe", "less_than", "less_than_or_equal", "greater_than", "greater_than_or_equal",
    "is_null", "not_null", "fill_null", "between", "if_else", "is_in", "abs", "negate", "ceil", "floor", "sign",
    "round", "clip", "sqrt", "cbrt", "exp", "expm1", "log", "log2", "log10", "log1p", "ln", "pow", "power", "sin",
    "cos", "tan", "sec", "csc", "cot", "sinh", "cosh", "tanh", "arcsin", "arccos", "arctan", "arctan2", "arcsinh",
    "arccosh", "arctanh", "radians", "degrees", "hypot", "is_nan", "is_inf", "not_nan", "fill_nan", "bitwise_and",
    "bitwise_or", "bitwise_xor", "shift_left", "shift_right", "upper", "lower", "length", "length_bytes",
    "starts_with", "ends_with", "contains", "lstrip", "rstrip", "strip", "reverse", "capitalize",
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reading:
    """The columns that an expression reads, and whether a row's value depends on that row alone."""

    columns: frozenset[str]
    is_rowwise: bool
    skipped: tuple[Expression, ...] = ()
    """Its parts that a literal condition may keep from being evaluated; Daft's planner checks their types all the same."""


class _Unreadable(Exception):
    """The expression has a part whose inputs are unknown."""


# Daft's visitor raises any of these for a node that it cannot visit.
_UNREADABLE = (_Unreadable, ValueError, AttributeError, TypeError, NotImplementedError)


class _Reader(ExpressionVisitor[None]):
    def __init__(self) -> None:
        self.columns: set[str] = set()
        self.is_rowwise = True
        self.skipped: list[Expression] = []
        self._is_skipping = False

    def visit(self, expr: Expression) -> None:
        if self._is_skipping:
            self.skipped.append(expr)
        super().visit(expr)

    def visit_col(self, name: str) -> None:
        self.columns.add(name)

    def visit_lit(self, value: Any) -> None:
        pass

    def visit_alias(self, expr: Expression, alias: str) -> None:
        self.visit(expr)

    def visit_cast(self, expr: Expression, dtype: Any) -> None:
        self.visit(expr)

    def visit_coalesce(self, args: list[Expression]) -> None:
        for arg in args:
            self.visit(arg)

    def visit_is_in(self, item: Expression, *items: Any) -> None:
        # Daft passes the candidates as one list instead of as arguments.
        self.visit(item)
        for candidate in items:
            for one in candidate if isinstance(candidate, list) else [candidate]:
                if not isinstance(one, Expression):
                    raise _Unreadable
                self.visit(one)

    def visit_function(self, name: str, args: list[Expression]) -> None:
        if name not in ROWWISE or (name == "plus" and any(map(_may_be_zero, args))):
            self.is_rowwise = False
        was_skipping = self._is_skipping
        self._is_skipping |= name == "if_else" and args[0].is_literal()
        for arg in args:
            if not isinstance(arg, Expression):
                raise _Unreadable
            self.visit(arg)
        self._is_skipping = was_skipping


def _may_be_zero(argument: Any) -> bool:
    """Whether an addend may be a constant 0, which Daft's planner drops although ``-0.0 + 0`` is 0.0."""
    if not isinstance(argument, Expression):
        return True
    if argument.is_literal():
        value = argument.as_py()
        return not isinstance(value, str | bytes) and not value
    reader = _Reader()
    try:
        reader.visit(argument)
    except _UNREADABLE:
        return True
    return not reader.columns


def is_same(expression: Expression, other: Expression) -> bool:
    """Whether two expressions are the same tree."""
    return bool(expr_structurally_equal(expression, other))


class Structure:
    """An expression as a dictionary key: equal when the expressions are the same tree."""

    __slots__ = ("_hash", "expression")

    def __init__(self, expression: Expression) -> None:
        self.expression = expression
        self._hash = hash(expression)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Structure) and is_same(self.expression, other.expression)


# Expressions are rebuilt every tick but rarely differ, so reading each tree once is enough.
_readings: dict[Structure, Reading | None] = {}
_READINGS_KEPT = 4096


def read(expression: Expression) -> Reading | None:
    """What an expression reads; ``None`` where Daft does not expose its inputs (aggregates, windows, Python code)."""
    key = Structure(expression)
    try:
        return _readings[key]
    except KeyError:
        pass
    reader = _Reader()
    reading: Reading | None
    try:
        reader.visit(expression)
        reading = Reading(frozenset(reader.columns), reader.is_rowwise, tuple(reader.skipped))
    except _UNREADABLE:
        reading = None
    if len(_readings) >= _READINGS_KEPT:
        _readings.clear()
    _readings[key] = reading
    return reading


def evaluate(
    expressions: Mapping[str, Expression], columns: Mapping[str, Column], skipped: Sequence[Expression] = ()
) -> dict[str, Column]:
    """Evaluate named expressions over columns of one length; at least one column is needed to know the length.

    ``skipped`` are parts of them that may not be evaluated; their types are checked.
    """
    batch = RecordBatch.from_pydict({name: column.series for name, column in columns.items()})
    if skipped:
        schema = batch.schema()
        for part in skipped:
            part._to_field(schema)  # reason: the check of Daft's planner, 10 µs
    projection = ExpressionsProjection([expression.alias(name) for name, expression in expressions.items()])
    result = batch.eval_expression_list(projection)
    return {name: Column(series=result.get_column(index)) for index, name in enumerate(expressions)}
