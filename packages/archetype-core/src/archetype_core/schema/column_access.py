"""`Position.c.x`: the columns of a component class, for people, at run time and for type checkers."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel

from archetype_core.argument import nearest

if TYPE_CHECKING:
    from archetype_core.schema.expression import ColumnExpression


class Columns:
    """The Daft columns of a component class, by field; `Position.c.x` is `position__x`, the same object each time."""

    __slots__ = ("_owner",)

    def __init__(self, owner: type[BaseModel]) -> None:
        self._owner = owner

    def __getattr__(self, name: str) -> ColumnExpression:
        return column_of(self._owner, name)

    def __dir__(self) -> list[str]:
        return list(self._owner.__pydantic_fields__)

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (self._owner, "c")

    def __repr__(self) -> str:
        return f"{self._owner.__name__}.c({', '.join(self._owner.__pydantic_fields__)})"


def column_of(owner: type[BaseModel], name: str) -> ColumnExpression:
    """The column of a field; ``AttributeError`` lists the fields and suggests the nearest."""
    fields = list(owner.__pydantic_fields__)
    if getattr(owner, "__archetype_plan__", None) is None:
        raise AttributeError(f"{owner.__name__} is a template without columns: use a concrete subclass", name=name)
    if name in fields:
        return _column(f"{owner.__name__.lower()}__{name}")
    # without `obj`, Python adds no suggestion of its own to ours
    raise AttributeError(no_field(owner, name, fields), name=name)


def no_field(owner: type[BaseModel], name: str, fields: list[str]) -> str:
    """What to say of a field that a class does not have."""
    has = f"it has {', '.join(fields)}" if fields else "it has none"
    return f"{owner.__name__} has no field {name!r}; {has}{nearest(name, fields)}"


@functools.cache
def _column(name: str) -> ColumnExpression:
    from daft import col  # here, because importing it takes most of a second

    return cast("ColumnExpression", col(name))
