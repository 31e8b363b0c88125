"""Predicate pushdown: which ticks, entities and rows a store may skip for a condition.

Daft filters the rows again after they are read, so a pushdown may keep too many rows and must never skip one that Daft
keeps. Daft and Arrow compare floats differently: Daft orders them by their bits, so that a NaN is greater than every number, or
less than every number if its sign bit is set, and -0.0 is less than 0.0. In Arrow no comparison with NaN holds. The conditions
made here hold for both; a part that cannot be translated skips nothing.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from daft.expressions import Expression
from daft.expressions.visitor import PredicateVisitor

from archetype_core.schema.snapshot import ENTITY_ID
from archetype_core.store.request import BASE_FIELDS, TICK

_EXACT = 1 << 53
"""Every whole number up to here has an exact float64."""
_LARGEST = (1 << 63) - 1
_COMPARED = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


@dataclass(frozen=True, slots=True)
class Pushdown:
    """A condition implied by the query's own: a row that fails it can be skipped. The default skips nothing."""

    rows: pc.Expression | None = None
    first: int | None = None
    last: int | None = None
    entity_ids: frozenset[int] | None = None

    @classmethod
    def of(cls, condition: Expression, schema: pa.Schema) -> Pushdown:
        """The pushdown of a Daft condition over the columns of a schema."""
        return _Reader(schema).pushdown_of(condition)

    def within(self, first: int, last: int) -> tuple[int, int]:
        """The part of a range of ticks that can match; empty (first > last) if none can."""
        return max(first, first if self.first is None else self.first), min(
            last, last if self.last is None else self.last
        )

    def among(self, entity_ids: pa.Array | None) -> pa.Array | None:
        """The given entities (``None`` for all) that can match."""
        if self.entity_ids is None:
            return entity_ids
        known = self.entity_ids if entity_ids is None else self.entity_ids.intersection(entity_ids.to_pylist())
        return pa.array(sorted(known), pa.int64())

    def __and__(self, other: Pushdown) -> Pushdown:
        rows = self.rows if other.rows is None else other.rows if self.rows is None else self.rows & other.rows
        ids = self.entity_ids if other.entity_ids is None else other.entity_ids
        if self.entity_ids is not None and other.entity_ids is not None:
            ids = self.entity_ids & other.entity_ids
        firsts = [one.first for one in (self, other) if one.first is not None]
        lasts = [one.last for one in (self, other) if one.last is not None]
        return Pushdown(rows, max(firsts, default=None), min(lasts, default=None), ids)

    def __or__(self, other: Pushdown) -> Pushdown:
        rows = None if self.rows is None or other.rows is None else self.rows | other.rows
        first = None if self.first is None or other.first is None else min(self.first, other.first)
        last = None if self.last is None or other.last is None else max(self.last, other.last)
        ids = None if self.entity_ids is None or other.entity_ids is None else self.entity_ids | other.entity_ids
        return Pushdown(rows, first, last, ids)


@dataclass(frozen=True, slots=True)
class _Column:
    """A column in a condition."""

    name: str


@dataclass(frozen=True, slots=True)
class _Value:
    """A constant in a condition."""

    value: Any


class _Reader(PredicateVisitor[Any]):
    """Visits a condition: columns and constants become themselves, everything else a pushdown."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema

    def visit(self, expr: Expression) -> Any:
        try:
            return super().visit(expr)
        except ValueError:
            # Daft's visitor does not go into a field of a struct.
            return Pushdown()

    def visit_col(self, name: str) -> _Column:
        return _Column(name)

    def visit_lit(self, value: Any) -> _Value:
        return _Value(value)

    def visit_and(self, left: Expression, right: Expression) -> Pushdown:
        return self.pushdown_of(left) & self.pushdown_of(right)

    def visit_or(self, left: Expression, right: Expression) -> Pushdown:
        return self.pushdown_of(left) | self.pushdown_of(right)

    def visit_equal(self, left: Expression, right: Expression) -> Pushdown:
        return self._compared("=", left, right)

    def visit_less_than(self, left: Expression, right: Expression) -> Pushdown:
        return self._compared("<", left, right)

    def visit_less_than_or_equal(self, left: Expression, right: Expression) -> Pushdown:
        return self._compared("<=", left, right)

    def visit_greater_than(self, left: Expression, right: Expression) -> Pushdown:
        return self._compared(">", left, right)

    def visit_greater_than_or_equal(self, left: Expression, right: Expression) -> Pushdown:
        return self._compared(">=", left, right)

    def visit_between(self, expr: Expression, lower: Expression, upper: Expression) -> Pushdown:
        return self._compared(">=", expr, lower) & self._compared("<=", expr, upper)

    def visit_is_in(self, expr: Expression, items: list[Expression]) -> Pushdown:
        column, values = self.visit(expr), [self.visit(item) for item in items]
        if not isinstance(column, _Column) or not all(isinstance(one, _Value) for one in values):
            return Pushdown()
        return self._any(column.name, [one.value for one in values])

    def visit_is_null(self, expr: Expression) -> Pushdown:
        return self._null(expr, is_null=True)

    def visit_not_null(self, expr: Expression) -> Pushdown:
        return self._null(expr, is_null=False)

    def _nothing(self, *_: Any, **__: Any) -> Pushdown:
        return Pushdown()

    visit_not = visit_not_equal = visit_alias = visit_cast = visit_list = visit_function = visit_coalesce = _nothing

    def pushdown_of(self, expr: Expression) -> Pushdown:
        """The pushdown of a condition or of a part of one."""
        found = self.visit(expr)
        return found if isinstance(found, Pushdown) else Pushdown()

    def _compared(self, how: str, left: Expression, right: Expression) -> Pushdown:
        """A comparison of a column with a constant."""
        one, other = self.visit(left), self.visit(right)
        if isinstance(one, _Value) and isinstance(other, _Column):
            one, other, how = other, one, _FLIPPED.get(how, how)
        if not isinstance(one, _Column) or not isinstance(other, _Value):
            return Pushdown()
        name, value = one.name, other.value
        if how == "=":
            return self._any(name, [value])
        if name == TICK and type(value) is int:
            return {
                "<": Pushdown(last=value - 1),
                "<=": Pushdown(last=value),
                ">": Pushdown(first=value + 1),
                ">=": Pushdown(first=value),
            }[how]
        known = self._comparable(name, [value])
        if known is None:
            return Pushdown()
        field, least = pc.field(name), known[0]
        if pa.types.is_floating(known.type):
            return Pushdown((field <= least if how[0] == "<" else field >= least) | pc.is_nan(field))
        return Pushdown(_COMPARED[how](field, least))

    def _any(self, name: str, values: list[Any]) -> Pushdown:
        """``column IN values``. In Daft and in Arrow a null equals nothing."""
        values = [one for one in values if one is not None]
        if name in (TICK, ENTITY_ID):
            if not all(type(one) is int and abs(one) < _LARGEST for one in values):
                return Pushdown()
            if name == ENTITY_ID:
                return Pushdown(entity_ids=frozenset(values))
            return Pushdown(first=min(values, default=_LARGEST), last=max(values, default=-_LARGEST))
        known = self._comparable(name, values)
        return Pushdown() if known is None else Pushdown(pc.field(name).isin(known))

    def _null(self, expr: Expression, *, is_null: bool) -> Pushdown:
        column = self.visit(expr)
        if not isinstance(column, _Column) or not self._is_own(column.name):
            return Pushdown()
        field = pc.field(column.name)
        return Pushdown(field.is_null() if is_null else field.is_valid())

    def _is_own(self, name: str) -> bool:
        """Whether it is a component column. Base columns are constant within a scan."""
        return name in self._schema.names and name not in BASE_FIELDS

    def _comparable(self, name: str, values: list[Any]) -> pa.Array | None:
        """Constants converted to a column's type; ``None`` unless Daft and Arrow agree on comparing with them."""
        if not self._is_own(name):
            return None
        kind = self._schema.field(name).type
        try:
            if pa.types.is_signed_integer(kind) and all(type(one) is int for one in values):
                return pa.array(values, kind)
            if pa.types.is_large_string(kind) and all(type(one) is str for one in values):
                return pa.array(values, kind)
            if pa.types.is_float64(kind) and all(map(_is_plain, values)):
                # In a lookup, 0.0 and -0.0 are different values.
                zeros = [0.0, -0.0] if 0 in values else []
                return pa.array([*map(float, values), *zeros], kind)
        except (pa.ArrowException, OverflowError, UnicodeError):
            # It cannot be a value of the column; Daft decides what the comparison means.
            return None
        return None


def _is_plain(value: object) -> bool:
    if type(value) is float:
        return not math.isnan(value)
    return type(value) is int and abs(value) <= _EXACT
