# What type checkers know of a column: Daft's `Expression`, whose operators take plain values and nothing else.
#
# At run time a column is an `Expression`. Daft annotates comparisons too narrowly, so `Position.c.x > 0` would be an
# error, and arithmetic too widely, so adding a function would pass.

from datetime import date, timedelta
from decimal import Decimal
from typing import Any, TypeAlias

from daft.expressions import Expression
from numpy import generic

Operand: TypeAlias = Expression | float | str | bytes | date | timedelta | Decimal | generic[Any]

class ColumnExpression(Expression):
    def __hash__(self) -> int: ...
    def __abs__(self) -> ColumnExpression: ...
    def __invert__(self) -> ColumnExpression: ...
    def __add__(self, other: Operand) -> ColumnExpression: ...  # type: ignore[override]
    def __radd__(self, other: Operand) -> ColumnExpression: ...  # type: ignore[override]
    def __sub__(self, other: Operand) -> ColumnExpression: ...  # type: ignore[override]
    def __rsub__(self, other: Operand) -> ColumnExpression: ...  # type: ignore[override]
    def __mul__(self, other: Operand) -> ColumnExpression: ...  # type: ignore[override]
    def __rmul__(self, other: Operand) -> ColumnExpression: ...  # type: ignore[override]
    def __truediv__(self, other: Operand) -> ColumnExpression: ...  # type: ignore[override]
    def __rtruediv__(self, other: Operand) -> ColumnExpression: ...  # type: ignore[override]
    def __mod__(self, other: Operand) -> ColumnExpression: ...
    def __rmod__(self, other: Operand) -> ColumnExpression: ...
    def __floordiv__(self, other: Operand) -> ColumnExpression: ...
    def __rfloordiv__(self, other: Operand) -> ColumnExpression: ...  # type: ignore[override]
    def __lt__(self, other: Operand) -> ColumnExpression: ...
    def __le__(self, other: Operand) -> ColumnExpression: ...
    def __gt__(self, other: Operand) -> ColumnExpression: ...
    def __ge__(self, other: Operand) -> ColumnExpression: ...
    def __eq__(self, other: Operand) -> ColumnExpression: ...  # type: ignore[override]
    def __ne__(self, other: Operand) -> ColumnExpression: ...  # type: ignore[override]
