"""The condition of a read: which columns it names, and the error for a column that is not there."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from daft.expressions import Expression
from daft.expressions.visitor import ExpressionVisitor

from archetype_core.errors import UnknownColumn
from archetype_core.schema.archetype import Archetype
from archetype_core.schema.component import types_with_column

if TYPE_CHECKING:
    from daft import DataFrame

_COLUMN = re.compile(r"\bcol\((\w+)\)")
_TEXT = re.compile(r'lit\(".*?"\)', re.DOTALL)


def columns_of(condition: Expression) -> set[str]:
    """Return the names of the columns that a condition names."""
    return _Columns().visit(condition)


def filtered(frame: DataFrame, condition: object, known: Iterable[Archetype] | None) -> DataFrame:
    """Return the rows of a read that match a condition.

    `UnknownColumn` if it names a column that the read does not have; ``known`` are the tables whose components a reader
    could ask for, ``None`` if the columns are not those of components.
    """
    if condition is None:
        return frame
    if not isinstance(condition, Expression):
        raise TypeError(f"where is an expression, such as Position.c.x > 1, not {condition!r}")
    try:
        return frame.where(condition)
    except ValueError as failure:
        absent = columns_of(condition) - set(frame.column_names)
        if not absent:
            raise _not_a_condition(frame, condition, failure) from None
        if known is None:
            raise UnknownColumn(min(absent), frame.column_names) from None
        raise unknown(min(absent), frame.column_names, known) from None


def _not_a_condition(frame: DataFrame, condition: Expression, failure: ValueError) -> Exception:
    """What to raise for a condition that Daft refuses although its columns are there."""
    try:
        kind = frame.select(condition.alias("value")).schema()["value"].dtype
    except ValueError:
        return unfit(condition, failure)
    return TypeError(f"a condition is true or false, and {condition} is {kind}: compare it with something")


def unfit(condition: object, failure: ValueError) -> TypeError:
    """Return the error for a condition that Daft cannot evaluate, with the line of Daft's text that says why."""
    said = str(failure)
    reason = next((line for line in said.splitlines() if "Error " in line), said).rpartition("Error ")[2]
    return TypeError(f"{condition} cannot be a condition: {reason}")


def unknown(column: str, has: Iterable[str], known: Iterable[Archetype]) -> UnknownColumn:
    """Return the error for a column that a read does not have; it names the component that has it, if there is one."""
    stored = {field.name: kind.name for one in known for kind in one.components for field in kind.fields}
    defined = next((kind.name for kind in types_with_column(column)), None)
    return UnknownColumn(column, has, component=stored.get(column, defined))


class _Columns(ExpressionVisitor[set[str]]):
    def visit(self, expr: Expression) -> set[str]:
        try:
            return super().visit(expr)
        except ValueError:
            # Daft's visitor does not go into a field of a struct.
            return set(_COLUMN.findall(_TEXT.sub("", str(expr))))

    def visit_col(self, name: str) -> set[str]:
        return {name}

    def visit_lit(self, value: Any) -> set[str]:  # noqa: ARG002  # reason: Daft's signature
        return set()

    def visit_alias(self, expr: Expression, alias: str) -> set[str]:  # noqa: ARG002  # reason: as above
        return self.visit(expr)

    def visit_cast(self, expr: Expression, dtype: Any) -> set[str]:  # noqa: ARG002  # reason: as above
        return self.visit(expr)

    def visit_function(self, name: str, args: list[Any]) -> set[str]:  # noqa: ARG002  # reason: as above
        found: set[str] = set()
        for one in args:
            # The values of `is_in` are a list.
            found = found.union(*map(self.visit, one if isinstance(one, list) else [one]))
        return found

    def visit_coalesce(self, args: list[Any]) -> set[str]:
        return self.visit_function("coalesce", args)
